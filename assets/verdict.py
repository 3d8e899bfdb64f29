"""Whether a trained model learned anything. One that did not must not take the place of what was published before.

The bar is low, for a weak model is a result, and a broken one is none: on the very sessions that it was trained on, a
model that looks at the session must find as many of the next items as the same list of popular items for everyone does.
An honest model passes even where there is nothing to learn, for it knows its own sessions by heart; one whose training
went astray, or hardly began, does not. Few sessions say nothing, and a catalogue that the lists hold whole neither.
"""

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sessrec_pipeline.evaluation.ranking import rank
from sessrec_pipeline.evaluation.ranks import gains, target_ranks
from sessrec_pipeline.evaluation.resampling import Sums, interval, resampled
from sessrec_pipeline.models.base import Recommender
from sessrec_pipeline.models.registry import cards
from sessrec_pipeline.settings import EvaluationSettings
from sessrec_pipeline.storage.checkpoints import Checkpoint, UnfitModelError, not_finite
from sessrec_pipeline.storage.store import Store
from sessrec_pipeline.training.device import Compute
from sessrec_pipeline.training.fit import load_checkpoint

LATEST, LEAST = 300, 50
"""Training sessions that are looked at, the latest ones, and below how many there is no verdict."""
ROSE = 0.1
"""Share of the first epoch's loss by which that of the last may be higher."""
SAMPLES = 1000
"""Resamples of these sessions behind the interval."""


def refuse_useless(checkpoint: Checkpoint, store: Store) -> None:
    """UnfitModelError for a trained model whose weights are no numbers, or that learned nothing."""
    card = cards().get(checkpoint.model)
    if card is None or card.training is None:
        return
    settings, section = store.settings, card.settings.model_validate(checkpoint.config)
    problem = not_finite(checkpoint.arrays) or _rose(str(checkpoint.stats.get("losses", "[]")))
    if problem is None:
        recommender = load_checkpoint(card, checkpoint, Compute(settings.compute).device_for(card))
        problem = below_popularity(recommender, checkpoint.items, latest(store), settings.evaluation)
    if problem:
        raise UnfitModelError(
            f"{card.name}: {problem}; it is not published, and the last checkpoint stays as it was: "
            f"{card.training.if_diverged(section)}, or more epochs, in [{card.section}]"
        )


def _rose(losses: str) -> str | None:
    """How much the loss rose, where that is more than the ups and downs of a warm start, which begins where it ends."""
    values = json.loads(losses)
    if not values or values[-1] - values[0] <= ROSE * abs(values[0]):
        return None
    return f"its loss rose from {values[0]:.4g} in the first epoch to {values[-1]:.4g} in the last"


def latest(store: Store) -> pa.Table:
    """The latest sessions of the train split."""
    events = store.find("train_split").arrow(["session", "session_number", "position", "item"])
    numbers = events["session_number"]
    return events.filter(pc.greater(numbers, pa.scalar((pc.max(numbers).as_py() or 0) - LATEST)))


def below_popularity(
    recommender: Recommender, items: list[str], train: pa.Table, evaluation: EvaluationSettings
) -> str | None:
    """How a model does on sessions that it was trained on, where it is surely worse than popularity; None else.

    items: in the order of popularity, as every model has them. Recall at the largest cutoff under the conservative tie
    rule; surely: the 95 % interval of the difference, over sessions, lies below 0.
    """
    k = max(evaluation.cutoffs)
    found = rank(recommender, items, train, batch_size=evaluation.batch_size, top=1)
    _, session = np.unique(found["session"].to_numpy(zero_copy_only=False), return_inverse=True)
    if not len(session) or (sessions := int(session.max()) + 1) < LEAST:
        return None
    ranks = target_ranks(found["greater"].to_numpy(), found["equal"].to_numpy(), "conservative")
    places = pc.index_in(found["target"], pa.array(items, pa.string())).fill_null(len(items) + k).to_numpy() + 1.0
    own, popular = (gains(r, k, ["recall"])[0] for r in (ranks, places))
    counts = np.bincount(session).astype(np.float64)
    sums = Sums(np.bincount(session, own - popular)[:, None].astype(np.float64), counts)
    _, high = interval(resampled([sums], sessions, SAMPLES, evaluation.seed)[0])
    if high[0] >= 0:
        return None
    return (
        f"recall@{k} {own.mean():.4f} on its own training sessions is below the {popular.mean():.4f} of popularity, "
        "which looks at no session"
    )
