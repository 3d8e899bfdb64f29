"""The paired test of one model between two runs."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sessrec_pipeline.evaluation.between_runs import changes_between
from sessrec_pipeline.quality.splits import LEAST_SESSIONS
from sessrec_pipeline.settings import EvaluationSettings

SETTINGS = EvaluationSettings(cutoffs=[2, 5], bootstrap_samples=200, permutations=1000)
Row = tuple[str, int, str, int]
"""Session, position, target, greater."""


def written(path: Path, rows: list[Row]) -> Path:
    session, position, target, greater = zip(*rows, strict=True)
    table = {"session": session, "position": position, "target": target, "greater": greater}
    pq.write_table(pa.table({**table, "equal": pa.array([1] * len(rows), pa.int64())}), path)
    return path


def world(sessions: int, greater: list[int]) -> list[Row]:
    """Two predictions a session, whose ranks go round ``greater``."""
    return [
        (f"s{n}", position, f"i{n % 7}", greater[(2 * n + position) % len(greater)])
        for n in range(sessions)
        for position in (1, 2)
    ]


def test_only_sessions_with_the_same_predictions_are_compared(tmp_path: Path) -> None:
    before = world(40, [0, 9])
    now = [*world(40, [0, 1]), ("new", 1, "i1", 0)]
    now[0] = ("s0", 1, "another", 0)  # other target
    now.pop(3)  # one prediction less
    pair = written(tmp_path / "a.parquet", before), written(tmp_path / "b.parquet", now)
    recall, mrr = changes_between({"m": pair}, SETTINGS)
    assert (recall.k, recall.sessions, recall.predictions) == (5, 38, 76)
    assert (recall.before, recall.now) == (0.5, 1.0) and (mrr.before, mrr.now) == pytest.approx((0.5, 0.75))
    assert recall.low == recall.high == pytest.approx(0.5), "every session gains the same"
    assert recall.p == pytest.approx(1 / 1001)


def test_p_is_corrected_over_the_models(tmp_path: Path) -> None:
    pair = (
        written(tmp_path / "a.parquet", world(30, [0, 9, 9, 0, 9])),
        written(tmp_path / "b.parquet", world(30, [0, 9, 0, 9, 0])),
    )
    alone = changes_between({"m": pair}, SETTINGS)
    three = changes_between(dict.fromkeys("abc", pair), SETTINGS)
    own = [change.p for change in alone]
    assert None not in own
    found = {(change.model, change.metric): change.p for change in three}
    assert found["a", "recall"] == pytest.approx(min(1, 3 * (own[0] or 0)))


def test_few_sessions_have_no_interval_and_no_test(tmp_path: Path) -> None:
    pair = tuple(written(tmp_path / f"{n}.parquet", world(LEAST_SESSIONS - 1, g)) for n, g in enumerate(([0, 9], [0])))
    changes = changes_between({"m": (pair[0], pair[1])}, SETTINGS)
    assert [(change.before, change.now, change.low, change.p) for change in changes] == [(0.5, 1.0, None, None)] * 2


def test_without_a_session_in_common_there_is_nothing_to_say(tmp_path: Path) -> None:
    other = [(f"t{session}", position, target, greater) for session, position, target, greater in world(20, [0])]
    pair = written(tmp_path / "a.parquet", world(20, [0])), written(tmp_path / "b.parquet", other)
    assert [(c.sessions, c.before, c.p) for c in changes_between({"m": pair}, SETTINGS)] == [(0, None, None)] * 2


def test_differences_agree_with_the_values(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    a, b = (world(50, draw.integers(0, 12, 100).tolist()) for _ in range(2))
    changes = changes_between({"m": (written(tmp_path / "a.parquet", a), written(tmp_path / "b.parquet", b))}, SETTINGS)
    expected = [np.mean([row[3] < 5 for row in rows]) for rows in (a, b)]
    assert (changes[0].before, changes[0].now) == pytest.approx(expected)
    low, high = changes[0].low, changes[0].high
    assert low is not None and high is not None and low < expected[1] - expected[0] < high


@pytest.mark.parametrize(
    ("sessions", "now", "said"),
    [
        (49, [0], "too few sessions"),
        (50, [0], "differs"),
        (200, [0, 9, 0, 9], "equivalent"),
        (400, [*[0, 9] * 40, 0, 0], "differs within margin"),
        (60, [0, 0, 9, 9, 9], "not told apart"),
    ],
)
def test_what_is_said_of_two_runs_is_what_is_said_of_two_models(
    tmp_path: Path, sessions: int, now: list[int], said: str
) -> None:
    pair = (
        written(tmp_path / "a.parquet", world(sessions, [0, 9])),
        written(tmp_path / "b.parquet", world(sessions, now)),
    )
    recall, _ = changes_between({"m": pair}, SETTINGS)
    assert recall.verdict(SETTINGS.alpha) == said
