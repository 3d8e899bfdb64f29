"""Session popularity: the items of the session so far, most frequent first, of equals the most recent one."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from sessrec_pipeline.models.base import Arrays, Block, Card, Look, Recommender, Sessions, Share
from sessrec_pipeline.models.counts.popularity import POPULARITY, fit
from sessrec_pipeline.models.padding import rest_of
from sessrec_pipeline.settings import Section
from sessrec_pipeline.text import N_


class SessionPopularitySettings(Section):
    """The items of the session itself, by how often they occur in it."""

    padding: bool = True
    """Rank the items that are not in the session by popularity; without it they all tie at zero."""


class SessionPopularity(Recommender):
    """A score is the item's count in the session, and between two counts how late in it the item came last."""

    def __init__(self, n_items: int, settings: SessionPopularitySettings) -> None:
        self.n_items = n_items
        self._rest = rest_of(n_items, settings.padding)

    def score(self, sessions: Sessions, batch_size: int) -> Iterator[Block]:
        """See ``Recommender.score``."""
        from sessrec_pipeline.models.counts import kernels  # noqa: PLC0415 - imports numba

        starts = sessions.starts
        block = np.empty((min(batch_size, len(starts)), self.n_items))
        for start in range(0, len(starts), batch_size):
            scores = block[: len(starts) - start]
            kernels.session_counts(sessions.items, starts[start : start + len(scores)], start, self._rest, scores)
            yield np.arange(start, start + len(scores), dtype=np.int64), scores

    def score_last(self, sessions: Sessions) -> NDArray[np.floating]:
        """See ``Recommender.score_last``."""
        scores = np.tile(self._rest, (len(sessions), 1))
        for row, start, stop in zip(scores, sessions.offsets[:-1], sessions.offsets[1:], strict=True):
            session = sessions.items[start:stop]
            items, counts = np.unique(session, return_counts=True)
            last = len(session) - 1 - np.array([np.argmax(session[::-1] == item) for item in items])
            row[items] = self._rest[0] + counts + last / len(session)
        return scores


def load(arrays: Arrays, settings: SessionPopularitySettings, items: Sequence[str], device: str) -> SessionPopularity:
    """The model over a catalogue."""
    return SessionPopularity(len(items), settings)


def occurrences(model: SessionPopularity, session: Sequence[int], scores: NDArray[np.floating]) -> NDArray[np.floating]:
    """How often each item is in the session, (n_items,)."""
    return np.bincount(session, minlength=model.n_items).astype(np.float64)


CARD = Card(
    name="session_popularity",
    title=N_("Session popularity"),
    summary=N_("the items of the session itself, by how often they occur in it"),
    source="S-POP of Hidasi, Karatzoglou, Baltrunas, Tikk: Session-based recommendations with recurrent neural "
    "networks. ICLR 2016, arXiv 1511.06939",
    settings=SessionPopularitySettings,
    tables=(POPULARITY,),
    fit=fit,
    load=load,
    share=Share(N_("its part of the events of the session"), occurrences),
    look=Look("#0072B2", "v", ":"),
)
