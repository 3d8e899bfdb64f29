from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_comparisons import Ranks, write

from sessrec_pipeline.evaluation.comparisons import compare, verdict
from sessrec_pipeline.evaluation.metrics import leaderboard, metrics_table
from sessrec_pipeline.evaluation.recommendation import Price, Recommendation, recommended, sentence
from sessrec_pipeline.settings import EvaluationSettings

SESSIONS = 400


def hits(share: float) -> Ranks:
    """One prediction a session: rank 1 in the first ones, 99 in the others."""
    return np.where(np.arange(SESSIONS) < share * SESSIONS, 1, 99)


def chosen(
    folder: Path, costs: dict[str, tuple[float, int]] | None, primary: str | None = None, **ranks: Ranks
) -> Recommendation:
    """``costs``: microseconds of a prediction and bytes in memory of each model."""
    asked = EvaluationSettings(cutoffs=[5, 20], bootstrap_samples=300, permutations=2000, primary=primary)
    sessions = len(next(iter(ranks.values())))
    paths = write(folder, [1] * sessions, **ranks)
    pairs = compare(paths, asked)
    board = leaderboard(metrics_table(paths, dict.fromkeys(paths, ""), asked), pairs, asked)
    rows = [(m, time, size) for m, (time, size) in (costs or {}).items()]
    prices = pd.DataFrame(rows, columns=["model", "predict_microseconds", "bytes_in_memory"])
    return recommended(board.to_pandas(), pairs.to_pandas(), prices if costs else None, asked)


def test_the_cheapest_model_within_the_margin_is_taken(tmp_path: Path) -> None:
    found = chosen(tmp_path, None, sknn=hits(0.80), popularity=hits(0.79), markov=hits(0.5))
    assert (found.model, found.best, found.reason) == ("popularity", "sknn", "cheaper")
    assert found.difference is not None and found.difference.value == pytest.approx(0.01)
    assert sentence(found) == (
        "popularity: is made from fewer tables than sknn, the highest in recall@20, and is within 5% of it"
    )


def test_a_missing_difference_is_no_equivalence(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noisy = {name: np.where(rng.random(60) < share, 1, 99) for name, share in (("sknn", 0.5), ("popularity", 0.45))}
    found = chosen(tmp_path, None, **noisy)
    assert found.reason in ("best", "cheapest") and found.model == found.best


def test_sequential_rules_are_not_simpler_than_popularity(tmp_path: Path) -> None:
    found = chosen(tmp_path, {"popularity": (9.1, 8000), "sr": (7.9, 90_000)}, popularity=hits(0.8), sr=hits(0.79))
    assert (found.model, found.reason) == ("popularity", "cheapest"), "a microsecond is no reason"


def test_too_few_sessions_choose_nothing(tmp_path: Path) -> None:
    found = chosen(tmp_path, None, sknn=np.array([1, 1]), popularity=np.array([99, 1]))
    assert (found.model, found.reason) == ("sknn", "too few sessions")


def test_the_primary_metric_decides(tmp_path: Path) -> None:
    ranks = {"sknn": np.full(SESSIONS, 15), "vstan": hits(0.6)}
    assert chosen(tmp_path, None, **ranks).model == "sknn"
    assert chosen(tmp_path, None, primary="mrr@5", **ranks).model == "vstan"
    assert chosen(tmp_path, None, sknn=hits(0.3)).reason == "only"


def test_the_order_of_costs() -> None:
    counted, trained = Price(False, 2, 1e6, 500.0), Price(True, 1, 10.0, 1.0)
    assert counted.saving(trained) == "training" and trained.saving(counted) is None, "no training beats training"
    quick = Price(False, 2, 1e9, 100.0)
    assert quick.saving(counted) == "time" and counted.saving(quick) is None, "400 µs and five times: that is real"
    assert Price(False, 2, 1e6, 4.0).saving(Price(False, 2, 1e6, 8.0)) is None, "4 µs are noise"
    assert Price(False, 1, 1e9).saving(Price(False, 2, 1.0)) == "tables", "fewer tables, then"
    assert Price(False, 2, 0.9e6).saving(Price(False, 2, 1e6)) is None, "nor do 10 % of the bytes count"
    assert Price(False, 2, 0.4e6).saving(Price(False, 2, 1e6)) == "memory"


@pytest.mark.parametrize(
    ("significant", "equivalent", "said"),
    [(True, False, "differs"), (True, True, "differs within margin"), (False, True, "equivalent"),
     (False, False, "not told apart"), (None, None, "too few sessions")],
)  # fmt: skip
def test_every_comparison_has_a_verdict(significant: bool | None, equivalent: bool | None, said: str) -> None:
    assert verdict({"significant": significant, "equivalent": equivalent}) == said


def test_models_that_find_nothing_are_not_equivalent(tmp_path: Path) -> None:
    paths = write(tmp_path, [1] * SESSIONS, a=hits(0), b=hits(0))
    rows = compare(paths, EvaluationSettings(cutoffs=[5], bootstrap_samples=200, permutations=1000)).to_pylist()
    assert {verdict(row) for row in rows} == {"not told apart"}


def test_a_primary_metric_must_be_measured() -> None:
    with pytest.raises(ValueError, match="at none of the cutoffs"):
        EvaluationSettings(primary="recall@7")
    with pytest.raises(ValueError, match="primary"):
        EvaluationSettings(primary="auc@20")
