"""The page that people look at."""

from collections.abc import Sequence

import dagster as dg

from assets.stage import stage
from sessrec_pipeline.report.gather import gather
from sessrec_pipeline.report.page import render
from sessrec_pipeline.report.standings import headline
from sessrec_pipeline.retries import retried
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.pages import Page
from sessrec_pipeline.storage.store import Stored

REPORTED = ("leaderboard", "comparisons", "slices", "protocols", "beyond_accuracy")
"""What makes a new page when it changed. Not the costs: they differ with every run that is timed, and a page should not
be made again because a run was slower."""


def report(models: Sequence[str]) -> dg.AssetsDefinition:
    """The asset ``report``; GRU4Rec's training is part of the page where it is among the models."""

    @dg.asset(
        name="report",
        ins={"gru4rec_checkpoint": dg.AssetIn("gru4rec_checkpoint")} if "gru4rec" in models else {},
        **stage(
            "evaluation",
            ["html", "matplotlib"],
            sources=["report", "evaluation/comparisons.py", "evaluation/estimates.py"],
            reads=["evaluation", "split", "sessions", "logs", "synthetic", "published"],
        ),
    )
    @retried
    def page(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        leaderboard: Stored,
        metrics: Stored,
        comparisons: Stored,
        slices: Stored,
        protocols: Stored,
        beyond_accuracy: Stored,
        costs: Stored,
        test_split: Stored,
        train_split: Stored,
        sessions: Stored,
        drift: Stored,
        raw_sessions: list[Stored],
        quarantine: list[Stored],
        **trained: Stored,
    ) -> Page:
        """One self-contained page: who wins and how surely, what the data are, where every row of the logs went.

        The same data and times give the same bytes; every number on it is computed from the published tables.
        """
        found = {
            "leaderboard": leaderboard,
            "metrics": metrics,
            "comparisons": comparisons,
            "slices": slices,
            "protocols": protocols,
            "beyond_accuracy": beyond_accuracy,
            "costs": costs,
            "test_split": test_split,
            "train_split": train_split,
            "sessions": sessions,
            "drift": drift,
            **trained,
        }
        data = gather(settings, found, raw_sessions, quarantine)
        context.add_output_metadata({"headline": headline(data)})
        return render(data)

    return page
