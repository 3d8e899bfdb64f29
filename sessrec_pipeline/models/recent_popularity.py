"""Recent popularity: items by training events of the last days, the rest by all events (Ludewig et al. 2020).

Ludewig, Mauro, Latifi, Jannach: Empirical analysis of session-based recommendation algorithms. UMUAI 31, 2021, arXiv
1910.12781. It is one list for everyone, so the model is ``Popularity`` over this table.
"""

from pathlib import Path

from sessrec_pipeline.engine import Engine
from sessrec_pipeline.settings import RecentPopularitySettings
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.sql import sql_text

MICROSECONDS_PER_DAY = 86_400_000_000


def fit_recent_popularity(engine: Engine, train: Path, config: RecentPopularitySettings) -> Table:
    """The fitted table (item, recent_events, events, first_seen, recent_rank), the first one first."""
    engine.register("train", train)
    window = int(config.days * MICROSECONDS_PER_DAY)
    engine.write("recent_popularity", sql_text("models", "recent_popularity"), window=window)
    return engine.table("recent_popularity")
