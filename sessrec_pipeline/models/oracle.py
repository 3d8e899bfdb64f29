"""The oracle of a synthetic feed: the law that drew the sessions, asked what it would draw next.

It ranks by the true probability of each item given the session so far. Recall@K of one prediction is the probability
that the next item is among the K that were listed, and no K items have more probability together than the K likeliest
ones. So no model, however trained, has a higher expected recall at any K, and the same goes for MRR and NDCG, which
reward every rank at least as much as the next one. A model can beat the oracle on a finite test set only by luck; by
more than luck, only by seeing what it should not. The distance between a model and the oracle is what is left to learn.

It is exact where it sees whole sessions. A test event on an item that training never saw is dropped before any model
sees it, the oracle too; on the demo that is about one event in a thousand.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from sessrec_pipeline.logs.synthetic import Law, law
from sessrec_pipeline.models.base import Arrays, Block, Card, Look, Recommender, Sessions, Share
from sessrec_pipeline.models.counts.popularity import POPULARITY, fit
from sessrec_pipeline.settings import SyntheticSettings
from sessrec_pipeline.text import N_


class Oracle(Recommender):
    """A Recommender that knows the law. Its scores are probabilities, within the law's whole catalogue.

    items: id of each item index that the sessions use; any part of the law's catalogue, in any order.
    """

    def __init__(self, law: Law, items: Sequence[str]) -> None:
        index = {item: i for i, item in enumerate(law.items)}
        if strange := [item for item in items if item not in index]:
            raise ValueError(
                f"item {strange[0]!r} is not of the generator's catalogue: this feed holds logs of another origin too; "
                "move them out of the landing folder, or take [synthetic] out of sessrec.toml"
            )
        self._law = law
        self._index = np.array([index[item] for item in items], dtype=np.int64)
        self.n_items = len(self._index)

    def score(self, sessions: Sessions, batch_size: int) -> Iterator[Block]:
        """Score every item by its probability to be the next one, event by event."""
        forecasts = (
            forecast
            for start, stop in zip(sessions.offsets[:-1], sessions.offsets[1:], strict=True)
            for forecast in self._law.forecasts(self._index[sessions.items[start:stop]])
        )
        for first in range(0, len(sessions.items), batch_size):
            events = np.arange(first, min(first + batch_size, len(sessions.items)))
            # As probabilities float32 keeps 7 digits of even the rarest item: no two items tie that should not.
            scores = np.empty((len(events), self.n_items), np.float32)
            for row in scores:
                row[:] = next(forecasts)[self._index]
            yield events, scores

    def score_last(self, sessions: Sessions) -> NDArray[np.floating]:
        """See ``Recommender.score_last``."""
        scores = np.empty((len(sessions.items), self.n_items), np.float32)
        for events, block in self.score(sessions, max(1, len(sessions.items))):
            scores[events] = block
        return scores[sessions.last]


def load(arrays: Arrays, settings: SyntheticSettings, items: Sequence[str], device: str) -> Oracle:
    """The oracle of the feed that these settings generated."""
    return Oracle(law(settings), items)


def probabilities(model: Oracle, session: Sequence[int], scores: NDArray[np.floating]) -> NDArray[np.floating]:
    """The scores are what they are."""
    return scores


CARD = Card(
    name="oracle",
    title=N_("Oracle"),
    summary=N_("the true probabilities of the generator, the best that any model could do"),
    source="",
    settings=SyntheticSettings,
    tables=(POPULARITY,),
    fit=fit,
    load=load,
    section="synthetic",
    kind="ceiling",
    look=Look("#7d7d7d", "D", "-."),
    share=Share(N_("its true probability to come next"), probabilities),
)
