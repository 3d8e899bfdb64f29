"""What the lists are like, whether or not they hold the target: coverage, concentration, popularity, variety.

Definitions and their sources are in docs/evaluation.md.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sessrec_pipeline.settings import EvaluationSettings
from sessrec_pipeline.storage.sql import create_view, sql_text

MEASURES = {
    "coverage": "share of the training catalogue that stands in at least one list",
    "gini": "how unevenly the places in the lists fall to the catalogue's items: 0 evenly, 1 all to one",
    "popularity_lift": "mean popularity of the listed items against that of the histories, less 1",
    "novelty": "mean of -log2(share of training events) of the listed items, in bits",
    "diversity": "mean of 1 - cosine of the training sessions of two items of a list",
}
SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("metric", pa.string()),
        ("k", pa.int64()),
        ("value", pa.float64()),
        ("lists", pa.int64()),
    ]
)
TRAINING_SESSIONS = 200_000
"""Items are alike by these most recent training sessions; all of them would add hours, not digits."""


def beyond_accuracy_table(
    rankings: Mapping[str, Path], test: Path, train: Path, popularity: Path, settings: EvaluationSettings
) -> pa.Table:
    """The beyond_accuracy table: a row per model, measure and cutoff, with the lists behind the value.

    From the first K of the stored lists and the training catalogue; an empty list (a history without known items)
    counts nowhere. A value that is not defined is null: diversity at K = 1, or anything where all lists are empty.
    """
    events = pq.read_table(popularity, columns=["popularity_rank", "events"]).sort_by("popularity_rank")
    total = events["events"].to_numpy().sum()
    shares = events["events"].to_numpy() / total
    drawn = _draw(next(iter(rankings.values())), settings)
    rows: list[dict[str, object]] = []
    with duckdb.connect() as connection:
        for name, path in (("test", test), ("train", train), ("popularity", popularity)):
            create_view(connection, name, [path])
        connection.execute("CREATE TABLE cutoffs AS SELECT UNNEST($cutoffs) AS k", {"cutoffs": settings.cutoffs})
        means = np.ma.compressed(connection.execute(sql_text("evaluation", "history")).fetchnumpy()["mean_events"])
        history = float(means.mean() / total) if len(means) else None
        for model, path in sorted(rankings.items()):
            create_view(connection, "rankings", [path])
            counts = _listed(connection, len(shares), max(settings.cutoffs))
            for k in settings.cutoffs:
                values = dict(_of_items(counts[:k].sum(axis=0), shares, history))
                rows += [
                    {"model": model, "metric": metric, "k": k, "value": value, "lists": int(counts[0].sum())}
                    for metric, value in values.items()
                ]
            rows += [{"model": model, "metric": "diversity"} | row for row in _diversity(connection, drawn, settings)]
    order = list(MEASURES)
    rows.sort(key=lambda row: (row["model"], order.index(str(row["metric"])), row["k"]))
    return pa.Table.from_pylist(rows, SCHEMA)


def _listed(connection: duckdb.DuckDBPyConnection, items: int, places: int) -> NDArray[np.int64]:
    """How many lists have an item at a place, (places, items)."""
    found = connection.execute(sql_text("evaluation", "listed"), {"places": places}).fetchnumpy()
    counts = np.zeros((places, items), dtype=np.int64)
    counts[found["place"], found["item_index"]] = found["lists"]
    return counts


def _of_items(
    counts: NDArray[np.int64], shares: NDArray[np.float64], history: float | None
) -> Iterator[tuple[str, float | None]]:
    """Measures that follow from how often each item is listed; counts, shares of training events (items,)."""
    total = counts.sum()
    yield "coverage", float((counts > 0).mean())
    yield "gini", gini(counts) if total else None
    listed = float(counts @ shares / total) if total else None
    yield "popularity_lift", None if listed is None or not history else listed / history - 1
    yield "novelty", float(-(counts @ np.log2(shares)) / total) if total else None


def gini(counts: NDArray[np.int64]) -> float:
    """Gini index of how often each item is listed, items that never are included: 0 evenly, 1 all to one item."""
    n = len(counts)
    if n == 1:
        return 0.0
    weights = 2 * np.arange(1, n + 1) - n - 1
    return float(weights @ np.sort(counts) / ((n - 1) * counts.sum()))


def _draw(rankings: Path, settings: EvaluationSettings) -> pa.Table:
    """Session and position of the predictions whose lists are looked at for diversity."""
    keys = pq.read_table(rankings, columns=["session", "position"])
    keys = keys.sort_by([("session", "ascending"), ("position", "ascending")])
    size = min(settings.diversity_lists, keys.num_rows)
    return keys.take(np.sort(np.random.default_rng(settings.seed).choice(keys.num_rows, size, replace=False)))


def _diversity(
    connection: duckdb.DuckDBPyConnection, drawn: pa.Table, settings: EvaluationSettings
) -> Iterator[dict[str, object]]:
    connection.register("drawn", drawn)
    connection.execute(
        "CREATE OR REPLACE TABLE sampled AS SELECT list, GENERATE_SUBSCRIPTS(items, 1) AS place, UNNEST(items) AS item "
        "FROM (SELECT ROW_NUMBER() OVER (ORDER BY session, position) AS list, top_items[:$places] AS items "
        "FROM rankings SEMI JOIN drawn USING (session, position))",
        {"places": max(settings.cutoffs)},
    )
    (last,) = connection.execute("SELECT MAX(session_number) FROM train").fetchall()[0]
    found = connection.execute(
        sql_text("evaluation", "diversity"), {"first_session": last + 1 - TRAINING_SESSIONS}
    ).fetchnumpy()
    for k in settings.cutoffs:
        of_lists = np.asarray(found["diversity"])[np.asarray(found["k"]) == k]
        yield {"k": k, "value": float(of_lists.mean()) if len(of_lists) else None, "lists": len(of_lists)}
