"""sessrec lineage, recommend."""

from pathlib import Path

import pytest
from terminal import sessrec

from sessrec_pipeline.feed import load_settings
from sessrec_pipeline.storage.store import Store


def test_lineage_tells_logs_settings_and_code_of_every_model(demo: Path) -> None:
    result = sessrec(demo, "lineage", "metrics")
    assert result.exit_code == 0, result.output
    for part in ("rows of gru4rec", "rows of oracle", "train_split", "demo-2026-01-05.tsv", "2 landed logs"):
        assert part in result.output
    assert sessrec(demo, "lineage", "nothing").exit_code == 2


@pytest.mark.parametrize("model", ["gru4rec", "markov", "popularity", "oracle"])
def test_recommend_lists_items_of_the_catalogue(demo: Path, model: str) -> None:
    store = Store(load_settings(demo))
    catalogue = store.find("popularity").arrow()["item"].to_pylist()
    result = sessrec(
        demo, "recommend", "--items", f"{catalogue[3]}.0, nonsense,{catalogue[7]}\u00a0", "-k", "5", "--model", model
    )
    assert result.exit_code == 0, result.output
    assert "left out: nonsense\n" in result.output
    rows = [line.split() for line in result.output.splitlines() if line[:1].isdigit()]
    assert [row[0] for row in rows] == ["1", "2", "3", "4", "5"]
    assert {row[1] for row in rows} <= set(catalogue)


def test_the_best_model_answers_where_none_is_named(demo: Path) -> None:
    board = Store(load_settings(demo)).find("leaderboard").arrow()["model"].to_pylist()
    best = next(model for model in board if model != "oracle")
    assert f"by {best}, the best on the leaderboard" in sessrec(demo, "recommend", "--items", "1,2,3,4,5").output


def test_recommend_says_what_is_wrong(demo: Path) -> None:
    assert "no model 'bert'" in sessrec(demo, "recommend", "--items", "1", "--model", "bert").output
    unknown = sessrec(demo, "recommend", "--items", "nonsense")
    assert unknown.exit_code == 2 and "none of these items occurs in the training sessions" in unknown.output
