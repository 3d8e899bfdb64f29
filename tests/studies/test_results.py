"""Rows and differences of a study's table, from sums by session."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sessrec_pipeline.quality.splits import LEAST_SESSIONS
from sessrec_pipeline.settings import EvaluationSettings
from sessrec_pipeline.studies.results import METRICS, SCHEMA, Results, difference


def settings(samples: int, seed: int = 1) -> EvaluationSettings:
    return EvaluationSettings(bootstrap_samples=samples, seed=seed)


def sums(sessions: Sequence[str], recall: Sequence[float], predictions: int = 10) -> pd.DataFrame:
    return pd.DataFrame({"predictions": predictions, "recall": recall, "mrr": 0.0}, index=list(sessions))


def test_difference_is_paired() -> None:
    rng = np.random.default_rng(1)
    names = [f"s{i}" for i in range(200)]
    hits = rng.integers(0, 9, 200).astype(float)
    same = difference(sums(names, list(hits + 1)), sums(names, list(hits)), settings(200))[0]
    assert [same.value, same.low, same.high] == pytest.approx([0.1, 0.1, 0.1])
    unpaired = difference(sums([f"t{i}" for i in range(200)], list(hits + 1)), sums(names, list(hits)), settings(200))
    assert unpaired[0].value == pytest.approx(0.1) and unpaired[0].low < 0.08 and unpaired[0].high > 0.12


def test_difference_covers_nothing_where_there_is_nothing() -> None:
    rng = np.random.default_rng(2)
    a, b = (sums([f"{side}{i}" for i in range(150)], list(rng.integers(0, 10, 150))) for side in "ab")
    found = difference(a, b, settings(300, seed=3))[0]
    assert found.low < 0 < found.high


@given(st.data(), st.integers(0, 2**32))
@hypothesis_settings(max_examples=25, deadline=None)
def test_a_difference_is_that_of_a_loop_over_resamples_to_the_last_bit(data: st.DataObject, seed: int) -> None:
    """Sessions of both sides are drawn from one stream, and each resample is summed on its own."""
    rng = np.random.default_rng(seed)
    every = np.array([f"s{i:03d}" for i in range(data.draw(st.integers(20, 90)))])
    sides = []
    for _ in range(2):
        own = rng.permutation(every)[: data.draw(st.integers(LEAST_SESSIONS, len(every)))]
        counts = rng.integers(1, 9, len(own))
        frame = pd.DataFrame(
            {"predictions": counts, "recall": rng.integers(0, counts + 1), "mrr": rng.random(len(own))}
        )
        sides.append(frame.set_index(own))
    found = difference(*sides, settings(100, seed=7))

    union = sides[0].index.union(sides[1].index)
    draws, drawn = np.random.default_rng(7), []
    together = [side.reindex(union, fill_value=0).astype(float) for side in sides]
    for _ in range(100):
        weights = np.bincount(draws.integers(len(union), size=len(union)), minlength=len(union))
        with np.errstate(invalid="ignore"):
            means = [weights @ s[list(METRICS)].to_numpy() / (weights @ s["predictions"].to_numpy()) for s in together]
        drawn.append(means[0] - means[1])
    expected = np.nanquantile(drawn, [0.025, 0.975], axis=0)
    np.testing.assert_array_equal([[own.low, own.high] for own in found], expected.T)


def test_rows_are_compared_with_the_first_variation_or_with_a_model() -> None:
    results = Results(5, settings(100))
    names = [f"s{i}" for i in range(30)]
    rows = results.from_sums("a", sums(names, [2.0] * 30), "first", x=0.0)
    rows += results.from_sums("b", sums(names, [5.0] * 30), "first", x=0.0)
    rows += results.from_sums("a", sums(names, [3.0] * 30), "second", x=1.0)
    assert [(row["metric"], row["value"], row["low"], row["high"]) for row in rows[:2]] == [
        ("recall", 0.2, 0.2, 0.2),
        ("mrr", 0.0, 0.0, pytest.approx(1 - 0.025 ** (1 / 30))),
    ]
    assert (rows[0]["k"], rows[0]["predictions"], rows[0]["sessions"]) == (5, 300, 30)

    def differences(model: str | None) -> dict[tuple[str, str], float | None]:
        table = results.compared([dict(row) for row in rows], model)
        assert table.schema == SCHEMA
        recall = [row for row in table.to_pylist() if row["metric"] == "recall"]
        return {(row["variation"], row["model"]): row["difference"] for row in recall}

    assert differences(None) == {("first", "a"): None, ("first", "b"): None, ("second", "a"): pytest.approx(0.1)}
    assert differences("b") == {("first", "a"): pytest.approx(-0.3), ("first", "b"): None, ("second", "a"): None}
    assert Results(5, settings(100)).compared([]).num_rows == 0
