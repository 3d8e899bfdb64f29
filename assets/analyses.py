"""What a decision needs beside the leaderboard: slices, other protocols, what lists are like, what models cost."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import dagster as dg
import pyarrow as pa

from assets.evaluation import CELL, COUNTS, EVIDENCE
from assets.stage import stage
from sessrec_pipeline.evaluation import beyond_accuracy as lists
from sessrec_pipeline.evaluation import protocols as questions
from sessrec_pipeline.evaluation import slices as bands
from sessrec_pipeline.evaluation.memory import BYTES_HELD
from sessrec_pipeline.fitted import ARTEFACTS
from sessrec_pipeline.retries import retried
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.io_managers import SECONDS
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


def analysis_assets(models: Sequence[str]) -> list[dg.AssetsDefinition]:
    """The assets ``slices``, ``protocols``, ``beyond_accuracy`` and ``costs`` over the rankings of ``models``."""
    return [make(models) for make in (_slices, _protocols, _beyond_accuracy, _costs)]


def _rankings(models: Sequence[str]) -> dict[str, dg.AssetIn]:
    # By the asset's name and not the model's: there is an asset popularity beside the model of that name.
    return {f"{model}_rankings": dg.AssetIn(f"{model}_rankings") for model in models}


def _paths(rankings: Mapping[str, Stored]) -> dict[str, Path]:
    return {name.removesuffix("_rankings"): stored.path for name, stored in rankings.items()}


def _slices(models: Sequence[str]) -> dg.AssetsDefinition:
    @dg.asset(
        ins=_rankings(models),
        **stage(
            "evaluation",
            ["duckdb", "parquet"],
            sources=["evaluation/slices.py", "evaluation/slices.sql", *EVIDENCE],
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


def _protocols(models: Sequence[str]) -> dg.AssetsDefinition:
    @dg.asset(
        ins=_rankings(models),
        **stage(
            "evaluation",
            ["duckdb", "parquet"],
            sources=["evaluation/protocols.py", "evaluation/remaining.sql", *EVIDENCE],
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


def _beyond_accuracy(models: Sequence[str]) -> dg.AssetsDefinition:
    @dg.asset(
        ins=_rankings(models),
        **stage(
            "evaluation",
            ["duckdb", "parquet"],
            sources=[
                "evaluation/beyond_accuracy.py",
                "evaluation/listed.sql",
                "evaluation/history.sql",
                "evaluation/diversity.sql",
            ],
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


def _costs(models: Sequence[str]) -> dg.AssetsDefinition:
    artefacts = {name for model in models for name in ARTEFACTS[model]}

    @dg.asset(
        ins=_rankings(models) | {name: dg.AssetIn(name) for name in sorted(artefacts)},
        **stage(
            "evaluation",
            ["python", "parquet"],
            sources=["fitted.py"],
            columns={
                "model": ("string", "Model"),
                "fit_seconds": ("double", "Seconds that the steps took which made the model's artefacts"),
                "predict_microseconds": ("double", "Microseconds that the evaluator took for each prediction"),
                "bytes_in_memory": ("int64", "Bytes of the arrays that the loaded model holds"),
                "bytes_on_disk": ("int64", "Bytes of the artefacts"),
                "predictions": ("int64", "Predictions behind the microseconds"),
                "rankings": ("string", "Lineage id of the rankings that were timed"),
            },
        ),
    )
    @retried
    def costs(**stored: Stored) -> Table:
        """Seconds to fit, microseconds per prediction, bytes in memory and on disk of every model, as its runs told.

        The seconds stand among the stats of what was timed, which are no part of its version: a run that was only
        faster or slower makes nothing new, and this table is made when a ranking or a model changed.
        """
        return Table(pa.Table.from_pylist([_cost(model, stored) for model in models], COSTS))

    return costs


def _cost(model: str, stored: Mapping[str, Stored]) -> dict[str, object]:
    """A row of COSTS; null where an artefact of an earlier version tells no time or no memory."""
    made, rankings = [stored[name] for name in ARTEFACTS[model]], stored[f"{model}_rankings"]
    predictions = rankings.node.rows or 0
    timed = all(SECONDS in artefact.stats for artefact in made)
    ranked = SECONDS in rankings.stats and predictions
    return {
        "model": model,
        "fit_seconds": sum(float(artefact.stats[SECONDS]) for artefact in made) if timed else None,
        "predict_microseconds": float(rankings.stats[SECONDS]) / predictions * 1e6 if ranked else None,
        "bytes_in_memory": rankings.stats.get(BYTES_HELD),
        "bytes_on_disk": sum(artefact.path.stat().st_size for artefact in made),
        "predictions": predictions,
        "rankings": rankings.node.id,
    }
