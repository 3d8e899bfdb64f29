"""The studies: each an asset of its own job, made when somebody asks for it, and a page of those that are there."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from assets.compute import gpu
from assets.stage import stage, uses
from sessrec_pipeline.feed import cards_of
from sessrec_pipeline.models.base import Card
from sessrec_pipeline.report.figures import as_markdown
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.pages import Page
from sessrec_pipeline.storage.store import NotMaterializedError, Store, Stored
from sessrec_pipeline.studies.laboratory import Laboratory
from sessrec_pipeline.studies.page import render
from sessrec_pipeline.studies.register import studies_of
from sessrec_pipeline.studies.study import COLUMNS, Study
from sessrec_pipeline.training.device import Compute
from sessrec_pipeline.tuning.trials import tuning_assets, with_best

GROUP, PAGE = "studies", "studies_report"


def study_asset(study: Study, settings: Settings) -> dg.AssetsDefinition:
    """The asset ``study_<name>``."""
    cards = cards_of(settings)
    reads = {"studies", "evaluation", *study.reads, *(card.section for card in cards)}
    tuning = tuning_assets(settings)

    @dg.asset(
        name=study.asset,
        ins={name: dg.AssetIn(name) for name in [*study.inputs(settings), *tuning]},
        description=f"{study.question} A table of Recall and MRR with intervals; the finding is computed from it.",
        **stage(
            GROUP,
            ["python", "parquet"],
            reads=sorted(reads),
            columns=COLUMNS,
        ),
        **(gpu() if any(card.gpu and _needs(study, card, settings) for card in cards) else {}),
    )
    @uses(study.measure, study.finding, study.figure, *(function for card in cards for function in card.code))
    def made(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        compute: dg.ResourceParam[Compute],
        **stored: Stored,
    ) -> Table:
        own = with_best(settings, stored)  # what is tuned on the leaderboard must not be untuned here
        with Laboratory(own, compute) as laboratory:
            table = study.measure(laboratory, stored)
        frame = table.to_pandas()
        finding = study.finding(frame)
        context.log.info(finding)
        figure = dg.MarkdownMetadataValue(as_markdown(study.figure(frame), study.title))
        context.add_output_metadata({"figure": figure})
        return Table(table, {"finding": finding})

    return made


def _needs(study: Study, card: Card[Any], settings: Settings) -> bool:
    """Whether a study fits or loads a model."""
    return card.checkpoint in study.inputs(settings) or (settings.studies.trained and card.training is not None)


def studies_report_asset(studies: Sequence[Study]) -> dg.AssetsDefinition:
    """The asset ``studies_report``."""

    @dg.asset(
        name=PAGE,
        deps=[study.asset for study in studies],
        **stage(
            GROUP,
            ["html", "matplotlib"],
            reads=["synthetic"],
        ),
    )
    @uses(*(function for study in studies for function in (study.finding, study.figure)))
    def studies_report(settings: dg.ResourceParam[Settings], store: dg.ResourceParam[Store]) -> Page:
        """One self-contained page with the question, finding, figure and table of every study that is there.

        Under each figure are the run, the data version and the code version that it comes from.
        """
        found, missing = [], []
        for study in studies:
            try:
                stored = store.find(study.asset).verified()
            except NotMaterializedError:
                missing.append(study)
            else:
                found.append((study, stored.arrow().to_pandas(), stored.lineage))
        feed = settings.synthetic.kind if settings.synthetic else settings.home.name
        return render(feed, found, missing)

    return studies_report


def studies_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """All studies of the feed and their page."""
    studies = studies_of(settings)
    return [*[study_asset(study, settings) for study in studies], studies_report_asset(studies)]
