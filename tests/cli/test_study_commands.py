"""sessrec studies."""

from pathlib import Path

import pytest
from terminal import sessrec

from sessrec_pipeline.feed import load_settings
from sessrec_pipeline.storage.files import leave
from sessrec_pipeline.storage.store import Store


def test_studies_print_tables_and_findings(demo: Path, tmp_path: Path) -> None:
    summary = tmp_path / "new" / "studies.md"
    result = sessrec(demo, "studies", "markov_alpha", "session_length", "--markdown", str(summary))
    assert result.exit_code == 0, result.output
    settings = load_settings(demo)
    store = Store(settings)
    for name in ("markov_alpha", "session_length"):
        stored = store.find(f"study_{name}")
        assert str(stored.stats["finding"]) in result.stdout and str(stored.stats["finding"]) in summary.read_text()
    with store.warehouse.connect() as connection:
        rows = connection.execute(
            "SELECT model, value FROM study_markov_alpha WHERE x = 1 AND metric = 'mrr'"
        ).fetchall()
    assert rows[0][1] == rows[1][1] and {row[0] for row in rows} == {"markov", "popularity"}
    page = store.find("studies_report")
    assert {n.asset for n in page.lineage.ancestors} >= {"study_markov_alpha", "study_session_length", "landing"}
    html = page.path.read_text()
    assert html.count("<section") == 2 and "sessrec studies null_feed" in html
    leave()
    assert not list(settings.scratch.iterdir())
    assert "everything is up to date" in sessrec(demo, "materialize").output, "studies are no part of a rebuild"


def test_studies_say_what_is_wrong(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = sessrec(demo, "studies", "alchemy")
    assert unknown.exit_code == 2 and "no study 'alchemy'; there are sampled_negatives" in unknown.output
    monkeypatch.setenv("SESSREC_STUDIES__MODELS", '["bert"]')
    strange = sessrec(demo, "studies", "train_ratio")
    assert strange.exit_code == 2 and "[studies] models names 'bert'; this feed has" in strange.output
