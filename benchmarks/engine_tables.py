"""Every table that an engine makes, for what compares engines."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sessrec_pipeline.engine import Engine
from sessrec_pipeline.models.registry import cards
from sessrec_pipeline.preparation.sessions import prepare_sessions
from sessrec_pipeline.preparation.split import test_split, train_split
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.training.fit import fit_table

Fit = Callable[[Engine, Path], Table]


FITTED = {table.name: table for card in cards().values() for table in card.tables}
"""What is fitted in SQL on the training events, by its asset's name."""


def fits_of(settings: Settings) -> dict[str, Fit]:
    """How each of ``FITTED`` is fitted under the settings."""
    return {
        name: lambda engine, train, table=table: fit_table(table, engine, train, settings)
        for name, table in FITTED.items()
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
