"""Metrics, the differences between models, and the leaderboard, all computed from the stored rankings."""

from collections.abc import Sequence
from typing import Any

import dagster as dg
import pyarrow as pa

from assets.retries import retried
from assets.stage import stage
from sessrec_pipeline.evaluation import comparisons as pairs
from sessrec_pipeline.evaluation import metrics as measures
from sessrec_pipeline.evaluation.estimates import Estimate
from sessrec_pipeline.evaluation.evidence import GAINS
from sessrec_pipeline.feed import cards_of
from sessrec_pipeline.models.base import Card
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.store import Stored
from sessrec_pipeline.tuning.trials import effort, trials_of, tuning_assets

CELL = {
    "value": ("double", "Mean over predictions"),
    "low": ("double", "2.5 % quantile over resampled test sessions"),
    "high": ("double", "97.5 % quantile over resampled test sessions"),
}
COUNTS = {
    "predictions": ("int64", "Predictions behind the value"),
    "sessions": ("int64", "Test sessions behind the value"),
}
TIE_RULE = {"tie_rule": ("string", "standard, median or conservative")}


def evaluation_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """The assets ``metrics`` and ``comparisons`` over the rankings of a feed's models, and ``leaderboard``."""
    cards = cards_of(settings)
    return [_metrics(cards), _comparisons(cards), _leaderboard(cards, tuning_assets(settings))]


def _rankings(cards: Sequence[Card[Any]]) -> dict[str, dg.AssetIn]:
    return {card.name: dg.AssetIn(card.rankings) for card in cards}


def _metrics(cards: Sequence[Card[Any]]) -> dg.AssetsDefinition:
    @dg.asset(
        ins=_rankings(cards),
        **stage(
            "evaluation",
            ["duckdb", "parquet"],
            reads=["evaluation"],
            columns={
                "model": ("string", "Model"),
                "metric": ("string", "recall, mrr, ndcg, map or precision"),
                "k": ("int64", "Cutoff"),
                **TIE_RULE,
                **CELL,
                **COUNTS,
                "rankings": ("string", "Lineage id of the rankings that the row was computed from"),
            },
        ),
    )
    @retried
    def metrics(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], **rankings: Stored) -> Table:
        """Recall, MRR, NDCG, MAP and precision of every model under the three tie rules, with 95 % intervals."""
        table = measures.metrics_table(
            {model: stored.path for model, stored in rankings.items()},
            {model: stored.node.id for model, stored in rankings.items()},
            settings.evaluation,
        )
        shown = table.to_pandas().drop(columns="rankings").round(4)
        shown = shown[shown["tie_rule"] == settings.evaluation.tie_rule]
        context.add_output_metadata({"metrics": dg.MarkdownMetadataValue(shown.to_markdown(index=False))})
        return Table(table)

    return metrics


def _comparisons(cards: Sequence[Card[Any]]) -> dg.AssetsDefinition:
    @dg.asset(
        ins=_rankings(cards),
        **stage(
            "evaluation",
            ["duckdb", "parquet"],
            reads=["evaluation"],
            columns={
                "model_a": ("string", "One model"),
                "model_b": ("string", "The other"),
                "metric": ("string", "recall, mrr or ndcg"),
                "k": ("int64", "Cutoff"),
                **TIE_RULE,
                "difference": ("double", "Value of model_a less that of model_b"),
                "low": CELL["low"],
                "high": CELL["high"],
                "p": ("double", "Two-sided p-value of a paired sign-flip test over sessions"),
                "p_holm": ("double", "p, corrected by Holm over all pairs of the metric and cutoff"),
                "significant": ("boolean", "Whether p_holm is below [evaluation] alpha; null where sessions are few"),
                "margin": (
                    "double",
                    "What a difference must be to matter: [evaluation] equivalence_margin, as a value",
                ),
                "equivalent": (
                    "boolean",
                    "Whether the interval of the difference lies within the margin to both sides",
                ),
                **COUNTS,
            },
        ),
    )
    @retried
    def comparisons(
        context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], **rankings: Stored
    ) -> Table:
        """The difference of every two models on the same predictions, its 95 % interval, and whether it is chance."""
        table = pairs.compare({model: stored.path for model, stored in rankings.items()}, settings.evaluation)
        shown = table.to_pandas().round(4)
        metric, k = settings.evaluation.deciding
        shown = shown[(shown["metric"] == metric) & (shown["k"] == k)]
        context.add_output_metadata({"comparisons": dg.MarkdownMetadataValue(shown.to_markdown(index=False))})
        return Table(table)

    return comparisons


def _leaderboard(cards: Sequence[Card[Any]], tuning: Sequence[str]) -> dg.AssetsDefinition:
    named = {card.name: card for card in cards}

    @dg.asset(
        ins={name: dg.AssetIn(name) for name in tuning},
        **stage(
            "evaluation",
            ["duckdb", "parquet"],
            reads=["evaluation"],
        ),
    )
    @retried
    def leaderboard(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        metrics: Stored,
        comparisons: Stored,
        **tuning: Stored,
    ) -> Table:
        """One row per model under the settings' tie rule, the best in the primary metric first.

        Beside the figures: which models can be told apart, and how each was tuned (trials, time, on what).
        """
        table = measures.leaderboard(metrics.arrow(), comparisons.arrow(), settings.evaluation)
        trials = trials_of(settings, tuning)
        efforts = pa.Table.from_pylist([effort(named[model], trials) for model in table["model"].to_pylist()])
        for name in efforts.column_names:
            table = table.append_column(name, efforts[name])
        context.add_output_metadata({"leaderboard": dg.MarkdownMetadataValue(_shown(table, settings))})
        return Table(table)

    return leaderboard


def _shown(leaderboard: pa.Table, settings: Settings) -> str:
    """The leaderboard as people read it, in Markdown: the metric that decides, then the others."""
    metric, k = settings.evaluation.deciding
    others = [f"{name}_at_{at}" for name in GAINS for at in settings.evaluation.cutoffs if (name, at) != (metric, k)]
    rows = []
    for row in leaderboard.to_pylist():
        cells = {"model": row["model"], f"{metric}@{k}": Estimate.from_row(row, f"{metric}_at_{k}").in_brackets()}
        cells["against the best"] = row["vs_best"] or ""
        cells["against the next"] = row["vs_next"] or ""
        cells |= {name.replace("_at_", "@"): f"{row[name]:.4f}" for name in others}
        rows.append(cells | {"tuned": row["tuned"]})
    return pa.Table.from_pylist(rows).to_pandas().to_markdown(index=False, disable_numparse=True)
