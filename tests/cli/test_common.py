"""What all commands do alike."""

from pathlib import Path

import pytest
from terminal import sessrec

from sessrec_pipeline.feed import load_settings
from sessrec_pipeline.storage.store import Store


def test_spoilt_files_end_in_a_sentence(demo: Path) -> None:
    settings = load_settings(demo)
    warehouse, checkpoint = settings.warehouse.read_bytes(), Store(settings).find("markov_checkpoint").path
    content = checkpoint.read_bytes()
    settings.warehouse.write_bytes(b"not a database" * 1000)
    checkpoint.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        result = sessrec(demo, "lineage", "metrics")
        assert result.exit_code == 2 and "rebuild-catalog" in result.output
        result = sessrec(demo, "recommend", "--items", "1", "--model", "markov")
        assert result.exit_code == 2 and f"{checkpoint} is damaged" in result.output
    finally:
        settings.warehouse.write_bytes(warehouse)
        checkpoint.write_bytes(content)
    assert sessrec(demo, "lineage", "metrics").exit_code == 0


@pytest.mark.parametrize(
    "command", [["check"], ["studies"], ["lineage", "metrics"], ["recommend", "--items", "1"], ["versions"]]
)
def test_a_mistyped_home_is_told_and_not_made(tmp_path: Path, command: list[str]) -> None:
    result = sessrec(tmp_path / "typo", *command)
    assert result.exit_code == 2 and "nothing is materialized in" in result.output
    assert not (tmp_path / "typo").exists()


def test_bad_settings_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "sessrec.toml").write_text("[split]\nrulle = 'days'\n")
    result = sessrec(tmp_path, "check")
    assert result.exit_code == 2
    assert "split.rulle" in result.output and "Traceback" not in result.output
