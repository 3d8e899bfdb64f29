"""The models' assets, made from their cards: fitted tables, tuning, validation, checkpoints."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from assets.compute import gpu
from assets.retries import retried
from assets.stage import stage, uses
from assets.training import trained_checkpoint, validation
from assets.tuning import tuning_asset
from sessrec_pipeline.engine import open_engine
from sessrec_pipeline.feed import cards_of
from sessrec_pipeline.models.base import Card, FittedTable
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.checkpoints import Checkpoint
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.store import Stored
from sessrec_pipeline.training.fit import fit_from_tables, fit_of, fit_table
from sessrec_pipeline.tuning.trials import tuned_cards, with_best


def model_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """All that a feed's models are made of, each table once."""
    cards = cards_of(settings)
    tables = {table.name: table for card in cards for table in card.tables}
    return [
        *[tuning_asset(card, fit_of(card)) for card in tuned_cards(settings)],
        *[table_asset(table, _tuned_by(table, settings)) for table in tables.values()],
        *[asset for card in cards for asset in _checkpoint(card, settings)],
    ]


def _tuned_by(table: FittedTable, settings: Settings) -> list[str]:
    """The tuning assets that choose settings which the table reads."""
    sections = {name.partition(".")[0] for name in table.reads}
    return [card.tuning for card in tuned_cards(settings) if card.section in sections]


def table_asset(table: FittedTable, tuning: Sequence[str]) -> dg.AssetsDefinition:
    """The asset of a fitted table; ``tuning`` are the assets with the trials of the settings that it reads."""

    @dg.asset(
        name=table.name,
        ins={name: dg.AssetIn(name) for name in tuning},
        description=table.description,
        **stage("models", ["duckdb", "parquet"], reads=table.reads, columns=table.columns),
    )
    @retried
    @uses(table.fit)
    def fitted(settings: dg.ResourceParam[Settings], train_split: Stored, **trials: Stored) -> Table:
        chosen = with_best(settings, trials)
        with open_engine(chosen) as engine:
            return fit_table(table, engine, train_split.path, chosen)

    return fitted


def _checkpoint(card: Card[Any], settings: Settings) -> list[dg.AssetsDefinition]:
    choices = [card.tuning] if card in tuned_cards(settings) else []
    if card.training is None:
        return [tables_checkpoint(card, choices)]
    if not settings.training.validate_epochs:
        return [trained_checkpoint(card, choices, settings)]
    return [validation(card, choices), trained_checkpoint(card, [*choices, card.validation], settings)]


def tables_checkpoint(card: Card[Any], choices: Sequence[str]) -> dg.AssetsDefinition:
    """The asset of a model that is made from its fitted tables."""

    @dg.asset(
        name=card.checkpoint,
        ins={name: dg.AssetIn(name) for name in [*(table.name for table in card.tables), *choices]},
        description=f"{card.title}, fitted: {card.summary}. What it scores with, its settings and its item vocabulary "
        "in one safetensors file, which is all that ranking and recommending read.",
        **stage("models", ["safetensors"], reads=[card.section]),
        **(gpu() if card.gpu else {}),
    )
    @retried
    @uses(*([card.fit] if card.fit else []))
    def checkpoint(settings: dg.ResourceParam[Settings], **stored: Stored) -> Checkpoint:
        section = with_best(settings, stored).section(card.section)
        tables = {table.name: stored[table.name].arrow() for table in card.tables}
        fitted = fit_from_tables(card, section, tables)
        return Checkpoint(card.name, fitted.arrays, section.model_dump(mode="json"), fitted.items)

    return checkpoint
