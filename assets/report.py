"""The page that people look at."""

from collections.abc import Sequence

import dagster as dg

from assets.stage import stage
from sessrec_pipeline.storage.pages import Page
from sessrec_pipeline.storage.store import Stored


def report_asset(models: Sequence[str]) -> dg.AssetsDefinition:
    @dg.asset(**stage("evaluation", ["html"], sources=["report"], reads=["evaluation"]))
    def report(leaderboard: Stored) -> Page:
        return Page("<html><body>" + str(leaderboard.arrow().to_pylist()) + "</body></html>")

    return report
