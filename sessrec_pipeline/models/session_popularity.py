"""Session popularity: the items of the session so far, most frequent first, of equals the most recent one.

The baseline S-POP of Hidasi, Karatzoglou, Baltrunas, Tikk: Session-based recommendations with recurrent neural
networks. ICLR 2016, arXiv 1511.06939.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from sessrec_pipeline.models.base import Block, Sessions
from sessrec_pipeline.models.padding import rest_of
from sessrec_pipeline.settings import SessionPopularitySettings


class SessionPopularity:
    """A score is the item's count in the session, and between two counts how late in it the item came last."""

    def __init__(self, n_items: int, config: SessionPopularitySettings) -> None:
        self._rest = rest_of(n_items, config.padding)

    @classmethod
    def from_table(
        cls, popularity: pa.Table, config: SessionPopularitySettings
    ) -> tuple["SessionPopularity", list[str]]:
        """The model and its vocabulary: item index = popularity rank - 1."""
        return cls(popularity.num_rows, config), popularity["item"].to_pylist()

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return len(self._rest)

    def score(self, sessions: Sessions, batch_size: int) -> Iterator[Block]:
        """See ``Recommender.score``."""
        from sessrec_pipeline.models import kernels  # noqa: PLC0415 - imports numba

        starts = sessions.starts
        block = np.empty((min(batch_size, len(starts)), self.n_items))
        for start in range(0, len(starts), batch_size):
            scores = block[: len(starts) - start]
            kernels.session_counts(sessions.items, starts[start : start + len(scores)], start, self._rest, scores)
            yield np.arange(start, start + len(scores), dtype=np.int64), scores
