"""sessrec rebuild-catalog."""

from pathlib import Path

from terminal import sessrec

from sessrec_pipeline.feed import load_settings


def test_rebuild_catalog_brings_the_answers_back(demo: Path) -> None:
    before = sessrec(demo, "lineage", "metrics", "--all").output
    load_settings(demo).warehouse.unlink()
    result = sessrec(demo, "rebuild-catalog")
    assert result.exit_code == 0 and "artefacts entered" in result.output
    assert sessrec(demo, "lineage", "metrics", "--all").output == before
