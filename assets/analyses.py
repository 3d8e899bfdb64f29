"""What a decision needs beside the leaderboard: slices, other protocols, what lists are like, what models cost."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa

from assets.evaluation import CELL, COUNTS
from assets.io_manager import SECONDS
from assets.retries import retried
from assets.stage import stage
from sessrec_pipeline.evaluation import beyond_accuracy as lists
from sessrec_pipeline.evaluation import protocols as questions
from sessrec_pipeline.evaluation import slices as bands
from sessrec_pipeline.evaluation.memory import BYTES_HELD
from sessrec_pipeline.feed import cards_of
from sessrec_pipeline.models.base import Card
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.store import Stored

COSTS = pa.schema(
    [
        ("model", pa.string()),
        ("fit_seconds", pa.float64()),
        ("predict_microseconds", pa.float64()),
        ("bytes_in_memory", pa.int64()),
        ("bytes_on_disk", pa.int64()),
        ("predictions", pa.int64()),
        ("rankings", pa.string()),
    ]
)


def analysis_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """The assets ``slices``, ``protocols``, ``beyond_accuracy`` and ``costs`` over the rankings of a feed's models."""
    cards = cards_of(settings)
    return [make(cards) for make in (_slices, _protocols, _beyond_accuracy, _costs)]


def _rankings(cards: Sequence[Card[Any]]) -> dict[str, dg.AssetIn]:
    # By the asset's name and not the model's: there is an asset popularity beside the model of that name.
    return {card.rankings: dg.AssetIn(card.rankings) for card in cards}


def _paths(rankings: Mapping[str, Stored]) -> dict[str, Path]:
    return {name.removesuffix("_rankings"): stored.path for name, stored in rankings.items()}


def _slices(cards: Sequence[Card[Any]]) -> dg.AssetsDefinition:
    @dg.asset(
        ins=_rankings(cards),
        **stage(
            "evaluation",
            ["duckdb", "parquet"],
            reads=["evaluation", "logs.time_unit"],
            columns={
                "model": ("string", "Model"),
                "slice": ("string", "What the predictions are grouped by"),
                "place": ("int64", "Place of the band among those of its slice"),
                "band": ("string", "The group"),
                "k": ("int64", "Cutoff"),
                "recall": ("double", "Recall@K in the band"),
                "low": ("double", "2.5 % quantile of recall; null in bands of few sessions"),
                "high": ("double", "97.5 % quantile of recall"),
                "mrr": ("double", "MRR@K in the band"),
                "ndcg": ("double", "NDCG@K in the band"),
                **COUNTS,
            },
        ),
    )
    @retried
    def slices(
        settings: dg.ResourceParam[Settings],
        test_split: Stored,
        train_split: Stored,
        popularity: Stored,
        **rankings: Stored,
    ) -> Table:
        """Metrics by session length, position, popularity and age of the target, repeats and day."""
        return Table(
            bands.slices_table(
                _paths(rankings),
                test_split.path,
                train_split.path,
                popularity.path,
                settings.evaluation,
                clock=settings.logs.time_unit != "order",
            )
        )

    return slices


def _protocols(cards: Sequence[Card[Any]]) -> dg.AssetsDefinition:
    @dg.asset(
        ins=_rankings(cards),
        **stage(
            "evaluation",
            ["duckdb", "parquet"],
            reads=["evaluation"],
            columns={
                "protocol": ("string", ", ".join(questions.PROTOCOLS)),
                "model": ("string", "Model"),
                "metric": ("string", "recall, mrr, ndcg; or precision, recall, map of lists"),
                "k": ("int64", "Cutoff"),
                "tie_rule": ("string", "The leaderboard's, or: as listed"),
                **CELL,
                **COUNTS,
            },
        ),
    )
    @retried
    def protocols(settings: dg.ResourceParam[Settings], test_split: Stored, **rankings: Stored) -> Table:
        """The same rankings under other questions: the last item alone, or all that a session still had to come."""
        return Table(questions.protocols_table(_paths(rankings), test_split.path, settings.evaluation))

    return protocols


def _beyond_accuracy(cards: Sequence[Card[Any]]) -> dg.AssetsDefinition:
    @dg.asset(
        ins=_rankings(cards),
        **stage(
            "evaluation",
            ["duckdb", "parquet"],
            reads=["evaluation"],
            columns={
                "model": ("string", "Model"),
                "metric": ("string", ", ".join(lists.MEASURES)),
                "k": ("int64", "Cutoff"),
                "value": ("double", "Value; null where it is not defined"),
                "lists": ("int64", "Lists behind the value"),
            },
        ),
    )
    @retried
    def beyond_accuracy(
        settings: dg.ResourceParam[Settings],
        test_split: Stored,
        train_split: Stored,
        popularity: Stored,
        **rankings: Stored,
    ) -> Table:
        """Coverage, concentration, popularity, novelty and diversity of what the models list."""
        return Table(
            lists.beyond_accuracy_table(
                _paths(rankings), test_split.path, train_split.path, popularity.path, settings.evaluation
            )
        )

    return beyond_accuracy


def _costs(cards: Sequence[Card[Any]]) -> dg.AssetsDefinition:
    made = {name: dg.AssetIn(name) for card in cards for name in _made(card)}

    @dg.asset(
        ins=_rankings(cards) | made,
        **stage(
            "evaluation",
            ["python", "parquet"],
            columns={
                "model": ("string", "Model"),
                "fit_seconds": (
                    "double",
                    "Seconds of the steps that made the model and its tables",
                ),
                "predict_microseconds": ("double", "Microseconds that the evaluator took for each prediction"),
                "bytes_in_memory": ("int64", "Bytes of the arrays that the loaded model holds"),
                "bytes_on_disk": ("int64", "Bytes of the checkpoint"),
                "predictions": ("int64", "Predictions behind the microseconds"),
                "rankings": ("string", "Lineage id of the rankings that were timed"),
            },
        ),
    )
    @retried
    def costs(**stored: Stored) -> Table:
        """Seconds to fit, microseconds per prediction, bytes in memory and on disk of every model, from its runs.

        The seconds are among the stats of what was timed, which are no part of its version: a run that was only
        faster or slower makes nothing new, and this table is made when a ranking or a model changed.
        """
        return Table(pa.Table.from_pylist([_cost(card, stored) for card in cards], COSTS))

    return costs


def _made(card: Card[Any]) -> list[str]:
    """The assets that fitting a model makes."""
    return [*(table.name for table in card.tables), card.checkpoint]


def _cost(card: Card[Any], stored: Mapping[str, Stored]) -> dict[str, object]:
    """A row of COSTS; null where an artefact of an earlier version has no time or no memory in its stats."""
    made, rankings = [stored[name] for name in _made(card)], stored[card.rankings]
    predictions = rankings.node.rows or 0
    timed = all(SECONDS in artefact.stats for artefact in made)
    ranked = SECONDS in rankings.stats and predictions
    return {
        "model": card.name,
        "fit_seconds": sum(float(artefact.stats[SECONDS]) for artefact in made) if timed else None,
        "predict_microseconds": float(rankings.stats[SECONDS]) / predictions * 1e6 if ranked else None,
        "bytes_in_memory": rankings.stats.get(BYTES_HELD),
        "bytes_on_disk": stored[card.checkpoint].path.stat().st_size,
        "predictions": predictions,
        "rankings": rankings.node.id,
    }
