"""Where the models are good and where they are not: the metrics of groups of predictions."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sessrec_pipeline.evaluation.evidence import GAINS, Evidence
from sessrec_pipeline.evaluation.resampling import Sums, interval_of_shares, resampled
from sessrec_pipeline.quality.splits import LEAST_SESSIONS
from sessrec_pipeline.settings import EvaluationSettings
from sessrec_pipeline.storage.sql import create_view, sql_text

SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("slice", pa.string()),
        ("place", pa.int64()),
        ("band", pa.string()),
        ("k", pa.int64()),
        ("recall", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("mrr", pa.float64()),
        ("ndcg", pa.float64()),
        ("predictions", pa.int64()),
        ("sessions", pa.int64()),
    ]
)
UNKNOWN = "not in training"


@dataclass(frozen=True)
class Slice:
    """Bands of a column of slices.sql."""

    edges: tuple[float, ...]
    """Where the second band and each further one begin."""
    bands: tuple[str, ...]
    needs_clock: bool = False
    """Whether it means nothing where times only give the order."""


SLICES = {
    "session_length": Slice((3, 4, 5, 7, 11, 21), ("2", "3", "4", "5-6", "7-10", "11-20", "21+")),
    "position": Slice((2, 3, 4, 6, 11, 21), ("1", "2", "3", "4-5", "6-10", "11-20", "21+")),
    "popularity": Slice((0.01 + 1e-12, 0.1 + 1e-12, 0.5 + 1e-12), ("top 1 %", "next 9 %", "next 40 %", "rarest 50 %")),
    "item_age": Slice((1, 3, 7, 30), ("< 1 day", "1-3 days", "3-7 days", "7-30 days", "30+ days"), needs_clock=True),
    "repeat": Slice((1,), ("new in session", "seen in session")),
    "day": Slice((), (), needs_clock=True),
}
"""Events of the session; events before the target in it; the target's rank among all items by training events; days
since its first training event; whether the session had it before; day (UTC), each a band of its own."""


def bands(name: str, values: NDArray[np.float64]) -> tuple[NDArray[np.int64], list[str]]:
    """The band of each value, (predictions,), and the bands' names; NaN, an item unknown to training, comes last."""
    unknown = np.isnan(values)
    if name == "day":
        days, places = np.unique(values, return_inverse=True)
        epoch = datetime(1970, 1, 1, tzinfo=UTC)
        return places.astype(np.int64), [f"{epoch + timedelta(days=day):%Y-%m-%d}" for day in days]
    cut = SLICES[name]
    places = np.searchsorted(cut.edges, values, side="right")
    return np.where(unknown, len(cut.bands), places), [*cut.bands, UNKNOWN]


def slices_table(
    rankings: Mapping[str, Path],
    test: Path,
    train: Path,
    popularity: Path,
    settings: EvaluationSettings,
    *,
    clock: bool = True,
) -> pa.Table:
    """The slices table: a row per model, slice, band and cutoff, under the settings' tie rule.

    Micro-averaged inside a band, with the 95 % interval of Recall from resampled test sessions, the same ones as for
    the metrics; null in bands of fewer than LEAST_SESSIONS sessions. Bands without predictions have no row. Without a
    ``clock`` (times only give the order) there are no slices by age and day. ValueError where the models ranked
    different predictions, or not those of ``test``.
    """
    evidence = Evidence.of(rankings, settings)
    known = _known(evidence.predictions, test, train, popularity)
    found: list[tuple[str, int, str, NDArray[np.int64]]] = []  # slice, place, band, predictions in it
    for name, cut in SLICES.items():
        if clock or not cut.needs_clock:
            places, names = bands(name, known[name])
            found += [
                (name, place, band, inside)
                for place, band in enumerate(names)
                if len(inside := np.flatnonzero(places == place))
            ]
    sums = [_sums(evidence, inside) for *_, inside in found]
    drawn = resampled(sums, evidence.n_sessions, settings.bootstrap_samples, settings.seed)
    models = sorted(evidence.gains)
    shape = len(models), len(settings.cutoffs)
    rows: list[dict[str, object]] = []
    for (name, place, band, inside), own, means in zip(found, sums, drawn, strict=True):
        low, high = (bound.reshape(shape) for bound in interval_of_shares(means, len(own.counts)))
        for m, model in enumerate(models):
            values = evidence.gains[model][:, :, inside].mean(axis=2)  # (GAINS, cutoffs)
            for c, k in enumerate(settings.cutoffs):
                sure = len(own.counts) >= LEAST_SESSIONS
                rows.append(
                    {
                        "model": model,
                        "slice": name,
                        "place": place,
                        "band": band,
                        "k": k,
                        "low": low[m, c] if sure else None,
                        "high": high[m, c] if sure else None,
                        **dict(zip(GAINS, values[:, c], strict=True)),
                        "predictions": len(inside),
                        "sessions": len(own.counts),
                    }
                )
    order = list(SLICES)
    rows.sort(key=lambda r: (r["model"], order.index(str(r["slice"])), r["place"], r["k"]))
    return pa.Table.from_pylist(rows, SCHEMA)


def _sums(evidence: Evidence, inside: NDArray[np.int64]) -> Sums:
    """Recall of every model and cutoff over the sessions that have predictions in a band."""
    among, numbers = np.unique(evidence.sessions[inside], return_inverse=True)
    recall = np.concatenate([evidence.gains[model][0][:, inside] for model in sorted(evidence.gains)])
    values = np.array([np.bincount(numbers, row, len(among)) for row in recall]).T
    return Sums(values, np.bincount(numbers).astype(np.float64), among)


def _known(keys: pa.Table, test: Path, train: Path, popularity: Path) -> dict[str, NDArray[np.float64]]:
    """The columns of slices.sql, (predictions,) each, NaN for null."""
    with duckdb.connect() as connection:
        connection.register("keys", keys)
        for name, path in (("test", test), ("train", train), ("popularity", popularity)):
            create_view(connection, name, [path])
        found = connection.execute(sql_text("evaluation", "slices")).fetchnumpy()
    if len(found["day"]) != keys.num_rows:
        raise ValueError("the rankings are not those of this test split; rank the models again")
    return {name: np.ma.filled(np.ma.asarray(values, np.float64), np.nan) for name, values in found.items()}
