"""The code location: everything that Dagster loads, put together for one feed's settings."""

import dagster as dg

from assets import analyses, checks, drift, evaluation, ingestion, models, preparation
from assets.gru4rec import gru4rec_assets
from assets.io_manager import CONFIG_KEY, StoreIOManager
from assets.report import REPORTED, report
from assets.stage import READS_KEY, SOURCES_KEY
from assets.studies import GROUP, studies_assets
from assets.tuning import baseline_tuning_assets, tuned, tuned_rankings
from sessrec_pipeline import alerts, automation
from sessrec_pipeline.compute import GPU_POOL, Compute, executor
from sessrec_pipeline.fitted import ARTEFACTS, models_of
from sessrec_pipeline.progress import progress_logger, quiet_teardown
from sessrec_pipeline.settings import Settings, load_settings
from sessrec_pipeline.storage.store import Store
from sessrec_pipeline.tuned import tuning_assets
from sessrec_pipeline.versions import code_version, settings_read


def build(settings: Settings, store: Store | None = None) -> dg.Definitions:
    """The graph of one feed. The oracle is part of it where the feed is synthetic and its law known."""
    names = models_of(settings)
    needed = {artefact for name in names for artefact in ARTEFACTS[name]}
    store = store or Store(settings)

    def finish(spec: dg.AssetSpec) -> dg.AssetSpec:
        config = settings_read(settings, spec.metadata[READS_KEY])
        watched = REPORTED if spec.key == dg.AssetKey("report") else ()
        landed = spec.partitions_def is ingestion.landed_logs  # the sensor asks for these
        condition = None if landed else automation.rebuild_when_changed(*watched)
        return spec.merge_attributes(metadata={CONFIG_KEY: config}).replace_attributes(
            code_version=code_version(spec.metadata[SOURCES_KEY], config),
            automation_condition=None if spec.group_name == GROUP else condition,  # studies are made by hand
            freshness_policy=alerts.freshness_policy(settings, spec.key),
        )

    graph = [
        ingestion.read_landed_log,
        drift.drift,
        preparation.sessions,
        *preparation.splits,
        *baseline_tuning_assets(settings),
        *[tuned(asset, settings) for name, asset in models.FITTED.items() if name in needed],
        *(gru4rec_assets(settings) if "gru4rec" in names else []),
        *[asset for name in names for asset in tuned_rankings(name, settings)],
        *evaluation.evaluation_assets(names, tuning_assets(settings)),
        *analyses.analysis_assets(names),
        report(names),
    ]
    graph += studies_assets(settings)
    return dg.Definitions(
        assets=[asset.map_asset_specs(finish) for asset in graph],
        asset_checks=[
            checks.ingestion_checks,
            checks.drift_checks,
            checks.sessions_checks,
            checks.split_checks("", "sessions", settings.split.rule),
            checks.split_checks("tuning_", "train_split", settings.split.tuning.rule),
            *([checks.training_checks] if "gru4rec" in names else []),
            *checks.result_checks(names, settings),
            *checks.analysis_checks(names, settings),
        ],
        jobs=[
            automation.ingest_job,
            automation.rebuild_job(settings),
            *automation.rank_jobs(names, settings),
            automation.studies_job,
            automation.checks_job,
        ],
        sensors=[
            automation.landing_sensor(settings),
            automation.rebuild_sensor(settings),
            alerts.failure_sensor(settings),
        ],
        schedules=[automation.nightly_schedule(settings)],
        resources={
            "settings": settings,
            "store": store,
            "compute": Compute(settings.compute),
            "io_manager": StoreIOManager(store),
        },
        executor=executor(settings.compute, [asset.op.name for asset in graph if asset.op.pool == GPU_POOL]),
        loggers={"console": progress_logger},
    )


quiet_teardown()
defs = build(load_settings())
