"""Count models, fitted in SQL."""

import dagster as dg

from assets.stage import ENGINE, stage
from sessrec_pipeline.engine import open_engine
from sessrec_pipeline.models.association_rules import fit_association_rules
from sessrec_pipeline.models.item_knn import fit_item_knn
from sessrec_pipeline.models.markov import fit_markov
from sessrec_pipeline.models.popularity import fit_popularity
from sessrec_pipeline.models.recent_popularity import fit_recent_popularity
from sessrec_pipeline.models.sequential_rules import fit_sequential_rules
from sessrec_pipeline.models.session_knn import fit_recent_sessions
from sessrec_pipeline.retries import retried
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
@retried
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
@retried
def markov(settings: dg.ResourceParam[Settings], train_split: Stored) -> Table:
    """How often each item followed each other one: a first-order Markov chain as a table of counts."""
    with open_engine(settings) as engine:
        return fit_markov(engine, train_split.path)


@dg.asset(
    **stage(
        "models",
        ["duckdb", "parquet"],
        sources=["models/recent_popularity.py", "models/recent_popularity.sql", *ENGINE],
        reads=["recent_popularity"],
        columns={
            "item": ("string", "Item id"),
            "recent_events": ("int64", "Training events on the item in the last days of training"),
            "events": ("int64", "All its training events"),
            "first_seen": ("int64", "Order of its first event: session_number * 1,000,000 + position"),
            "recent_rank": ("int64", "1 for the item with most recent events, then most events, then first seen"),
        },
    )
)
@retried
def recent_popularity(settings: dg.ResourceParam[Settings], train_split: Stored) -> Table:
    """Items by number of training events in the last days before the end of training, the rest by all their events."""
    with open_engine(settings) as engine:
        return fit_recent_popularity(engine, train_split.path, settings.recent_popularity)


@dg.asset(
    **stage(
        "models",
        ["duckdb", "parquet"],
        sources=[
            "models/association_rules.py",
            "models/association_rules.sql",
            "models/numbered.sql",
            *ENGINE,
        ],
        reads=["ar.pruning"],
        columns={
            "item": ("string", "Item id"),
            "other_item": ("string", "Item of the same training session"),
            "pairs": ("int64", "Pairs of events of the two in the same session"),
            "rule_rank": ("int64", "1 for the item's strongest rule, first seen first among equals"),
        },
    )
)
@retried
def ar(settings: dg.ResourceParam[Settings], train_split: Stored) -> Table:
    """Association rules: how often two items shared a training session, the strongest rules of each item."""
    with open_engine(settings) as engine:
        return fit_association_rules(engine, train_split.path, settings.ar)


@dg.asset(
    **stage(
        "models",
        ["duckdb", "parquet"],
        sources=["models/sequential_rules.py", "models/sequential_rules.sql", *ENGINE],
        reads=["sr.steps", "sr.weighting", "sr.pruning"],
        columns={
            "item": ("string", "Item id"),
            "next_item": ("string", "Item that came a few events later in a training session"),
            "weight": ("int64", "Sum of the weights by distance, in parts of 1 / 635,040,000"),
            "rule_rank": ("int64", "1 for the item's strongest rule, first seen first among equals"),
        },
    )
)
@retried
def sr(settings: dg.ResourceParam[Settings], train_split: Stored) -> Table:
    """Sequential rules: what came within a few events after each item, the nearer the more weight."""
    with open_engine(settings) as engine:
        return fit_sequential_rules(engine, train_split.path, settings.sr)


@dg.asset(
    **stage(
        "models",
        ["duckdb", "parquet"],
        sources=["models/item_knn.py", "models/item_knn.sql", "models/visited.sql", "models/visits.sql", *ENGINE],
        reads=["item_knn.neighbours", "item_knn.regularisation"],
        columns={
            "item": ("string", "Item id"),
            "other_item": ("string", "Item of the same training sessions"),
            "similarity": ("double", "Cosine of the two items' sessions, regularised"),
            "similarity_rank": ("int64", "1 for the most similar item, among equals the one that training saw first"),
        },
    )
)
@retried
def item_knn(settings: dg.ResourceParam[Settings], train_split: Stored) -> Table:
    """The items whose training sessions are most like those of each item: regularised cosine over co-occurrence."""
    with open_engine(settings) as engine:
        return fit_item_knn(engine, train_split.path, settings.item_knn)


@dg.asset(
    **stage(
        "models",
        ["duckdb", "parquet"],
        sources=["models/session_knn.py", "models/recent_sessions.sql", "models/visited.sql", *ENGINE],
        reads=["sknn.sample_size", "vsknn.sample_size", "stan.sample_size", "vstan.sample_size"],
        columns={
            "recency": ("int64", "1 for the training session that ended last"),
            "item": ("string", "An item of the session, once"),
            "position": ("int64", "Position of its last event in the session"),
            "session_end": ("int64", "Time of the session's last event, microseconds since 1970-01-01 UTC"),
            "item_recency": ("int64", "1 for the most recent training session with this item"),
            "all_sessions": ("int64", "Training sessions, those included that are not in this table"),
        },
    )
)
@retried
def recent_sessions(settings: dg.ResourceParam[Settings], train_split: Stored) -> Table:
    """The most recent training sessions of each item, which the session-KNN models look for neighbours in."""
    models = (settings.sknn, settings.vsknn, settings.stan, settings.vstan)
    with open_engine(settings) as engine:
        return fit_recent_sessions(engine, train_split.path, max(model.sample_size for model in models))


TABLES = (popularity, recent_popularity, markov, ar, sr, item_knn, recent_sessions)
FITTED = {table.key.to_user_string(): table for table in TABLES}
"""The fitted tables by name; a feed has those that its models are made of."""
