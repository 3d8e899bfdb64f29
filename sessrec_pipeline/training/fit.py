"""Fitting a model, the one way that assets, tuning, studies and the Python interface share."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from sessrec_pipeline.engine import Engine, Table
from sessrec_pipeline.models.base import Card, Fitted, FittedTable, Recommender, Sessions
from sessrec_pipeline.settings import Section, Settings
from sessrec_pipeline.storage.checkpoints import Checkpoint
from sessrec_pipeline.training.loop import train

Progress = Callable[[int, int], None]


def values_read(settings: Settings, names: tuple[str, ...]) -> dict[str, Any]:
    """The values of dotted settings names."""
    values: dict[str, Any] = {}
    for name in names:
        section, _, field = name.partition(".")
        values[name] = getattr(settings.section(section), field)
    return values


def fit_table(table: FittedTable, engine: Engine, events: Path, settings: Settings) -> Table:
    """Fit one table on the training events in the Parquet ``events``."""
    return table.fit(engine, events, values_read(settings, table.reads))


def fit_from_tables(
    card: Card[Any],
    section: Section,
    tables: Mapping[str, pa.Table],
    events: Callable[[], pa.Table] | None = None,
    device: str = "cpu",
    progress: Progress = lambda done, total: None,
) -> Fitted:
    """Fit a model that is made from its fitted tables alone."""
    if card.fit is None:
        raise TypeError(f"{card.name} is trained, not made from tables")
    fitted: Fitted = card.fit({table.name: tables[table.name] for table in card.tables}, section)
    return fitted


def fit_by_training(
    card: Card[Any],
    section: Section,
    tables: Mapping[str, pa.Table],
    events: Callable[[], pa.Table],
    device: str = "cpu",
    progress: Progress = lambda done, total: None,
) -> Fitted:
    """Fit a model that is trained on the sessions, in this process."""
    items: list[str] = tables["popularity"]["item"].to_pylist()
    trained = train(
        card.trained_by(), Sessions.from_table(events(), items), len(items), section, device, progress=progress
    )
    return Fitted(trained.trainer.arrays(), items, trained.losses)


Fit = Callable[..., Fitted]
"""``fit(card, settings, tables by name, events, device, progress)``: ``events`` is called for the training events as a
table with the columns session_number, item and, if there, time, in the order of a split."""


def fit_of(card: Card[Any]) -> Fit:
    """How a model is fitted."""
    return fit_by_training if card.fit is None else fit_from_tables


def recommender_of(card: Card[Any], section: Section, fitted: Fitted, device: str = "cpu") -> Recommender:
    """The recommender that a fitted model is."""
    return card.load(fitted.arrays, section, fitted.items, device)


def load_checkpoint(card: Card[Any], checkpoint: Checkpoint, device: str = "cpu", **changes: Any) -> Recommender:
    """The recommender of a checkpoint, under the settings that it was fitted with, or with ``changes`` to them."""
    section = card.settings.model_validate(checkpoint.config | changes)
    return card.load(checkpoint.arrays, section, checkpoint.items, device)
