"""Every table that an engine makes, for what compares engines."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from sessrec_pipeline.engine import Engine
from sessrec_pipeline.models.counts.association_rules import fit_association_rules
from sessrec_pipeline.models.counts.markov import fit_markov
from sessrec_pipeline.models.counts.popularity import fit_popularity
from sessrec_pipeline.models.counts.recent_popularity import fit_recent_popularity
from sessrec_pipeline.models.counts.sequential_rules import fit_sequential_rules
from sessrec_pipeline.models.neighbours.item_knn import fit_item_knn
from sessrec_pipeline.models.neighbours.session_knn import fit_recent_sessions
from sessrec_pipeline.preparation.sessions import prepare_sessions
from sessrec_pipeline.preparation.split import test_split, train_split
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.lake import Table

Fit = Callable[[Engine, Path], Table]


def fits_of(settings: Settings) -> dict[str, Fit]:
    """What is fitted in SQL on the training events, by its asset's name."""
    return {
        "popularity": fit_popularity,
        "markov": fit_markov,
        "recent_popularity": partial(fit_recent_popularity, config=settings.recent_popularity),
        "ar": partial(fit_association_rules, config=settings.ar),
        "sr": partial(fit_sequential_rules, config=settings.sr),
        "item_knn": partial(fit_item_knn, config=settings.item_knn),
        "recent_sessions": partial(fit_recent_sessions, sample_size=settings.vsknn.sample_size),
    }


def steps_of(
    settings: Settings, raw: Sequence[Path], at: Callable[[str], Path], fits: Mapping[str, Fit]
) -> dict[str, Callable[[Engine], Table]]:
    """How to make each table, after those that it reads; ``at`` says where a table is that was made."""
    split, tuning = settings.split, settings.split.tuning
    return {
        "sessions": lambda engine: prepare_sessions(engine, settings, raw, lambda line: None),
        "train_split": lambda engine: train_split(engine, split, at("sessions")),
        "test_split": lambda engine: test_split(engine, split, at("sessions"), at("train_split")),
        "tuning_train_split": lambda engine: train_split(engine, tuning, at("train_split")),
        "tuning_test_split": lambda engine: test_split(engine, tuning, at("train_split"), at("tuning_train_split")),
        **{asset: lambda engine, fit=fit: fit(engine, at("train_split")) for asset, fit in fits.items()},
    }
