"""A small test set with everything that the measures must cope with: repeats, unseen items, ties, empty lists."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sessrec_pipeline.evaluation.ranking import MISS, SCHEMA

DAY = 86_400_000_000
START = 20_000 * DAY
"""2024-10-04."""
ITEMS = [f"i{n:02d}" for n in range(30)]
TOP = 8


@dataclass(frozen=True)
class World:
    """Stored splits, catalogue and rankings, and how to look at them one row at a time."""

    folder: Path

    @property
    def splits(self) -> tuple[Path, Path, Path]:
        """Test split, train split, popularity."""
        return self.folder / "test.parquet", self.folder / "train.parquet", self.folder / "popularity.parquet"

    @property
    def rankings(self) -> dict[str, Path]:
        return {model: self.folder / f"{model}.parquet" for model in ("a", "b")}

    def table(self, name: str) -> pa.Table:
        return pq.read_table(self.folder / f"{name}.parquet")

    @cache  # noqa: B019 - one world lives as long as the tests
    def rows(self, name: str) -> list[dict[str, object]]:
        return self.table(name).to_pylist()

    def predictions(self, model: str) -> list[dict[str, object]]:
        """Rows of the rankings in session and position order."""
        return sorted(self.rows(model), key=lambda row: (row["session"], row["position"]))

    def sessions(self) -> dict[str, list[str]]:
        """Items of each test session, in order."""
        found: dict[str, list[str]] = {}
        for row in self.rows("test"):
            found.setdefault(row["session"], []).append(row["item"])
        return found


def make(folder: Path) -> World:
    """Forty test sessions over some days, two models; items have power-law popularity, one came a day before."""
    rng = np.random.default_rng(0)
    weights = 1 / np.arange(1, len(ITEMS) + 1)

    def events(name: str, sessions: int, start: int, items: list[str], p: np.ndarray) -> list[dict[str, object]]:
        return [
            {
                "session": f"{name}{number:03d}",
                "session_number": number,
                "position": position,
                "item": str(rng.choice(items, p=p / p.sum())),
                "time": start + number * DAY // 10 + position * 60_000_000,
            }
            for number in range(sessions)
            for position in range(int(rng.integers(2, 9)))
        ]

    train = events("train", 100, START, ITEMS[:-1], weights[:-1])
    late = {"session": "late", "session_number": 100, "position": 0, "item": ITEMS[-1], "time": START + 10 * DAY}
    test = events("test", 40, START + 11 * DAY, [*ITEMS, "unseen"], np.append(weights, 0.2))
    counts = {item: sum(row["item"] == item for row in [*train, late]) for item in ITEMS}
    assert all(counts.values())
    order = sorted(ITEMS, key=lambda item: (-counts[item], item))
    catalogue = {"item": order, "events": [counts[i] for i in order], "popularity_rank": list(range(1, 31))}
    pq.write_table(pa.Table.from_pylist([*train, late]), folder / "train.parquet")
    pq.write_table(pa.Table.from_pylist(test), folder / "test.parquet")
    pq.write_table(pa.table(catalogue), folder / "popularity.parquet")
    for model in ("a", "b"):
        rows = [
            {
                "session": row["session"],
                "position": row["position"],
                "target": row["item"],
                "greater": MISS if row["item"] == "unseen" else int(rng.integers(0, 30)),
                "equal": 1 if row["item"] == "unseen" else int(rng.integers(1, 4)),
                "top_items": [] if rng.random() < 0.05 else [str(i) for i in rng.permutation(ITEMS)[:TOP]],
            }
            for row in test
            if row["position"]
        ]
        shuffled = [rows[i] for i in rng.permutation(len(rows))]
        pq.write_table(pa.Table.from_pylist(shuffled, SCHEMA), folder / f"{model}.parquet")
    return World(folder)
