"""Where the SQL of bulk work runs: inside this process with DuckDB, or on a Spark cluster."""

from sessrec_pipeline.engine.base import Coded, Engine, EngineError, EngineLostError, Value, integer, parquet_files
from sessrec_pipeline.engine.duckdb import DuckDBEngine
from sessrec_pipeline.engine.lookup import Lookup
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.sql import sql_text

__all__ = [
    "Coded",
    "DuckDBEngine",
    "Engine",
    "EngineError",
    "EngineLostError",
    "Lookup",
    "Table",
    "Value",
    "integer",
    "open_engine",
    "parquet_files",
    "sql_text",
]


def open_engine(settings: Settings) -> Engine:
    """The engine that ``[engine]`` names; EngineError where it cannot be had."""
    if settings.engine.kind == "duckdb":
        return DuckDBEngine(settings)
    try:
        from sessrec_pipeline.engine.spark import SparkEngine  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise EngineError(
            f'[engine] kind = "spark" needs the extra spark ({error}): '
            "pip install 'sessrec_pipeline[spark]' with the constraints of the project"
        ) from error
    return SparkEngine(settings)
