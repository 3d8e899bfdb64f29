"""The blocks of docs/python-api.md run, one after another, on synthetic logs."""

import re
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import sessrec_pipeline
from sessrec_pipeline.logs.synthetic import write_logs
from sessrec_pipeline.settings import SyntheticSettings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "python-api.md").read_text(encoding="utf-8")


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    logs = write_logs(SyntheticSettings(sessions=300, items=80, days=4), tmp_path / "logs")
    log = pd.concat([pd.read_csv(path, sep="\t") for path in logs])
    log.columns = pd.Index(["session", "item", "time"])
    log["item"] = "item " + log["item"].astype(str)
    log["time"] = pd.to_datetime(log["time"], unit="s")
    log.to_parquet(tmp_path / "events.parquet")
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    found: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == PAGE.count("```") // 2 > 9
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for block in blocks:
            exec(compile(block, "docs/python-api.md", "exec"), found)
    assert "Events(" in capsys.readouterr().out
    assert set(tmp_path.iterdir()) - before == {tmp_path / "gru4rec.safetensors"}
    assert len(found["board"]) == 2
    assert len(found["lists"]) == 10 * len(found["test"].sessions)


def test_the_page_names_everything() -> None:
    assert [name for name in sessrec_pipeline.API if not re.search(rf"\b{name}\b", PAGE) and name != "Model"] == []
