"""The studies: each an asset of its own job, made when somebody asks for it, and a page of those that are there."""

from collections.abc import Mapping, Sequence
from typing import cast

import dagster as dg

from assets import models
from assets.gru4rec import gru4rec_assets
from assets.rankings import READS
from assets.stage import READS_KEY, SOURCES_KEY, stage
from sessrec_pipeline.compute import Compute, gpu
from sessrec_pipeline.fitted import ARTEFACTS, models_of
from sessrec_pipeline.report.figures import as_markdown
from sessrec_pipeline.settings import Settings, TrainingSettings
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.pages import Page
from sessrec_pipeline.storage.store import NotMaterializedError, Publishable, Store, Stored
from sessrec_pipeline.studies.laboratory import Fit, Laboratory
from sessrec_pipeline.studies.page import render
from sessrec_pipeline.studies.register import studies_of
from sessrec_pipeline.studies.study import COLUMNS, Study
from sessrec_pipeline.tuned import tuning_assets, with_best

GROUP, PAGE = "studies", "studies_report"
LABORATORY = [
    "engine.py",
    "evaluation",
    "fitted.py",
    "models",
    "preparation",
    "report/drawing.py",
    "report/looks.py",
    "report/words.py",
    "studies/figures.py",
    "studies/laboratory.py",
    "studies/results.py",
    "studies/study.py",
    "tuned.py",
]
"""What every study works with."""
SOURCES = {"null_feed": ["logs"]}
STUDY_READS = {
    "train_ratio": ["split.keep_unseen_items"],
    "sliding_windows": ["split.keep_unseen_items"],
    "unseen_items": ["split"],
    "null_feed": ["synthetic"],
}


def fitted_assets(settings: Settings) -> dict[str, dg.AssetsDefinition]:
    """The assets that fit models, by name, as configured: nothing is tuned or trained on for a variation of its own."""
    plain = gru4rec_assets(settings.model_copy(update={"training": TrainingSettings()}))
    found = [asset for asset in vars(models).values() if isinstance(asset, dg.AssetsDefinition)]
    by_name = {asset.key.to_user_string(): asset for asset in [*found, *plain]}
    return {name: by_name[name] for model in models_of(settings) for name in ARTEFACTS[model]}


def fits(settings: Settings, compute: Compute) -> dict[str, Fit]:
    """How a laboratory makes what models are made of: with the very functions of the assets."""
    return {name: _fit(asset, compute) for name, asset in fitted_assets(settings).items()}


def _fit(asset: dg.AssetsDefinition, compute: Compute) -> Fit:
    inputs = {name: key.to_user_string() for name, key in asset.keys_by_input_name.items()}

    def make(settings: Settings, store: Store, stored: Mapping[str, Stored]) -> Publishable:
        plain = settings.model_copy(update={"training": TrainingSettings()})  # no warm start, no other processes
        resources = {"settings": plain, "store": store, "compute": compute}
        with dg.build_asset_context(resources=resources) as context:
            made = asset(context, **{name: stored[key] for name, key in inputs.items()})
        return cast(Publishable, made.value if isinstance(made, dg.Output) else made)

    return Fit(tuple(inputs.values()), tuple(asset.metadata_by_key[asset.key][READS_KEY]), make)


def study_asset(study: Study, settings: Settings) -> dg.AssetsDefinition:
    """The asset ``study_<name>``."""
    fitted = [asset.metadata_by_key[asset.key] for asset in fitted_assets(settings).values()]
    reads = {"studies", "evaluation", *STUDY_READS.get(study.name, [])}
    reads |= {name for metadata in fitted for name in metadata[READS_KEY] if not name.startswith("training.")}
    reads |= {name for model in models_of(settings) for name in READS.get(model, [])}
    fit_sources = {source for metadata in fitted for source in metadata[SOURCES_KEY]}
    tuning = tuning_assets(settings)

    @dg.asset(
        name=study.asset,
        ins={name: dg.AssetIn(name) for name in [*study.inputs(settings), *tuning]},
        description=f"{study.question} A table of Recall and MRR with intervals; the finding is computed from it.",
        **stage(
            GROUP,
            ["python", "parquet"],
            sources=[
                *LABORATORY,
                f"studies/{study.name}.py",
                *SOURCES.get(study.name, []),
                *sorted(fit_sources - set(LABORATORY)),
            ],
            reads=sorted(reads),
            columns=COLUMNS,
        ),
        **(gpu() if settings.studies.gru4rec or "gru4rec_checkpoint" in study.inputs(settings) else {}),
    )
    def made(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        compute: dg.ResourceParam[Compute],
        **stored: Stored,
    ) -> Table:
        own = with_best(settings, stored)  # what is tuned on the leaderboard must not be untuned here
        with Laboratory(own, fits(own, compute), compute) as laboratory:
            table = study.measure(laboratory, stored)
        frame = table.to_pandas()
        finding = study.finding(frame)
        context.log.info(finding)
        figure = dg.MarkdownMetadataValue(as_markdown(study.figure(frame), study.title))
        context.add_output_metadata({"figure": figure})
        return Table(table, {"finding": finding})

    return made


def studies_report_asset(studies: Sequence[Study]) -> dg.AssetsDefinition:
    """The asset ``studies_report``."""

    @dg.asset(
        name=PAGE,
        deps=[study.asset for study in studies],
        **stage(
            GROUP,
            ["html", "matplotlib"],
            sources=["studies", "evaluation/estimates.py", "report/drawing.py", "report/looks.py"],
            reads=["synthetic"],
        ),
    )
    def studies_report(settings: dg.ResourceParam[Settings], store: dg.ResourceParam[Store]) -> Page:
        """One self-contained page with the question, finding, figure and table of every study that is there.

        Under each figure stand the run, the data version and the code version that it comes from.
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
