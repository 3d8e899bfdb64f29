"""SKNN, VS-KNN, STAN and VSTAN: training sessions like the current one say what comes next.

- SKNN: Jannach, Ludewig: When recurrent neural networks meet the neighborhood for session-based recommendation. RecSys
  2017.
- VS-KNN: Ludewig, Jannach: Evaluation of session-based recommendation algorithms. UMUAI 28, 2018, arXiv 1803.09587.
- STAN: Garg, Gupta, Malhotra, Vig, Shroff: Sequence and time aware neighborhood for session-based recommendations.
  SIGIR 2019.
- VSTAN: Ludewig, Mauro, Latifi, Jannach: Empirical analysis of session-based recommendation algorithms. UMUAI 31, 2021,
  arXiv 1910.12781.

All four look at the ``sample_size`` most recent training sessions that share an item with the current session s, take
the ``k`` most similar ones as neighbours n, and sum up what these give to each of their items i:

    similarity(s, n) = w(n) * sum of a(p) over the shared items, which stand last at event p of s
    score(i) = v(i) * sum over the neighbours with i of similarity(s, n) * b(p*) * c(|position of i in n - of i* in n|)

where i* is the shared item that stands last in s, at p*. ``Weights`` says what w, v, a, b and c are in each model.

What a prediction costs does not grow with the training set, by the idea of VMIS-KNN (Kersbergen, Sprangers, Schelter:
Serenade, SIGMOD 2022): an item's list holds its ``sample_size`` most recent sessions alone. That is no approximation:
a session among the most recent ones with any item of s is among the most recent ones with that item.

STAN's decay between the time t of the current event and the end of a neighbour, exp(-(t - end) / lambda), is the
product of exp(-t / lambda), the same for all neighbours, and of exp(end / lambda). So the scores of a prediction are
the published ones but for a factor that all share, and need no time of the current session: they cannot leak one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sessrec_pipeline.engine import Engine
from sessrec_pipeline.models.base import Block, Sessions
from sessrec_pipeline.models.padding import rest_of, steps_of
from sessrec_pipeline.settings import (
    SessionKNNSettings,
    STANSettings,
    VSKNNSettings,
    VSTANSettings,
)
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.sql import sql_text

MICROSECONDS_PER_DAY = 86_400_000_000
Floats = NDArray[np.float64]


def fit_recent_sessions(engine: Engine, train: Path, sample_size: int) -> Table:
    """The fitted table (recency, item, position, session_end, item_recency, all_sessions)."""
    engine.register("train", train)
    engine.write("visited", sql_text("models", "visited"))
    engine.write("recent_sessions", sql_text("models", "recent_sessions"), sample_size=sample_size)
    return engine.table("recent_sessions")


@dataclass(frozen=True)
class Index:
    """Training sessions by item, and items by training session. Session 0 is the most recent one.

    item_sessions int32, item_offsets int64 (n_items + 1,): the most recent sessions of each item, rising.
    session_items, positions int32, session_offsets int64 (sessions + 1,): items of each session and where they stand.
    lengths, ends int64 (sessions,): different items of each session, and the time of its last event in microseconds.
    idf float64 (n_items,): log(training sessions / training events of the item), at least 0. The papers divide by the
    sessions with the item; the published figures come from events, and agree with this one alone.
    """

    item_offsets: NDArray[np.int64]
    item_sessions: NDArray[np.int32]
    session_offsets: NDArray[np.int64]
    session_items: NDArray[np.int32]
    positions: NDArray[np.int32]
    ends: NDArray[np.int64]
    idf: Floats

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Different items of each session, int64 (sessions,)."""
        return np.diff(self.session_offsets)

    @classmethod
    def from_tables(cls, popularity: pa.Table, recent: pa.Table, sample_size: int) -> "Index":
        """From the fitted tables; of each item's sessions ``sample_size`` are kept.

        Raises ValueError where one has items that the other lacks.
        """
        index = popularity["item"].combine_chunks()
        item = pc.index_in(recent["item"], index)
        if item.null_count or pc.count_distinct(item).as_py() != len(index):
            raise ValueError("recent_sessions and popularity have different items: fit both on the same events")
        items = item.to_numpy().astype(np.int32)
        _, sessions = np.unique(recent["recency"].to_numpy(), return_inverse=True)
        order = np.lexsort((recent["position"].to_numpy(), sessions))
        first = np.searchsorted(sessions[order], np.arange(sessions.max() + 1))
        listed = np.flatnonzero(recent["item_recency"].to_numpy() <= sample_size)
        listed = listed[np.lexsort((sessions[listed], items[listed]))]
        idf = np.log(recent["all_sessions"].to_numpy()[0] / popularity["events"].to_numpy())
        return cls(
            item_offsets=np.searchsorted(items[listed], np.arange(len(index) + 1)).astype(np.int64),
            item_sessions=sessions[listed].astype(np.int32),
            session_offsets=np.append(first, len(order)).astype(np.int64),
            session_items=items[order],
            positions=recent["position"].to_numpy()[order].astype(np.int32),
            ends=recent["session_end"].to_numpy()[order][first].astype(np.int64),
            idf=np.maximum(idf, 0),
        )


@dataclass(frozen=True)
class Weights:
    """What tells the four models apart; see the module's text.

    sessions: w, float64 (sessions,). items: v, float64 (n_items,). power, by_age: a(p) is (p / n) ** power * by_age[n -
    p] for event p of n. by_step: b(p*) is by_step[n - p*]. by_distance: c. The arrays by_* go on as their last value.
    """

    sessions: Floats
    items: Floats
    power: int
    by_age: Floats
    by_step: Floats
    by_distance: Floats


REACH = 1000
"""Events after which a weight by distance does not change any more: all fall to nothing or to nearly nothing."""
ONE = np.ones(1)


def fading(weighting: str, back: Floats) -> Floats:
    """Published weights of what lies ``back`` events back (at least 1); of a linear weight 0 is the least."""
    if weighting == "same":
        return np.ones_like(back)
    if weighting == "linear":
        return np.maximum(0, 1 - back / 10)
    if weighting == "log":
        return 1 / np.log10(back + 1.7)
    return 1 / back ** (2 if weighting == "quadratic" else 1)


def exponential(scale: float) -> Floats:
    """exp(-d / scale) for the distances d from 0 on."""
    return np.exp(-np.arange(REACH) / scale)


def weights_of(index: Index, config: SessionKNNSettings) -> Weights:
    """The weights of the model that ``config`` is for."""
    even, back = np.ones(len(index.lengths)), np.arange(1.0, REACH + 1)
    cosine = even / np.sqrt(index.lengths)
    if isinstance(config, VSKNNSettings):
        power = {"div": 1, "quadratic": 2}.get(config.weighting, 0)
        by_age = ONE if power else fading(config.weighting, back - 1)
        by_step = fading(config.weighting_score, back)
        return Weights(even, 1 + config.idf_weighting * index.idf, power, by_age, by_step, ONE)
    if isinstance(config, STANSettings):
        days = (index.ends - index.ends.max()) / MICROSECONDS_PER_DAY
        recent = np.maximum(np.exp(days / config.lambda_snh), 1e-200)  # however old, a session has some weight
        stan = Weights(
            cosine * recent,
            np.ones(len(index.idf)),
            0,
            exponential(config.lambda_spw),
            ONE,
            exponential(config.lambda_inh),
        )
        if not isinstance(config, VSTANSettings):
            return stan
        items = 1 + config.lambda_idf * index.idf
        return Weights(stan.sessions, items, 0, stan.by_age, exponential(config.lambda_ipw), stan.by_distance)
    return Weights(cosine, np.ones(len(index.idf)), 0, ONE, ONE, ONE)


class SessionKNN:
    """One of the four models, over an index of the training sessions."""

    def __init__(self, index: Index, config: SessionKNNSettings) -> None:
        self.index, self.config = index, config
        self.weights = weights_of(index, config)
        self.rest, self.steps = rest_of(self.n_items, config.padding), steps_of(self.n_items, config.padding)

    @classmethod
    def from_tables(
        cls, popularity: pa.Table, recent: pa.Table, config: SessionKNNSettings
    ) -> tuple["SessionKNN", list[str]]:
        """The model and its vocabulary: item index = popularity rank - 1."""
        return cls(Index.from_tables(popularity, recent, config.sample_size), config), popularity["item"].to_pylist()

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return len(self.index.idf)

    def score(self, sessions: Sessions, batch_size: int) -> Iterator[Block]:
        """See ``Recommender.score``."""
        from sessrec_pipeline.models import kernels  # noqa: PLC0415 - imports numba

        index, weights, starts = self.index, self.weights, sessions.starts
        longest = int(max(sessions.lengths, default=0))
        slots = np.full(len(index.lengths), -1, np.int32)
        by_age, by_step = _as_long(weights.by_age, longest), _as_long(weights.by_step, longest)
        by_distance = _as_long(weights.by_distance, int(index.positions.max()) + 1)
        block = np.empty((min(batch_size, len(starts)), self.n_items))
        for start in range(0, len(starts), batch_size):
            scores = block[: len(starts) - start]
            kernels.neighbour_rows(
                sessions.items,
                starts[start : start + len(scores)],
                start,
                index.item_offsets,
                index.item_sessions,
                index.session_offsets,
                index.session_items,
                index.positions,
                weights.sessions,
                weights.items,
                by_age,
                weights.power,
                by_step,
                by_distance,
                self.config.k,
                self.config.sample_size,
                self.config.repeat_current,
                self.rest,
                self.steps,
                slots,
                scores,
            )
            yield np.arange(start, start + len(scores), dtype=np.int64), scores


def _as_long(weights: Floats, length: int) -> Floats:
    return np.pad(weights, (0, max(0, length - len(weights))), mode="edge")
