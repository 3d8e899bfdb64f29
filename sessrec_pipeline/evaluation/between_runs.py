"""Whether a model became better or worse from one run to another: the paired test on what both ranked."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import numpy as np

from sessrec_pipeline.evaluation.comparisons import Verdict, compare, holm, verdict
from sessrec_pipeline.evaluation.metrics import metrics_table
from sessrec_pipeline.settings import EvaluationSettings
from sessrec_pipeline.storage.sql import create_view

COMMON = """
SELECT session FROM before INTERSECT SELECT session FROM now
EXCEPT
SELECT session FROM (
    (SELECT session, position, target FROM before EXCEPT SELECT session, position, target FROM now)
    UNION ALL
    (SELECT session, position, target FROM now EXCEPT SELECT session, position, target FROM before)
)
"""
"""Sessions of which both ranked the same predictions."""


@dataclass(frozen=True)
class Change:
    """A metric of one model before and now, over the sessions that both runs ranked."""

    model: str
    metric: str
    k: int
    sessions: int
    """Of which both ranked the same predictions."""
    predictions: int
    before: float | None = None
    now: float | None = None
    low: float | None = None
    """Of the 95 % interval of now - before; None, as all that follows, with fewer than ``LEAST_SESSIONS`` sessions."""
    high: float | None = None
    p: float | None = None
    """Of the paired sign-flip test over sessions, corrected by Holm over the models."""
    equivalent: bool | None = None
    """Whether the whole interval lies within the equivalence margin; None where too few sessions test for a verdict."""

    def verdict(self, alpha: float) -> Verdict:
        """What can be said of now and before, as of two models of one run."""
        significant = None if self.p is None else self.p < alpha
        return verdict({"significant": significant, "equivalent": self.equivalent})


def changes_between(ranks: Mapping[str, tuple[Path, Path]], settings: EvaluationSettings) -> list[Change]:
    """Recall and MRR at the largest cutoff, by model: ``ranks`` has each model's ranks before and now.

    Under today's tie rule, seed, resamples and permutations.
    """
    k = max(settings.cutoffs)
    at_largest = settings.model_copy(update={"cutoffs": [k]})
    found = [change for model, pair in ranks.items() for change in _of_model(model, pair, at_largest)]
    corrected: dict[Change, Change] = {}
    for metric in ("recall", "mrr"):
        tested = [change for change in found if change.metric == metric and change.p is not None]
        p = holm(np.array([change.p for change in tested], np.float64)[:, None])
        corrected |= {change: replace(change, p=float(own[0])) for change, own in zip(tested, p, strict=True)}
    return [corrected.get(change, change) for change in found]


def _of_model(model: str, pair: tuple[Path, Path], settings: EvaluationSettings) -> list[Change]:
    k = settings.cutoffs[0]
    with tempfile.TemporaryDirectory(prefix="sessrec-compare-") as folder:
        both = {name: Path(folder) / f"{name}.parquet" for name in ("before", "now")}
        with duckdb.connect() as connection:
            for name, path in zip(both, pair, strict=True):
                create_view(connection, name, [path])
            connection.execute(f"CREATE TABLE common AS {COMMON}")
            for name, path in both.items():
                connection.sql(
                    f"FROM {name} SEMI JOIN common USING (session) ORDER BY session, position"
                ).write_parquet(str(path))
            [(sessions, predictions)] = connection.execute(
                "SELECT COUNT(DISTINCT session), COUNT(*) FROM now SEMI JOIN common USING (session)"
            ).fetchall()
        if not sessions:
            return [Change(model, metric, k, 0, 0) for metric in ("recall", "mrr")]
        values = metrics_table(both, dict.fromkeys(both, ""), settings).to_pylist()
        tested = compare(both, settings).to_pylist()
    changes = []
    for metric in ("recall", "mrr"):
        value = {
            row["model"]: row["value"]
            for row in values
            if row["metric"] == metric and row["tie_rule"] == settings.tie_rule
        }
        [test] = [row for row in tested if row["metric"] == metric]
        changes.append(
            Change(
                model,
                metric,
                k,
                sessions,
                predictions,
                value["before"],
                value["now"],
                None if test["high"] is None else -test["high"],
                None if test["low"] is None else -test["low"],
                test["p"],
                test["equivalent"],
            )
        )
    return changes
