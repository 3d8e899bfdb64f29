"""A job of sixteen steps that all publish to one store, for processes that import it."""

import dagster as dg
import pyarrow as pa

from assets.io_manager import StoreIOManager
from sessrec_pipeline.feed import load_settings
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.store import Store


def writer(name: str) -> dg.AssetsDefinition:
    @dg.asset(name=name)
    def write() -> Table:
        return Table(pa.table({"item": [f"{name} {i}" for i in range(200_000)]}))

    return write


def sixteen() -> dg.JobDefinition:
    """The job, each of whose steps writes a Parquet file and enters it into the one warehouse."""
    store = Store(load_settings())
    return dg.Definitions(
        assets=[writer(f"writer_{n}") for n in range(16)],
        jobs=[dg.define_asset_job("sixteen", executor_def=dg.multiprocess_executor)],
        resources={"io_manager": StoreIOManager(store)},
    ).resolve_job_def("sixteen")
