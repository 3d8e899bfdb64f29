"""sessrec rebuild-catalog and verify."""

from pathlib import Path

from terminal import sessrec

from sessrec_pipeline.feed import load_settings


def test_rebuild_catalog_brings_the_answers_back(demo: Path) -> None:
    before = sessrec(demo, "lineage", "metrics", "--all").output
    load_settings(demo).warehouse.unlink()
    result = sessrec(demo, "rebuild-catalog")
    assert result.exit_code == 0 and "artefacts entered" in result.output
    assert sessrec(demo, "lineage", "metrics", "--all").output == before


def test_verify_names_what_is_wrong_and_repairs_it(demo: Path) -> None:
    sound = sessrec(demo, "verify")
    assert sound.exit_code == 0 and "all that was published is there" in sound.output
    page = load_settings(demo).reports / "report.html"
    text = page.read_text()
    page.write_text(text.replace("Recall", "Rekall", 1))
    (runs,) = load_settings(demo).dagster_home.rglob("runs.db")
    runs.write_bytes(b"x" * 5000)
    wrong = sessrec(demo, "verify")
    assert wrong.exit_code == 1 and "the page differs from its own hash" in wrong.output
    assert "the next run sets it aside" in wrong.output and "problems; `sessrec verify --repair`" in wrong.output
    repaired = sessrec(demo, "verify", "--repair")
    assert (demo / "damaged" / "reports" / "report.html").exists()
    assert repaired.exit_code == 1 and "report was published and is gone" in repaired.output
    assert sessrec(demo, "materialize").exit_code == 0
    assert sessrec(demo, "verify").exit_code == 0
