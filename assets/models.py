"""Count models, fitted in SQL."""

import dagster as dg

from assets.stage import ENGINE, stage
from sessrec_pipeline.engine import open_engine
from sessrec_pipeline.models.markov import fit_markov
from sessrec_pipeline.models.popularity import fit_popularity
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.store import Stored


@dg.asset(
    **stage(
        "models",
        ["duckdb", "parquet"],
        sources=["models/popularity.py", "models/popularity.sql", *ENGINE],
        columns={
            "item": ("string", "Item id"),
            "events": ("int64", "Training events on the item"),
            "first_seen": ("int64", "Order of its first event: session_number * 1,000,000 + position"),
            "popularity_rank": ("int64", "1 for the most popular item; item index + 1 of every model"),
        },
    )
)
def popularity(settings: dg.ResourceParam[Settings], train_split: Stored) -> Table:
    """Items by number of training events, first seen first among equals. Also the catalogue that every model ranks."""
    with open_engine(settings) as engine:
        return fit_popularity(engine, train_split.path)


@dg.asset(
    **stage(
        "models",
        ["duckdb", "parquet"],
        sources=["models/markov.py", "models/markov.sql", *ENGINE],
        columns={
            "item": ("string", "Item id"),
            "next_item": ("string", "Item that came right after it in a training session"),
            "transitions": ("int64", "How often"),
            "first_seen": ("int64", "Order of the first time: session_number * 1,000,000 + position"),
            "successor_rank": ("int64", "1 for the most frequent successor, first seen first among equals"),
        },
    )
)
def markov(settings: dg.ResourceParam[Settings], train_split: Stored) -> Table:
    """How often each item followed each other one: a first-order Markov chain as a table of counts."""
    with open_engine(settings) as engine:
        return fit_markov(engine, train_split.path)
