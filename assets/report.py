"""The page that people look at."""

import json
from collections.abc import Sequence

import dagster as dg
import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from assets.stage import stage
from sessrec_pipeline.report.data import ReportData, summed
from sessrec_pipeline.report.page import render
from sessrec_pipeline.report.standings import headline
from sessrec_pipeline.retries import retried
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.pages import Page
from sessrec_pipeline.storage.store import Stored

QUARANTINE_SAMPLE = 20
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
            sources=["report", "evaluation/comparisons.py"],
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
        events = sessions.arrow(["item", "time"])
        starts = test_split.arrow(["session_start"])["session_start"]
        checkpoint = trained.get("gru4rec_checkpoint")
        rests_on = [leaderboard, metrics, *trained.values(), test_split, drift, *raw_sessions]
        data = ReportData(
            feed=settings.synthetic.kind if settings.synthetic else settings.home.name,
            settings=settings,
            leaderboard=leaderboard.arrow().to_pandas(),
            metrics=metrics.arrow().to_pandas(),
            comparisons=comparisons.arrow().to_pandas(),
            slices=slices.arrow().to_pandas(),
            protocols=protocols.arrow().to_pandas(),
            beyond_accuracy=beyond_accuracy.arrow().to_pandas(),
            costs=costs.arrow().to_pandas(),
            raw=summed(log.stats for log in raw_sessions),
            sessions=sessions.stats,
            train=train_split.stats,
            test=test_split.stats,
            item_events=pc.value_counts(events["item"]).field("counts").to_numpy(),
            train_lengths=_lengths(train_split),
            test_lengths=_lengths(test_split),
            times_us=events["time"].to_numpy(),
            boundary_us=None if settings.split.rule == "given" else pc.min(starts).as_py(),
            drift=drift.arrow().to_pandas(),
            losses=json.loads(str(checkpoint.stats["losses"])) if checkpoint else [],
            gru4rec=checkpoint.checkpoint().config if checkpoint else None,
            device=str(checkpoint.stats["device"]) if checkpoint else "",
            quarantine=_sample(quarantine),
            lineages=[stored.lineage for stored in rests_on],
        )
        context.add_output_metadata({"headline": headline(data)})
        return render(data)

    return page


def _lengths(split: Stored) -> NDArray[np.int64]:
    return np.bincount(split.arrow(["session_number"])["session_number"].to_numpy()).astype(np.int64)


def _sample(quarantine: Sequence[Stored]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for log in quarantine:
        if log.node.rows and len(rows) < QUARANTINE_SAMPLE:
            rows += log.arrow(["log", "line", "reason"]).slice(0, QUARANTINE_SAMPLE - len(rows)).to_pylist()
    return rows
