"""The page that people look at."""

import dagster as dg

from assets.retries import retried
from assets.stage import stage
from sessrec_pipeline.feed import cards_of
from sessrec_pipeline.report.collect import collect
from sessrec_pipeline.report.page import render
from sessrec_pipeline.report.recommendation import as_markdown, headline
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.pages import Page
from sessrec_pipeline.storage.store import Stored


def report_asset(settings: Settings) -> dg.AssetsDefinition:
    """The asset ``report``; the trainings of the feed's models are part of the page."""
    trained = [card.checkpoint for card in cards_of(settings) if card.training]

    @dg.asset(
        name="report",
        ins={name: dg.AssetIn(name) for name in trained},
        **stage(
            "evaluation",
            ["html", "matplotlib"],
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
        data = collect(settings, found, raw_sessions, quarantine)
        context.add_output_metadata({"headline": headline(data), "report": dg.MarkdownMetadataValue(as_markdown(data))})
        return render(data)

    return page
