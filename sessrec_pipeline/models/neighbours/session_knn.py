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

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from sessrec_pipeline.engine import Engine, Table, sql_text
from sessrec_pipeline.models.base import (
    Arrays,
    Block,
    Card,
    Choice,
    Fitted,
    FittedTable,
    Look,
    Recommender,
    Sessions,
    Share,
    Space,
    Span,
)
from sessrec_pipeline.models.counts.popularity import POPULARITY, items_of
from sessrec_pipeline.models.padding import rest_of, steps_of
from sessrec_pipeline.settings import Section
from sessrec_pipeline.text import N_

MICROSECONDS_PER_DAY = 86_400_000_000
Floats = NDArray[np.float64]


class SessionKNNSettings(Section):
    """What SKNN, VS-KNN, STAN and VSTAN share: which training sessions are looked at."""

    k: Annotated[int, Field(ge=1)] = 500
    """Neighbours: most similar sessions of the sample that score items, the most recent ones among equals."""
    sample_size: Annotated[int, Field(ge=1)] = 5000
    """The sample: most recent training sessions that share an item with the current one."""
    repeat_current: bool = True
    """Score the current item as any other. It is in most neighbours and stands first in most lists: turn it off where
    no item follows itself, as after ``[sessions] drop_consecutive_repeats``."""
    padding: bool = True
    """Rank the items that no neighbour scores by popularity; without it they all tie at zero."""


class SKNNSettings(SessionKNNSettings):
    """SKNN: cosine of the sets of items (Jannach & Ludewig 2017)."""

    k: Annotated[int, Field(ge=1)] = 100
    """Neighbours: most similar sessions of the sample that score items, the most recent ones among equals."""
    sample_size: Annotated[int, Field(ge=1)] = 500
    """The sample: most recent training sessions that share an item with the current one."""


class VSKNNSettings(SessionKNNSettings):
    """VS-KNN: SKNN that stresses the last events of the current session (Ludewig & Jannach 2018)."""

    weighting: Literal["div", "linear", "quadratic", "log", "same"] = "quadratic"
    """What event i of n in the current session weighs in the similarity: i/n, 1 - (n - i)/10 (0 from 10 events back
    on), (i/n)**2, 1/log10(n - i + 1.7), 1."""
    weighting_score: Literal["div", "linear", "quadratic", "log", "same"] = "div"
    """What a neighbour weighs whose most recent shared item is j-th from the end of the current session: 1/j,
    1 - j/10 (0 from j = 10 on), 1/j**2, 1/log10(j + 1.7), 1."""
    idf_weighting: Annotated[float, Field(ge=0)] = 5
    """An item's score is multiplied by 1 + idf_weighting * idf; 0 leaves it."""


class STANSettings(SessionKNNSettings):
    """STAN: position and age of what is shared fade exponentially (Garg et al. 2019)."""

    lambda_spw: Annotated[float, Field(gt=0)] = 1.02
    """Events over which the weight of an event of the current session fades by a factor e."""
    lambda_snh: Annotated[float, Field(gt=0)] = 5
    """Days over which the weight of a training session fades by a factor e."""
    lambda_inh: Annotated[float, Field(gt=0)] = 2.05
    """Events of a neighbour, counted from its most recent shared item, over which its items' weight fades by e."""


class VSTANSettings(STANSettings):
    """VSTAN: STAN with the ideas of VS-KNN (Ludewig et al. 2020)."""

    lambda_ipw: Annotated[float, Field(gt=0)] = 1.02
    """Events from the end of the current session over which the weight of a neighbour's shared item fades by e."""
    lambda_idf: Annotated[float, Field(ge=0)] = 5
    """An item's score is multiplied by 1 + lambda_idf * idf; 0 leaves it."""


def fit_recent_sessions(engine: Engine, train: Path, read: Mapping[str, Any]) -> Table:
    """The fitted table (recency, item, position, session_end, item_recency, all_sessions), enough for all readers."""
    engine.register("train", train)
    engine.write("visited", sql_text("models/neighbours", "visited"))
    sample_size = max(int(size) for size in read.values())
    engine.write("recent_sessions", sql_text("models/neighbours", "recent_sessions"), sample_size=sample_size)
    return engine.table("recent_sessions")


RECENT_SESSIONS = FittedTable(
    "recent_sessions",
    "The most recent training sessions of each item, which the session-KNN models look for neighbours in.",
    {
        "recency": ("int64", "1 for the training session that ended last"),
        "item": ("string", "An item of the session, once"),
        "position": ("int64", "Position of its last event in the session"),
        "session_end": ("int64", "Time of the session's last event, microseconds since 1970-01-01 UTC"),
        "item_recency": ("int64", "1 for the most recent training session with this item"),
        "all_sessions": ("int64", "Training sessions, those included that are not in this table"),
    },
    fit_recent_sessions,
    reads=("sknn.sample_size", "vsknn.sample_size", "stan.sample_size", "vstan.sample_size"),
)


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

    def arrays(self) -> Arrays:
        """All of it by name; ``Index(**arrays)`` is the inverse."""
        return dict(vars(self))

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


def weights_of(index: Index, settings: SessionKNNSettings) -> Weights:
    """The weights of the model that ``settings`` are for."""
    even, back = np.ones(len(index.lengths)), np.arange(1.0, REACH + 1)
    cosine = even / np.sqrt(index.lengths)
    if isinstance(settings, VSKNNSettings):
        power = {"div": 1, "quadratic": 2}.get(settings.weighting, 0)
        by_age = ONE if power else fading(settings.weighting, back - 1)
        by_step = fading(settings.weighting_score, back)
        return Weights(even, 1 + settings.idf_weighting * index.idf, power, by_age, by_step, ONE)
    if isinstance(settings, STANSettings):
        days = (index.ends - index.ends.max()) / MICROSECONDS_PER_DAY
        recent = np.maximum(np.exp(days / settings.lambda_snh), 1e-200)  # however old, a session has some weight
        stan = Weights(
            cosine * recent,
            np.ones(len(index.idf)),
            0,
            exponential(settings.lambda_spw),
            ONE,
            exponential(settings.lambda_inh),
        )
        if not isinstance(settings, VSTANSettings):
            return stan
        items = 1 + settings.lambda_idf * index.idf
        return Weights(stan.sessions, items, 0, stan.by_age, exponential(settings.lambda_ipw), stan.by_distance)
    return Weights(cosine, np.ones(len(index.idf)), 0, ONE, ONE, ONE)


class SessionKNN(Recommender):
    """One of the four models, over an index of the training sessions."""

    def __init__(self, index: Index, settings: SessionKNNSettings) -> None:
        self.index, self.settings = index, settings
        self.n_items = len(index.idf)
        self.weights = weights_of(index, settings)
        self.rest, self.steps = rest_of(self.n_items, settings.padding), steps_of(self.n_items, settings.padding)

    def score(self, sessions: Sessions, batch_size: int) -> Iterator[Block]:
        """See ``Recommender.score``."""
        starts, fill = sessions.starts, self._filler(sessions)
        block = np.empty((min(batch_size, len(starts)), self.n_items))
        for start in range(0, len(starts), batch_size):
            scores = block[: len(starts) - start]
            fill(starts[start : start + len(scores)], start, scores)
            yield np.arange(start, start + len(scores), dtype=np.int64), scores

    def score_last(self, sessions: Sessions) -> NDArray[np.floating]:
        """See ``Recommender.score_last``."""
        fill, scores = self._filler(sessions), np.empty((len(sessions), self.n_items))
        for i, event in enumerate(sessions.last.tolist()):
            fill(sessions.offsets[i : i + 1], event, scores[i : i + 1])
        return scores

    def _filler(self, sessions: Sessions) -> Callable[[NDArray[np.int64], int, Floats], None]:
        """What fills scores (b, n_items) for the events from ``first`` on, given the first event of each's session."""
        from sessrec_pipeline.models.neighbours import kernels  # noqa: PLC0415 - imports numba

        index, weights = self.index, self.weights
        longest = int(max(sessions.lengths, default=0))
        slots = np.full(len(index.lengths), -1, np.int32)
        by_age, by_step = _as_long(weights.by_age, longest), _as_long(weights.by_step, longest)
        by_distance = _as_long(weights.by_distance, int(index.positions.max()) + 1)

        def fill(starts: NDArray[np.int64], first: int, scores: Floats) -> None:
            kernels.neighbour_rows(
                sessions.items,
                starts,
                first,
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
                self.settings.k,
                self.settings.sample_size,
                self.settings.repeat_current,
                self.rest,
                self.steps,
                slots,
                scores,
            )

        return fill


def _as_long(weights: Floats, length: int) -> Floats:
    return np.pad(weights, (0, max(0, length - len(weights))), mode="edge")


def fit(tables: Mapping[str, pa.Table], settings: SessionKNNSettings) -> Fitted:
    """The index over the sessions that the settings let it look at."""
    index = Index.from_tables(tables["popularity"], tables["recent_sessions"], settings.sample_size)
    return Fitted(index.arrays(), items_of(tables["popularity"]))


def load(arrays: Arrays, settings: SessionKNNSettings, items: Sequence[str], device: str) -> SessionKNN:
    """One of the four models: which one, the class of its settings says."""
    return SessionKNN(Index(**arrays), settings)


WEIGHTINGS = Choice(("same", "div", "linear", "quadratic", "log"))
NEIGHBOURS: Space = {
    "k": Span(50, 2000, log=True),
    "sample_size": Span(500, 10_000, log=True),
    "repeat_current": Choice((True, False)),
}
FADING: Space = {
    "lambda_spw": Span(0.1, 8.0, log=True),
    "lambda_snh": Span(1.0, 100.0, log=True),
    "lambda_inh": Span(0.1, 8.0, log=True),
}
"""The spaces have the names and ranges of Ludewig et al. (2021)."""
TABLES = (POPULARITY, RECENT_SESSIONS)


def votes(model: SessionKNN, session: Sequence[int], scores: NDArray[np.floating]) -> NDArray[np.floating]:
    """What the neighbours give to each item, (n_items,), up to a factor that all share."""
    given: Floats = scores - model.rest
    return given


SHARE = Share(N_("its part of what the neighbours of the session give to items"), votes)

SKNN = Card(
    name="sknn",
    title="SKNN",
    summary=N_("items of training sessions that share items with the current one, by the cosine of the sets of items"),
    source="Jannach, Ludewig: When recurrent neural networks meet the neighborhood for session-based recommendation. "
    "RecSys 2017",
    settings=SKNNSettings,
    tables=TABLES,
    fit=fit,
    load=load,
    space=NEIGHBOURS,
    share=SHARE,
    look=Look("#009E73", "h", "-"),
)
VSKNN = Card(
    name="vsknn",
    title="VS-KNN",
    summary=N_("SKNN that stresses the last events of the current session"),
    source="Ludewig, Jannach: Evaluation of session-based recommendation algorithms. UMUAI 28, 2018, arXiv 1803.09587",
    settings=VSKNNSettings,
    tables=TABLES,
    fit=fit,
    load=load,
    space={**NEIGHBOURS, "weighting": WEIGHTINGS, "weighting_score": WEIGHTINGS, "idf_weighting": Span(0.0, 10.0)},
    share=SHARE,
    look=Look("#D55E00", "P", "-"),
)
STAN = Card(
    name="stan",
    title="STAN",
    summary=N_("SKNN in which position and age of what is shared fade exponentially"),
    source="Garg, Gupta, Malhotra, Vig, Shroff: Sequence and time aware neighborhood for session-based "
    "recommendations. SIGIR 2019",
    settings=STANSettings,
    tables=TABLES,
    fit=fit,
    load=load,
    space={**NEIGHBOURS, **FADING},
    share=SHARE,
    look=Look("#B8820A", "d", "-"),
)
VSTAN = Card(
    name="vstan",
    title="VSTAN",
    summary=N_("STAN with the ideas of VS-KNN"),
    source="Ludewig, Mauro, Latifi, Jannach: Empirical analysis of session-based recommendation algorithms. UMUAI 31, "
    "2021, arXiv 1910.12781",
    settings=VSTANSettings,
    tables=TABLES,
    fit=fit,
    load=load,
    space={**NEIGHBOURS, **FADING, "lambda_ipw": Span(0.1, 8.0, log=True), "lambda_idf": Span(0.0, 10.0)},
    share=SHARE,
    look=Look("#C46A9B", "p", "-"),
)
