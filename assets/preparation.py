"""Events become sessions, sessions become train and test."""

from collections.abc import Callable

import dagster as dg
import numpy as np

from assets.retries import retried
from assets.stage import EVENT, stage
from sessrec_pipeline.engine import Engine, open_engine
from sessrec_pipeline.preparation.sessions import prepare_sessions
from sessrec_pipeline.preparation.split import test_split, train_split
from sessrec_pipeline.preparation.window import check_window
from sessrec_pipeline.report import figures
from sessrec_pipeline.settings import Settings, SplitSettings
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.store import Store, Stored
from sessrec_pipeline.text import did_you_mean


@dg.asset(
    **stage(
        "preparation",
        ["duckdb", "parquet"],
        reads=["sessions", "logs.session_scope", "logs.extra_columns", "split.rule", "split.column", "split.test_logs"],
        columns=EVENT | {"split": ("string", "train or test, where the log brings its own split")},
    )
)
@retried
def sessions(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    store: dg.ResourceParam[Store],
    raw_sessions: list[Stored],
) -> Table:
    """All landed logs together: exact copies dropped, sessions put in order, filters applied to a fixed point.

    The metadata say how many events each step dropped, by name; rows in = rows kept + rows dropped.
    """
    if not raw_sessions:
        raise dg.Failure(f"no log has been ingested yet: put logs into {settings.landing} and materialize raw_sessions")
    ingested = store.partitions("raw_sessions")
    if unknown := [name for name in settings.split.test_logs if name not in ingested]:
        raise dg.Failure(
            f"[split] test_logs names {unknown[0]}, which is no ingested log{did_you_mean(unknown[0], ingested)}; "
            "`sessrec versions raw_sessions` lists those that are",
            allow_retries=False,
        )
    if (window := settings.sessions.window_days) is not None:
        check_window(window, raw_sessions, list(ingested.values()))
    with open_engine(settings) as engine:
        table = prepare_sessions(engine, settings, [log.path for log in raw_sessions], context.log.info)
        items = engine.rows("SELECT COUNT(*) AS n FROM ordered GROUP BY item")["n"]
        svg = figures.popularity(items.to_numpy().astype(np.int64))
        context.add_output_metadata({"popularity": dg.MarkdownMetadataValue(figures.as_markdown(svg, "popularity"))})
        return table


Rule = Callable[[Settings], SplitSettings]
READS = ("split", "logs.session_scope")


def train_asset(prefix: str, source: str, purpose: str, rule: Rule) -> dg.AssetsDefinition:
    """The asset ``<prefix>train_split``."""

    @dg.asset(
        name=f"{prefix}train_split",
        ins={"source": dg.AssetIn(source)},
        description=f"Training events {purpose}, cut so that no training session knows the future.",
        **stage("preparation", ["duckdb", "parquet"], reads=READS, columns=EVENT),
    )
    @retried
    def train(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], source: Stored) -> Table:
        with open_engine(settings) as engine:
            table = train_split(engine, rule(settings), source.path)
            counted = "SELECT events AS n FROM train_sessions WHERE session_number IS NOT NULL"
            _show_lengths(context, engine, counted)
            return table

    return train


def test_asset(prefix: str, source: str, purpose: str, rule: Rule) -> dg.AssetsDefinition:
    """The asset ``<prefix>test_split``."""

    @dg.asset(
        name=f"{prefix}test_split",
        ins={"source": dg.AssetIn(source), "train": dg.AssetIn(f"{prefix}train_split")},
        description=f"Test events {purpose}: sessions of two events or more, on items that training has seen unless "
        "the settings keep the others.",
        **stage("preparation", ["duckdb", "parquet"], reads=READS, columns=EVENT),
    )
    @retried
    def test(
        context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings], source: Stored, train: Stored
    ) -> Table:
        with open_engine(settings) as engine:
            table = test_split(engine, rule(settings), source.path, train.path)
            counted = [f"SELECT COUNT(*) AS n FROM {part} GROUP BY session_number" for part in ("train", "test")]
            _show_lengths(context, engine, *counted)
            return table

    return test


def _show_lengths(context: dg.AssetExecutionContext, engine: Engine, *counted: str) -> None:
    lengths = [engine.rows(sql)["n"].to_numpy().astype(np.int64) for sql in counted]
    train, test = lengths[0], lengths[1] if len(lengths) > 1 else np.array([], dtype=np.int64)
    svg = figures.session_lengths(train, test)
    context.add_output_metadata({"session lengths": dg.MarkdownMetadataValue(figures.as_markdown(svg, "lengths"))})


def _split(settings: Settings) -> SplitSettings:
    return settings.split


def _tuning_split(settings: Settings) -> SplitSettings:
    return settings.split.tuning


def split_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """The assets of the split, and of the one inside train where something is chosen on it: a feed may be too small to
    be divided twice."""
    parts = [("", "sessions", "for the models", _split)]
    if settings.training.tunes:
        purpose = "for every choice that is tuned; the test split stays unseen"
        parts.append(("tuning_", "train_split", purpose, _tuning_split))
    return [make(*part) for part in parts for make in (train_asset, test_asset)]
