"""The asset graph of one feed, put together from its settings and its models' cards."""

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import dagster as dg

from assets import alerts, automation, checks, drift, ingestion, preparation
from assets.analyses import analysis_assets
from assets.code_version import code_version
from assets.compute import GPU_POOL, executor
from assets.evaluation import evaluation_assets
from assets.io_manager import CONFIG_KEY, StoreIOManager
from assets.logger import progress_logger
from assets.models import model_assets
from assets.rankings import ranking_assets
from assets.report import report_asset
from assets.stage import READS_KEY, uses_of
from assets.studies import studies_assets
from sessrec_pipeline.feed import cards_of
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.store import Store
from sessrec_pipeline.training.device import Compute


def build(settings: Settings, store: Store | None = None) -> dg.Definitions:
    """The graph of one feed. The oracle is part of it where the feed is synthetic and its law known."""
    cards = cards_of(settings)
    store = store or Store(settings)
    values = settings.model_dump(mode="json", exclude={"home"})

    def finish(asset: dg.AssetsDefinition) -> dg.AssetsDefinition:
        roots: list[Any] = [asset, *uses_of(asset)]
        pages = any("html" in spec.kinds for spec in asset.specs)

        def finished(spec: dg.AssetSpec) -> dg.AssetSpec:
            config = settings_read(values, spec.metadata[READS_KEY])
            return spec.merge_attributes(metadata={CONFIG_KEY: config}).replace_attributes(
                code_version=code_version(roots, config, pages),
                freshness_policy=alerts.freshness_policy(settings, spec.key),
            )

        return asset.map_asset_specs(finished)

    graph = [
        ingestion.read_landed_log,
        drift.drift,
        preparation.sessions,
        *preparation.split_assets(settings),
        *model_assets(settings),
        *[asset for card in cards for asset in ranking_assets(card, settings)],
        *evaluation_assets(settings),
        *analysis_assets(settings),
        report_asset(settings),
        *studies_assets(settings),
    ]
    return dg.Definitions(
        assets=[finish(asset) for asset in graph],
        asset_checks=checks.asset_checks(settings),
        jobs=[
            automation.ingest_job,
            automation.rebuild_job(settings),
            *automation.rank_jobs(settings),
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


def settings_read(values: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Those of the settings' ``values``, JSON types, that dotted names ask for."""
    return {name: reduce(lambda value, part: value[part], name.split("."), values) for name in names}
