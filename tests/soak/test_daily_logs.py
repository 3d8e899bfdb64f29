"""A year of daily logs of a real shop, landing through the sensor. Minutes; run with ``pytest -m soak``."""

import shutil
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from assets.automation import landing_sensor, reading
from assets.graph import build
from assets.ingestion import landed_logs
from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings
from sessrec_pipeline.settings import LogSettings, RowRule, SessionSettings, SplitSettings
from sessrec_pipeline.storage.store import Store

pytestmark = pytest.mark.soak

QUICK = GRU4RecSettings(layers=[50], n_epochs=1, n_sample=512, batch_size=256)
UNPARTITIONED = ("sessions", "train_split", "test_split", "popularity", "markov", "gru4rec_checkpoint", "metrics")


EVALUATED = ("comparisons", "leaderboard", "slices", "protocols", "beyond_accuracy")
"""Not costs and report, which show how long the runs took."""


def hashes(store: Store, logs: list[str]) -> dict[str, str]:
    raw = {log: store.find("raw_sessions", log).node.data_version for log in logs}
    return raw | {asset: store.find(asset).node.data_version for asset in (*UNPARTITIONED, *EVALUATED)}


def test_305_days_land_once_and_rebuild_to_the_same_content(
    feed: Callable[..., FeedSettings], dataset: Callable[[str], Path]
) -> None:
    settings = feed(
        logs=LogSettings(
            format="csv",
            session="InvoiceNo",
            item="StockCode",
            time="InvoiceDate",
            time_unit="iso8601",
            extra_columns=["Quantity"],
            keep=[RowRule(column="InvoiceNo", not_prefix="C"), RowRule(column="Quantity", minimum=1)],
        ),
        sessions=SessionSettings(drop_consecutive_repeats=True, min_item_support=5),
        split=SplitSettings(rule="days", days=7),
        gru4rec=QUICK,
    )
    for log in dataset("online_retail/by-day").iterdir():
        shutil.copy(log, settings.landing)
    store = Store(settings)
    definitions = build(settings)
    sensor = landing_sensor(settings)
    ingest, rebuild = (definitions.resolve_job_def(name) for name in ("ingest", "rebuild"))
    quiet = {"loggers": {"console": {}}}

    with dg.DagsterInstance.ephemeral() as instance:

        def scan(cursor: str | None) -> tuple[list[str], str | None]:
            context = dg.build_sensor_context(instance=instance, cursor=cursor, resources={"store": store})
            result = sensor(context)
            assert isinstance(result, dg.SensorResult)
            for request in result.dynamic_partitions_requests or []:
                instance.add_dynamic_partitions(str(landed_logs.name), list(request.partition_keys))
            configs = [request.run_config for request in result.run_requests or []]
            return [log for c in configs for log in c["ops"]["read_landed_log"]["config"]["logs"]], result.cursor

        taken: list[str] = []
        requested, cursor = scan(None)
        while requested:
            assert ingest.execute_in_process({**quiet, **reading(requested)}, instance=instance).success
            taken += requested
            requested, cursor = scan(cursor)
        assert len(taken) == len(set(taken)) == 305
        assert len(landed_logs.get_partition_keys(dynamic_partitions_store=instance)) == 305
        assert scan(None)[0] == [], "a scan that remembers nothing adds nothing either"

        assert rebuild.execute_in_process(quiet, instance=instance).success
        before = hashes(store, taken)
        for name in taken:
            assert ingest.execute_in_process(quiet, instance=instance, partition_key=name).success
        assert rebuild.execute_in_process(quiet, instance=instance).success
        assert hashes(store, taken) == before
    with store.warehouse.connect() as connection:
        logs = connection.execute(
            "SELECT COUNT(*) FROM lineage.origin WHERE asset = 'landing' AND id = "
            "(SELECT rankings FROM metrics WHERE model = 'gru4rec' LIMIT 1)"
        ).fetchall()
    assert logs == [(305,)]
