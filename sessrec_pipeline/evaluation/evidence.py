"""The stored rankings as arrays: every model's gain from every prediction, the predictions in the same order."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sessrec_pipeline.settings import EvaluationSettings
from sessrec_pipeline.storage.sql import create_view, identifier, sql_text

GAINS = ("recall", "mrr", "ndcg")
"""What is compared between models and slices; the other metrics of one target say the same."""


@contextmanager
def gains_of(rankings: Mapping[str, Path], cutoffs: list[int]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the table ``gains`` (gains.sql) over the rankings of each model."""
    with duckdb.connect() as connection:
        for model, path in rankings.items():
            create_view(connection, f"rankings_{model}", [path])
        columns = "session, position, greater, equal"
        union = " UNION ALL ".join(
            f"SELECT '{identifier(model)}' AS model, {columns} FROM rankings_{identifier(model)}" for model in rankings
        )
        connection.execute(f"CREATE VIEW rankings AS {union}")
        connection.execute("CREATE TABLE cutoffs AS SELECT UNNEST($cutoffs) AS k", {"cutoffs": cutoffs})
        connection.execute(f"CREATE VIEW gains AS {sql_text('evaluation', 'gains')}")
        yield connection


@dataclass(frozen=True)
class Evidence:
    """What all models gained from the same predictions, in session and position order, under one tie rule."""

    predictions: pa.Table
    """Columns session, position, target: a row per prediction."""
    sessions: NDArray[np.int64]
    """Number of each prediction's session, from 0 in the order of the sessions' ids, (predictions,)."""
    gains: dict[str, NDArray[np.float64]]
    """For each model (GAINS, cutoffs, predictions)."""

    @classmethod
    def of(cls, rankings: Mapping[str, Path], settings: EvaluationSettings) -> "Evidence":
        """Under the settings' cutoffs and tie rule. ValueError where the models ranked different predictions."""
        found: dict[str, pa.Table] = {}
        gains = {}
        shape = (len(settings.cutoffs), -1)
        with gains_of(rankings, settings.cutoffs) as connection:
            for model in rankings:
                found[model] = connection.sql(
                    f"SELECT session, position, target FROM rankings_{identifier(model)} ORDER BY session, position"
                ).to_arrow_table()
                rows = connection.execute(
                    f"SELECT {', '.join(GAINS)} FROM gains WHERE model = $model AND tie_rule = $rule "
                    "ORDER BY k, session, position",
                    {"model": model, "rule": settings.tie_rule},
                ).fetchnumpy()
                gains[model] = np.array([rows[name].reshape(shape) for name in GAINS], dtype=np.float64)
        first = next(iter(found))
        differing = [model for model, own in found.items() if not own.equals(found[first])]
        if differing:
            raise ValueError(
                f"{', '.join(differing)} and {first} ranked different predictions, so nothing can be compared; "
                f"materialize {', '.join(f'{model}_rankings' for model in [first, *differing])} again"
            )
        names = found[first]["session"].to_numpy()
        numbers = np.cumsum(np.append(False, names[1:] != names[:-1])[: len(names)])
        return cls(found[first], numbers, gains)

    @property
    def n_sessions(self) -> int:
        """How many sessions there are predictions of."""
        return int(self.sessions.max(initial=-1)) + 1

    def per_session(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values (..., predictions) summed over each session, (sessions, ...) with all but the first axis flat."""
        flat = values.reshape(-1, values.shape[-1])
        return np.array([np.bincount(self.sessions, row, self.n_sessions) for row in flat]).T
