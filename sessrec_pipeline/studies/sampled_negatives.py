"""Ranking the target among 100 sampled items instead of the whole catalogue: what it does to the figures.

With uniform negatives nothing has to be drawn. Of N - 1 other items, a stored prediction says how many are not ranked
below the target; how many of those are among the m sampled ones follows the hypergeometric law, and with it the
expected Recall and MRR. Negatives drawn by popularity are scored: each prediction has its own, all models the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sessrec_pipeline.evaluation.ranking import MISS
from sessrec_pipeline.evaluation.ranks import gains, target_ranks
from sessrec_pipeline.feed import cards_of
from sessrec_pipeline.models.base import Recommender, Sessions
from sessrec_pipeline.report.looks import ORACLE
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.store import Stored
from sessrec_pipeline.studies.figures import points
from sessrec_pipeline.studies.laboratory import Laboratory
from sessrec_pipeline.studies.results import METRICS, RULE, Row
from sessrec_pipeline.studies.study import Study, cells, few, measured, order, shown, variations

if TYPE_CHECKING:
    import pandas as pd

ROWS = 1024
"""Predictions whose negatives are drawn at once."""


def inputs(settings: Settings) -> list[str]:
    """The stored rankings, and the models that made them."""
    cards = cards_of(settings)
    return ["test_split", "popularity", *(card.checkpoint for card in cards), *(card.rankings for card in cards)]


def measure(lab: Laboratory, stored: Mapping[str, Stored]) -> pa.Table:
    """Full ranking, uniform negatives, negatives by popularity, for every model of the feed."""
    popularity, test = stored["popularity"].arrow(), stored["test_split"].arrow()
    events = dict(zip(popularity["item"].to_pylist(), popularity["events"].to_pylist(), strict=True))
    m = min(lab.feed.studies.negatives, len(events) - 1)
    variation = {"full": "all items", "uniform": f"{m} uniform negatives", "popularity": f"{m} negatives by popularity"}
    rows: list[Row] = []
    for model in [card.name for card in cards_of(lab.feed)]:
        rankings = stored[f"{model}_rankings"].arrow(["session", "greater", "equal"])
        ranks = target_ranks(rankings["greater"].to_numpy(), rankings["equal"].to_numpy(), RULE)
        known = rankings["greater"].to_numpy() < MISS  # of the others every model knows nothing: misses however asked
        uniform = np.zeros((len(METRICS), len(ranks)))
        uniform[:, known] = expected(ranks[known].astype(np.int64) - 1, len(events) - 1, m, lab.k)
        recommender, vocabulary = lab.load(model, stored)
        weights = np.array([events[item] for item in vocabulary], dtype=np.float64)
        beaten = np.full(len(ranks), MISS, dtype=np.int64)
        beaten[known] = not_below(recommender, vocabulary, test, weights, m, lab)
        for name, values in (
            ("full", gains(ranks, lab.k, METRICS)),
            ("uniform", uniform),
            ("popularity", gains((beaten + 1).astype(np.float64), lab.k, METRICS)),
        ):
            about = {"x": float(list(variation).index(name)), "items": len(events) if name == "full" else m + 1}
            sums = _by_session(values, rankings["session"])
            rows += lab.results.from_sums(model, sums, variation=variation[name], tie_rule=RULE, **about)
    return lab.results.compared(sorted(rows, key=lambda row: float(row["x"])))


def expected(others: NDArray[np.int64], n: int, m: int, k: int) -> NDArray[np.float64]:
    """Expected Recall@k and MRR@k, float (2, predictions), with ``m`` of ``n`` other items drawn without replacement.

    others (predictions,): other items that are not ranked below the target. The target's rank is 1 + those drawn.
    """
    values = np.zeros((2, n + 1))
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])

    def log_choose(a: NDArray[np.int64], b: int | NDArray[np.int64]) -> NDArray[np.float64]:
        inside = (b >= 0) & (a >= b)
        drawn = np.where(inside, b, 0)
        log = log_factorial[a] - log_factorial[drawn] - log_factorial[np.where(inside, a - drawn, 0)]
        return np.where(inside, log, -np.inf)

    above = np.arange(n + 1)
    total = log_choose(np.array([n]), m)
    for drawn in range(min(k, m + 1)):
        probability = np.exp(log_choose(above, drawn) + log_choose(n - above, m - drawn) - total)
        values += probability * np.array([[1.0], [1.0 / (drawn + 1)]])
    return values[:, others]


def not_below(
    model: Recommender, vocabulary: list[str], test: pa.Table, weights: NDArray[np.float64], m: int, lab: Laboratory
) -> NDArray[np.int64]:
    """How many of ``m`` negatives score no less than the target, (predictions,) in the order of the stored ones.

    weights (items,): a negative is drawn in proportion to them, without replacement and never the target.
    """
    known = test.filter(pc.is_in(test["item"], pa.array(vocabulary, pa.string())))
    numbers = np.cumsum(np.diff(known["session_number"].to_numpy(), prepend=-1) != 0) - 1
    is_last = np.append(np.diff(numbers) != 0, True)
    codes = pc.index_in(known["item"], pa.array(vocabulary, pa.string())).to_numpy()
    shown, targets = np.flatnonzero(~is_last), codes[np.flatnonzero(~is_last) + 1]
    negatives = draw(targets, weights, m, lab.rng("negatives"))
    lengths = np.bincount(numbers[shown])
    sessions = Sessions(codes[shown].astype(np.int32), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
    found = np.empty(len(shown), np.int64)
    for block, scores in model.score(sessions, lab.feed.evaluation.batch_size):
        own = np.take_along_axis(scores, targets[block][:, None], 1)
        found[block] = (np.take_along_axis(scores, negatives[block], 1) >= own).sum(axis=1)
    return found


def draw(
    targets: NDArray[np.int64], weights: NDArray[np.float64], m: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Items (targets, m) drawn one after another in proportion to ``weights``, without replacement, without the target.

    The item whose exponential clock of rate weight rings first is the first drawn, and so on.
    """
    drawn = np.empty((len(targets), m), np.int64)
    for start in range(0, len(targets), ROWS):
        own = targets[start : start + ROWS]
        clocks = rng.exponential(size=(len(own), len(weights))) / weights
        clocks[np.arange(len(own)), own] = np.inf
        drawn[start : start + ROWS] = np.argpartition(clocks, m - 1, axis=1)[:, :m]
    return drawn


def _by_session(values: NDArray[np.float64], sessions: pa.ChunkedArray) -> pd.DataFrame:
    import pandas as pd

    sums = pd.DataFrame(values.T, columns=list(METRICS)).assign(predictions=1)
    return sums.groupby(sessions.to_pandas().to_numpy()).sum()


def finding(frame: pd.DataFrame) -> str:
    """How far the sampled figures are above the full ones, and whether the models keep their order."""
    full, *sampled = variations(frame)
    before = cells(frame, full)
    sentences = []
    for name in sampled:
        after = cells(frame, name)
        moved = [m for m in after if m != ORACLE and after[m].moved and before[m].value]
        if not moved:
            sentences.append(f"Against {name} {measured(frame)} shows no difference beyond the intervals.")
        else:
            ends = sorted({f"{after[m].value / before[m].value:.1f}" for m in moved}, key=float)
            named = [f"{shown(m)} from {before[m].value:.4f} to {after[m].value:.4f}" for m in moved]
            times = " to ".join([ends[0], ends[-1]][: len(ends)])
            sentences.append(
                f"Against {name} {measured(frame)} is {times} times that of the full ranking ({few(named)})."
            )
    orders = list(dict.fromkeys(order(frame, name) for name in sampled))
    if len(orders) > 1:
        sentences = [sentence + order(frame, name) for sentence, name in zip(sentences, sampled, strict=True)]
        return " ".join(sentences)
    return " ".join(sentences) + "".join(orders)


def figure(frame: pd.DataFrame) -> str:
    """The three ways side by side."""
    return points(frame, "Recall against all items and against sampled ones")


STUDY = Study(
    "sampled_negatives",
    "Sampled negatives",
    "What do Recall and MRR become when the target is ranked among a sample of items in the place of all of them, "
    "and does the order of the models survive?",
    inputs,
    measure,
    finding,
    figure,
)
