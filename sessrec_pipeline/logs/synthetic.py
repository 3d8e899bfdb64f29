"""Seeded session logs whose law is known, so that the best possible ranking of them is known too.

Two laws, chosen by ``[synthetic] kind``:

null: every event is an independent draw from Zipf(0.8). Nothing in a session says what comes next, so popularity is
    the ceiling, and any model that looks better than that is lucky or leaking.
demo: a session is about one hidden topic and follows that topic's sequence, now and then interrupted by a hub item
    that anybody may look at. After a hub item the last event says nothing about the next one, but the session
    before it still does: a model of the whole session can win over one of the last item.

A law both draws sessions and tells the exact probability of every next item (``Law.forecasts``); ``models/oracle.py``
ranks by the latter. Internally items are indices 0 .. n_items-1; ``Law.items`` has their public ids.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sessrec_pipeline.settings import SyntheticSettings
from sessrec_pipeline.storage.files import replacing

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SHORTEST, LONGEST = 2, 20
"""Events of a session; every length in between is equally likely."""

FIRST_DAY = int(datetime(2026, 1, 5, tzinfo=UTC).timestamp())
"""Midnight before the first session, a Monday."""

DAY = 24 * 60 * 60

HOURS = np.array([3, 2, 1, 1, 1, 1, 2, 4, 6, 7, 8, 8, 9, 8, 8, 8, 8, 9, 11, 13, 14, 13, 10, 6]) / 161
"""Share of the sessions that start in each hour (UTC): a quiet night, a busy evening."""


@dataclass(frozen=True)
class Draw:
    """Sessions drawn from a law, in the order of their first event.

    items: (events,), indices into ``Law.items``.
    times: (events,), Unix seconds, increasing within a session.
    offsets: (sessions + 1,), session s is ``offsets[s] : offsets[s + 1]`` of both.
    """

    items: Ints
    times: Ints
    offsets: Ints

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def session_ids(self) -> list[str]:
        """Ids of the sessions: decimal numbers of one width, so that text order, too, is the order of time."""
        first = 10 ** len(str(len(self)))
        return [str(first + s) for s in range(len(self))]


class Law(ABC):
    """A probability law of session logs."""

    def __init__(self, settings: SyntheticSettings) -> None:
        self.settings = settings
        self.n_items = settings.items
        names = self._rng("item ids").permutation(self.n_items) + 1  # shuffled: an id says nothing of its item
        self.items: list[str] = [str(name) for name in names]

    def draw(self) -> Draw:
        """The sessions of this feed: the same ones at every call."""
        lengths = self._rng("lengths").integers(SHORTEST, LONGEST, size=self.settings.sessions, endpoint=True)
        times = self._draw_times(lengths)
        order = np.argsort(times[:, 0], kind="stable")
        lengths, times = lengths[order], times[order]
        real = np.arange(LONGEST) < lengths[:, None]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return Draw(self._draw_items(self._rng("items"))[real], times[real], offsets)

    @abstractmethod
    def forecasts(self, session: Ints) -> Iterator[Floats]:
        """After each event of a session, the exact probability (n_items,) of each item to be the next one."""

    @abstractmethod
    def _draw_items(self, rng: np.random.Generator) -> Ints:
        """Item indices (sessions, LONGEST); ``draw`` cuts each session to its length."""

    def _draw_times(self, lengths: Ints) -> Ints:
        """Times (sessions, LONGEST), of which each session uses as many as it is long."""
        rng, n = self._rng("times"), len(lengths)
        day, hour = rng.integers(self.settings.days, size=n), rng.choice(24, size=n, p=HOURS)
        start = FIRST_DAY + day * DAY + hour * 3600 + rng.integers(3600, size=n)
        # Half a minute between events, give or take; at most ten minutes.
        gaps = np.clip(rng.lognormal(np.log(30), 1, size=(n, LONGEST)), 2, 600).astype(np.int64)
        gaps[:, 0] = 0
        elapsed = np.cumsum(gaps, axis=1)
        # A session may go on past midnight, but the last log must hold its end: who is too late for that comes at noon.
        end = start + elapsed[np.arange(n), lengths - 1]
        start -= np.where(end < FIRST_DAY + self.settings.days * DAY, 0, DAY // 2)
        times: Ints = start[:, None] + elapsed
        return times

    def _rng(self, purpose: str) -> np.random.Generator:
        """A stream of its own for each purpose, so that a change in one leaves the others alone."""
        return np.random.default_rng([self.settings.seed, *purpose.encode()])


class NullLaw(Law):
    """Independent draws from a power law: the generator of the reproduction study, nothing to learn in it."""

    exponent = 0.8

    def __init__(self, settings: SyntheticSettings) -> None:
        super().__init__(settings)
        self.popularity = zipf(self.n_items, self.exponent)

    def forecasts(self, session: Ints) -> Iterator[Floats]:
        """The popularity law, whatever has happened."""
        for _ in session:
            yield self.popularity

    def _draw_items(self, rng: np.random.Generator) -> Ints:
        uniform = rng.random((self.settings.sessions, LONGEST))
        return _invert(np.cumsum(self.popularity), uniform, 0, self.n_items)


class DemoLaw(Law):
    """Sessions about one hidden topic, with an order inside the topic and hub items in between.

    A session draws its topic z. Each of its events is, independently,

    - with probability ``p_hub`` a hub item: any item, by popularity, whatever the topic;
    - else a topical item. With probability ``p_sequence`` that is one of the few ``successors`` of the last
      *topical* item; otherwise, and at the first topical event, an item of topic z by popularity.

    Each item belongs to one topic, and its successors to the same one. An observer cannot see which events are hub
    items, but can weigh it up: see ``forecasts``.

    The numbers are chosen so that the 800 training sessions of the default size tell the models apart for certain:
    Recall@20 is near .28 for Popularity, .45 for Markov, .63 for a trained network and .74 for the oracle, give or
    take .015 from seed to seed.
    """

    exponent = 0.8
    """Popularity falls off as rank ** -exponent; the successors, chosen evenly, flatten it a little."""
    topic_size = 15
    """Items of a topic, at least: small enough to be learnt from a few sessions."""
    p_hub = 0.3
    """Share of hub items. Past one half, too little of a session is left to learn from."""
    p_sequence = 0.4
    """Share of topical events that follow the topic's sequence."""
    successor_weights = np.array([0.6, 0.3, 0.1])
    """Probabilities of an item's first, second, ... successor."""

    def __init__(self, settings: SyntheticSettings) -> None:
        super().__init__(settings)
        rng = self._rng("law")
        n, n_topics = self.n_items, self.n_items // self.topic_size
        # Deal the items to the topics by rank, a random round at a time, so that each topic gets its head and its tail.
        rounds = [rng.permutation(n_topics) for _ in range(-(-n // n_topics))]
        topic_of_rank = np.concatenate(rounds)[:n]
        # The items of a topic are neighbours, so a topic is a slice, and a draw within it a slice of ``_cumulative``.
        by_topic = np.argsort(topic_of_rank, kind="stable")
        self.popularity: Floats = zipf(n, self.exponent)[by_topic]
        self.topic: Ints = topic_of_rank[by_topic]
        self.topic_start: Ints = np.searchsorted(self.topic, np.arange(n_topics + 1))
        self.topic_popularity: Floats = np.add.reduceat(self.popularity, self.topic_start[:-1])
        self.within_topic: Floats = self.popularity / self.topic_popularity[self.topic]
        """Probability of each item within its topic."""
        self.successors: Ints = np.array([self._choose_successors(item, rng) for item in range(n)])
        """(n_items, len(successor_weights)), likeliest first."""
        self._cumulative = np.cumsum(self.popularity)

    def _choose_successors(self, item: int, rng: np.random.Generator) -> Ints:
        """Other items of the same topic, each as likely as the next."""
        topic = self.topic[item]
        others = np.arange(self.topic_start[topic], self.topic_start[topic + 1])
        others = others[others != item]
        return rng.choice(others, size=len(self.successor_weights), replace=False)

    def forecasts(self, session: Ints) -> Iterator[Floats]:
        """The exact forward filter over the two things that an observer cannot see: topic and last topical event.

        ``last[j]`` is the probability, given the events so far, that event j was the last topical one (which tells
        the topic too), ``none[z]`` that there was no topical event yet and the topic is z.
        """
        last = np.zeros(len(session))
        none = self.topic_popularity.copy()
        for i, item in enumerate(session):
            past = session[:i]
            follows = (self.successors[past] == item) @ self.successor_weights
            same_topic = (self.topic[past] == self.topic[item]) * self.within_topic[item]
            topical = last[:i] @ (self.p_sequence * follows + (1 - self.p_sequence) * same_topic)
            topical += none[self.topic[item]] * self.within_topic[item]
            hub = self.p_hub * self.popularity[item]
            last[:i] *= hub
            none *= hub
            last[i] = (1 - self.p_hub) * topical
            total = last[: i + 1].sum() + none.sum()
            last /= total
            none /= total
            yield self._next_item(session[: i + 1], last[: i + 1], none)

    def _next_item(self, past: Ints, last: Floats, none: Floats) -> Floats:
        """Probability of each item as the next one, from the state of the filter."""
        topics = none + (1 - self.p_sequence) * np.bincount(self.topic[past], last, len(none))
        topical = topics[self.topic] * self.within_topic
        follows = self.p_sequence * last[:, None] * self.successor_weights
        np.add.at(topical, self.successors[past], follows)
        return self.p_hub * self.popularity + (1 - self.p_hub) * topical

    def _draw_items(self, rng: np.random.Generator) -> Ints:
        n = self.settings.sessions
        # A topic is as likely as its items together, so that both kinds of draws have the same popularity.
        topic = self.topic[_invert(self._cumulative, rng.random(n), 0, self.n_items)]
        last = np.full(n, -1)
        items = np.empty((n, LONGEST), np.int64)
        for event in range(LONGEST):
            hub = _invert(self._cumulative, rng.random(n), 0, self.n_items)
            own = _invert(self._cumulative, rng.random(n), self.topic_start[topic], self.topic_start[topic + 1])
            which = _invert(np.cumsum(self.successor_weights), rng.random(n), 0, len(self.successor_weights))
            follows = (rng.random(n) < self.p_sequence) & (last >= 0)
            is_hub = rng.random(n) < self.p_hub
            topical = np.where(follows, self.successors[last, which], own)
            items[:, event] = np.where(is_hub, hub, topical)
            last = np.where(is_hub, last, topical)
        return items


def law(settings: SyntheticSettings) -> Law:
    """The law behind a synthetic feed."""
    return DemoLaw(settings) if settings.kind == "demo" else NullLaw(settings)


def write_logs(settings: SyntheticSettings, landing: Path) -> list[Path]:
    """Land the sessions as one TSV a day, ``SessionId ItemId Time``; the same settings give the same bytes.

    An event is in the log of the day on which it happened: a session around midnight is in two. A day without events
    has no log. A log appears complete or not at all, under a name like ``demo-2026-01-05.tsv``.
    """
    source = law(settings)
    draw = source.draw()
    session_ids = draw.session_ids
    session_of = np.repeat(np.arange(len(draw)), np.diff(draw.offsets))
    logs: dict[str, list[str]] = {}
    for event in np.argsort(draw.times, kind="stable"):
        time = int(draw.times[event])
        day = datetime.fromtimestamp(time, UTC).date().isoformat()
        row = f"{session_ids[session_of[event]]}\t{source.items[draw.items[event]]}\t{time}\n"
        logs.setdefault(day, ["SessionId\tItemId\tTime\n"]).append(row)
    landing.mkdir(parents=True, exist_ok=True)
    paths = []
    for day, rows in logs.items():
        path = landing / f"{settings.kind}-{day}.tsv"
        with replacing(path) as temporary:
            temporary.write_bytes("".join(rows).encode())
        paths.append(path)
    return paths


def zipf(n: int, exponent: float) -> Floats:
    """Probabilities of ranks 1 .. n under a power law."""
    weights = np.arange(1, n + 1, dtype=np.float64) ** -exponent
    probabilities: Floats = weights / weights.sum()
    return probabilities


def _invert(cumulative: Floats, uniform: Floats, start: Ints | int, stop: Ints | int) -> Ints:
    """Draw indices from start to stop - 1 with the probabilities whose running sum is ``cumulative``."""
    below = np.where(np.asarray(start) > 0, cumulative[np.asarray(start) - 1], 0.0)
    width = cumulative[np.asarray(stop) - 1] - below
    found = np.searchsorted(cumulative, below + uniform * width, side="right")
    # Rounding may land on the very edge.
    inside: Ints = np.clip(found, start, np.asarray(stop) - 1)
    return inside
