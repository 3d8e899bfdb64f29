"""What a prediction of the count and neighbour models costs, beside plain Python, and as training sets grow.

    python benchmarks/baselines.py [--data TRAIN.tsv TEST.tsv] [--sessions 20000] [--items 3000]
    python benchmarks/baselines.py --only scaling --sizes 10000 100000 1000000

A prediction is the scores of all items after an event. Everything runs in turn in one process on one thread, several
times, and is measured in CPU seconds; only ratios within one run mean something. ``benchmarks/README.md`` says more.
"""

import argparse
import csv
import math
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tabulate import tabulate

from sessrec_pipeline.engine import DuckDBEngine
from sessrec_pipeline.evaluation.ranking import rows_at_once
from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.models.base import Recommender, Sessions
from sessrec_pipeline.models.registry import card_of
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.training.fit import fit_from_tables, fit_table, recommender_of

MODELS = ("markov", "ar", "sr", "item_knn", "sknn", "vsknn", "stan", "vstan")
DAY = 86_400_000_000


@dataclass(frozen=True)
class Log:
    """Sessions of item ids in time order, and the time of each one's last event in microseconds."""

    sessions: list[list[str]]
    ends: list[int]

    @property
    def predictions(self) -> int:
        """Events that have a next one."""
        return sum(len(session) - 1 for session in self.sessions)


def synthetic(n_sessions: int, n_items: int, seed: int) -> Log:
    """Sessions of 2 and more events, 4.3 on average, over thirty days; item n has a popularity of 1 / n^0.9."""
    rng = np.random.default_rng(seed)
    popularity = 1 / np.arange(1, n_items + 1) ** 0.9
    lengths = 1 + np.minimum(rng.geometric(0.3, size=n_sessions), 50)
    items = rng.choice(n_items, size=lengths.sum(), p=popularity / popularity.sum()).astype(str).tolist()
    stops = [0, *np.cumsum(lengths).tolist()]
    ends = np.sort(rng.integers(0, 30 * DAY, n_sessions))
    return Log([items[start:stop] for start, stop in pairwise(stops)], ends.tolist())


def read(path: Path) -> Log:
    """A TSV ``SessionId  ItemId  Time``, time in seconds."""
    events: dict[str, list[tuple[float, str]]] = defaultdict(list)
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            events[row["SessionId"]].append((float(row["Time"]), row["ItemId"]))
    found = sorted((sorted(session, key=lambda event: event[0]) for session in events.values()), key=lambda s: s[0][0])
    return Log([[item for _, item in session] for session in found], [int(s[-1][0] * 1e6) for s in found])


# --- ours ------------------------------------------------------------------------------------------------------------


def table_of(log: Log) -> pa.Table:
    """The training table; all events of a session are at its end."""
    lengths = np.array([len(session) for session in log.sessions])
    numbers = np.repeat(np.arange(len(lengths)), lengths)
    positions = np.arange(len(numbers)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    items = [item for session in log.sessions for item in session]
    times = np.repeat(np.array(log.ends, np.int64), lengths)
    return pa.table({"session_number": numbers, "position": positions, "item": items, "time": times})


def ours(log: Log, settings: Settings) -> tuple[dict[str, Recommender], list[str]]:
    """All models, fitted, and their vocabulary. ``settings`` names the home to work in."""
    train = settings.home / "train.parquet"
    pq.write_table(table_of(log), train)
    cards = [card_of(name) for name in MODELS]
    tables = {table.name: table for card in cards for table in card.tables}
    with DuckDBEngine(settings) as engine:
        fitted = {name: fit_table(table, engine, train, settings).arrow() for name, table in tables.items()}
    models: dict[str, Recommender] = {}
    for card in cards:
        section = settings.section(card.section)
        models[card.name] = recommender_of(card, section, fit_from_tables(card, section, fitted))
    return models, fitted["popularity"]["item"].to_pylist()


def shown(log: Log, vocabulary: Sequence[str]) -> Sessions:
    """What a model reads: known items, without each session's last event."""
    index = {item: i for i, item in enumerate(vocabulary)}
    sessions = ([index[item] for item in session[:-1] if item in index] for session in log.sessions)
    return Sessions.from_lists([session for session in sessions if session])


def predict_ours(model: Recommender, sessions: Sessions) -> int:
    """Score all of them; the number of predictions."""
    return sum(len(events) for events, _ in model.score(sessions, rows_at_once(model.n_items, 256)))


# --- plain Python: dictionaries, sets and sorted, as the papers describe the methods ---------------------------------

Plain = Callable[[list[str]], dict[str, float]]
"""From the session so far to the scores of the items that have one."""


def plain_markov(log: Log, settings: Settings) -> Plain:
    """Counts of what followed."""
    counts: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for session in log.sessions:
        for one, other in pairwise(session):
            counts[one][other] += 1
    return lambda session: counts.get(session[-1], {})


def pruned(rules: dict[str, dict[str, float]], keep: int) -> Plain:
    """The strongest rules of each item."""
    kept = {item: dict(sorted(found.items(), key=lambda rule: -rule[1])[:keep]) for item, found in rules.items()}
    return lambda session: kept.get(session[-1], {})


def plain_ar(log: Log, settings: Settings) -> Plain:
    """Pairs of events that share a session."""
    rules: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for session in log.sessions:
        for p, later in enumerate(session):
            for earlier in session[:p]:
                rules[earlier][later] += 1
                rules[later][earlier] += 1
    return pruned(rules, settings.ar.pruning)


def plain_sr(log: Log, settings: Settings) -> Plain:
    """Events that came a few steps later, by 1 / distance."""
    rules: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for session in log.sessions:
        for p, item in enumerate(session):
            for d in range(1, min(settings.sr.steps, p) + 1):
                rules[session[p - d]][item] += 1 / d
    return pruned(rules, settings.sr.pruning)


def plain_item_knn(log: Log, settings: Settings) -> Plain:
    """Cosine of the sets of sessions."""
    visits: dict[str, int] = defaultdict(int)
    both: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for session in log.sessions:
        items = set(session)
        for item in items:
            visits[item] += 1
            for other in items - {item}:
                both[item][other] += 1
    more = settings.item_knn.regularisation
    for item, found in both.items():
        for other, sessions in found.items():
            found[other] = sessions / math.sqrt((visits[item] + more) * (visits[other] + more))
    return pruned(both, settings.item_knn.neighbours)


def plain_neighbours(log: Log, settings: Settings, name: str) -> Plain:
    """SKNN, VS-KNN, STAN or VSTAN with its default weights."""
    config: Any = getattr(settings, name)
    stan, idf_weight = "stan" in name, {"vsknn": 5, "vstan": 5}.get(name, 0)
    sessions_of: dict[str, set[int]] = defaultdict(set)
    support: dict[str, int] = defaultdict(int)
    for n, session in enumerate(log.sessions):
        for item in session:
            sessions_of[item].add(n)
            support[item] += 1
    idf = {item: max(0, math.log(len(log.sessions) / count)) for item, count in support.items()}
    places = [{item: p for p, item in enumerate(session)} for session in log.sessions]
    sets = [set(session) for session in log.sessions]
    now = max(log.ends)

    def weight(p: int, length: int) -> float:
        if stan:
            return math.exp((p - length) / config.lambda_spw)
        return (p / length) ** 2 if name == "vsknn" else 1.0

    def similarity(n: int, items: set[str], weights: dict[str, float]) -> float:
        total = sum(weights[item] for item in items & sets[n])
        if name != "vsknn":
            total /= math.sqrt(len(sets[n]))
        if stan:
            total *= math.exp((log.ends[n] - now) / DAY / config.lambda_snh)
        return total

    def scores(session: list[str]) -> dict[str, float]:
        items, length = set(session), len(session)
        weights = {item: weight(p, length) for p, item in enumerate(session, 1)}
        candidates: set[int] = set()
        for item in items:
            candidates |= sessions_of[item]
        sample = sorted(candidates, key=lambda n: (log.ends[n], n), reverse=True)[: config.sample_size]
        similar = [(n, similarity(n, items, weights)) for n in sample]
        found: dict[str, float] = defaultdict(float)
        for n, value in sorted(similar, key=lambda pair: -pair[1])[: config.k]:
            step, star = next((s, item) for s, item in enumerate(reversed(session)) if item in sets[n])
            if name == "vsknn":
                value /= step + 1
            elif name == "vstan":
                value *= math.exp(-step / config.lambda_ipw)
            for item, p in places[n].items():
                near = math.exp(-abs(p - places[n][star]) / config.lambda_inh) if stan else 1
                found[item] += value * near * (1 + idf_weight * idf[item])
        return found

    return scores


PLAIN: dict[str, Callable[[Log, Settings], Plain]] = {
    "markov": plain_markov,
    "ar": plain_ar,
    "sr": plain_sr,
    "item_knn": plain_item_knn,
}


def plain(name: str, log: Log, settings: Settings) -> Plain:
    """The model of this name in plain Python."""
    return PLAIN[name](log, settings) if name in PLAIN else plain_neighbours(log, settings, name)


def predict_plain(model: Plain, sessions: list[list[str]], vocabulary: Sequence[str]) -> int:
    """The scores of all items after each event; the number of predictions."""
    done = 0
    for session in sessions:
        for length in range(1, len(session) + 1):
            scores = model(session[:length])
            row = [scores.get(item, 0.0) for item in vocabulary]
            done += len(row) > 0
    return done


# --- the run ---------------------------------------------------------------------------------------------------------


def microseconds(programs: dict[str, Callable[[], int]], repeat: int) -> dict[str, float]:
    """Run the programs in turn, ``repeat`` times; the median CPU time of a prediction of each."""
    seen: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(repeat):
        for name, program in programs.items():
            begin = time.process_time()
            done = program()
            seen[name].append((time.process_time() - begin) / done * 1e6)
    return {name: statistics.median(values) for name, values in seen.items()}


def beside_plain(train: Log, test: Log, few: int, repeat: int, home: Path) -> list[dict[str, Any]]:
    """A row per model. Plain Python gets the first ``few`` test sessions, ours all of them."""
    settings = FeedSettings(home=home)
    models, vocabulary = ours(train, settings)
    sessions = shown(test, vocabulary)
    known = set(vocabulary)
    share = [[item for item in session[:-1] if item in known] for session in test.sessions[:few]]
    rows = []
    for name, model in models.items():
        predict_ours(model, Sessions.from_lists([[0]]))  # compiles
        reference = plain(name, train, settings)
        programs = {
            "plain": partial(predict_plain, reference, share, vocabulary),
            "ours": partial(predict_ours, model, sessions),
        }
        cost = microseconds(programs, repeat)
        rows.append({"model": name, **cost, "times": cost["plain"] / cost["ours"]})
    return rows


def scaling(sizes: Sequence[int], n_items: int, n_test: int, repeat: int, seed: int) -> list[dict[str, Any]]:
    """A row per number of training sessions: microseconds per prediction of each model."""
    rows = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as home:
            models, vocabulary = ours(synthetic(size, n_items, seed), FeedSettings(home=Path(home)))
        sessions = shown(synthetic(n_test, n_items, seed + 1), vocabulary)
        programs = {name: partial(predict_ours, model, sessions) for name, model in models.items()}
        rows.append({"sessions": size, **microseconds(programs, repeat)})
    return rows


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs=2, metavar=("TRAIN", "TEST"), help="logs instead of synthetic ones")
    parser.add_argument("--sessions", type=int, default=20_000, help="synthetic training sessions beside plain Python")
    parser.add_argument("--items", type=int, default=3_000, help="synthetic catalogue")
    parser.add_argument("--test-sessions", type=int, default=2_000, help="synthetic test sessions")
    parser.add_argument("--few", type=int, default=100, help="test sessions that plain Python gets")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="for the scaling")
    parser.add_argument("--only", choices=["plain", "scaling"], help="a part of it")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each program, of which the median counts")
    parser.add_argument("--seed", type=int, default=42)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    args = parse(arguments)
    if args.only != "scaling":
        if args.data:
            train, test = (read(path) for path in args.data)
        else:
            train = synthetic(args.sessions, args.items, args.seed)
            test = synthetic(args.test_sessions, args.items, args.seed + 1)
        with tempfile.TemporaryDirectory() as home:
            rows = beside_plain(train, test, args.few, args.repeat, Path(home).resolve())
        print(f"{len(train.sessions):,} training sessions, {test.predictions:,} test events with a next one")
        print("microseconds per prediction\n")
        print(tabulate(rows, headers="keys", floatfmt=("", ".1f", ".2f", ".0f"), tablefmt="github"))
    if args.only != "plain":
        rows = scaling(args.sizes, args.items, args.test_sessions, args.repeat, args.seed)
        print("\nmicroseconds per prediction by number of training sessions\n")
        print(tabulate(rows, headers="keys", floatfmt=".2f", intfmt=",", tablefmt="github"))


if __name__ == "__main__":
    main()
