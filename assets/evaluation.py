"""Metrics, leaderboard and report, all computed from the stored rankings."""

from collections.abc import Sequence

import dagster as dg

from assets.stage import stage
from sessrec_pipeline.evaluation import metrics as measures
from sessrec_pipeline.retries import retried
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.store import Stored

CELL = {
    "value": ("double", "Mean over predictions"),
    "low": ("double", "2.5 % quantile over resampled test sessions"),
    "high": ("double", "97.5 % quantile over resampled test sessions"),
}


def metrics_asset(models: Sequence[str]) -> dg.AssetsDefinition:
    """The asset ``metrics`` over the rankings of ``models``."""

    @dg.asset(
        name="metrics",
        ins={model: dg.AssetIn(f"{model}_rankings") for model in models},
        **stage(
            "evaluation",
            ["duckdb", "parquet"],
            sources=["evaluation/metrics.py", "evaluation/metrics.sql"],
            reads=["evaluation"],
            columns={
                "model": ("string", "Model"),
                "metric": ("string", "recall, mrr or ndcg"),
                "k": ("int64", "Cutoff"),
                "tie_rule": ("string", "standard, median or conservative"),
                **CELL,
                "predictions": ("int64", "Predictions behind the value"),
                "sessions": ("int64", "Test sessions behind the value"),
                "rankings": ("string", "Lineage id of the rankings that the row was computed from"),
            },
        ),
    )
    @retried
    def metrics(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], **rankings: Stored) -> Table:
        """Recall, MRR and NDCG of every model at every cutoff under the three tie rules, with 95 % intervals."""
        table = measures.measure(
            {model: stored.path for model, stored in rankings.items()},
            {model: stored.node.id for model, stored in rankings.items()},
            settings.evaluation,
        )
        shown = table.to_pandas().drop(columns="rankings").round(4)
        shown = shown[shown["tie_rule"] == settings.evaluation.tie_rule]
        context.add_output_metadata({"metrics": dg.MarkdownMetadataValue(shown.to_markdown(index=False))})
        return Table(table)

    return metrics


@dg.asset(**stage("evaluation", ["duckdb", "parquet"], sources=["evaluation/metrics.py"], reads=["evaluation"]))
@retried
def leaderboard(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], metrics: Stored) -> Table:
    """One row per model under the settings' tie rule, the best recall at the largest cutoff first."""
    table = measures.leaderboard(metrics.arrow(), settings.evaluation)
    shown = table.to_pandas().drop(columns="rankings").round(4)
    shown = shown[[c for c in shown if not c.endswith(("_low", "_high"))]]
    context.add_output_metadata({"leaderboard": dg.MarkdownMetadataValue(shown.to_markdown(index=False))})
    return Table(table)
