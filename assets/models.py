"""Fitted models: count tables in SQL, GRU4Rec on the device that the settings ask for."""

import json

import dagster as dg

from assets.stage import stage
from sessrec_pipeline.compute import Compute, gpu
from sessrec_pipeline.engine import DuckDBEngine
from sessrec_pipeline.models.base import Sessions
from sessrec_pipeline.models.markov import fit_markov
from sessrec_pipeline.models.popularity import fit_popularity
from sessrec_pipeline.report import figures
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.checkpoints import Checkpoint
from sessrec_pipeline.storage.lake import Stats, Table
from sessrec_pipeline.storage.store import Stored


@dg.asset(
    **stage(
        "models",
        ["duckdb", "parquet"],
        sources=["models/popularity.py", "models/popularity.sql", "engine.py"],
        columns={
            "item": ("string", "Item id"),
            "events": ("int64", "Training events on the item"),
            "first_seen": ("int64", "Order of its first event: session_number * 1,000,000 + position"),
            "popularity_rank": ("int64", "1 for the most popular item; item index + 1 of every model"),
        },
    )
)
def popularity(settings: dg.ResourceParam[Settings], train_split: Stored) -> Table:
    """Items by number of training events, first seen first among equals. Also the catalogue that every model ranks."""
    with DuckDBEngine(settings) as engine:
        return fit_popularity(engine, train_split.path)


@dg.asset(
    **stage(
        "models",
        ["duckdb", "parquet"],
        sources=["models/markov.py", "models/markov.sql", "engine.py"],
        columns={
            "item": ("string", "Item id"),
            "next_item": ("string", "Item that came right after it in a training session"),
            "transitions": ("int64", "How often"),
            "first_seen": ("int64", "Order of the first time: session_number * 1,000,000 + position"),
            "successor_rank": ("int64", "1 for the most frequent successor, first seen first among equals"),
        },
    )
)
def markov(settings: dg.ResourceParam[Settings], train_split: Stored) -> Table:
    """How often each item followed each other one: a first-order Markov chain as a table of counts."""
    with DuckDBEngine(settings) as engine:
        return fit_markov(engine, train_split.path)


@dg.asset(
    **stage(
        "models",
        ["torch", "safetensors"],
        sources=["models/gru4rec.py", "models/base.py"],
        reads=["gru4rec"],
    ),
    **gpu(),
)
def gru4rec_checkpoint(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    compute: dg.ResourceParam[Compute],
    train_split: Stored,
    popularity: Stored,
) -> Checkpoint:
    """GRU4Rec trained on the train split: weights, config and item vocabulary in one safetensors file.

    Runs on a GPU where there is one; the metadata show the loss of each epoch while it trains.
    """
    from sessrec_pipeline.models.gru4rec import Epoch, fit  # noqa: PLC0415 - imports torch

    device = compute.device()
    vocabulary: list[str] = popularity.arrow(["item"])["item"].to_pylist()
    sessions = Sessions.from_table(train_split.arrow(["session_number", "item"]), vocabulary)
    losses: list[float] = []

    def on_epoch(epoch: Epoch) -> None:
        losses.append(epoch.loss)
        speed = epoch.events / epoch.seconds
        of = f"epoch {epoch.epoch} of {settings.gru4rec.n_epochs}"
        context.log.info(f"{of}: loss {epoch.loss:.4f}, {speed:,.0f} events/s on {device}")
        metadata = {"epoch": epoch.epoch, "loss": epoch.loss, "events per second": speed}
        context.log_event(dg.AssetObservation(context.asset_key, metadata=metadata))

    model = fit(sessions, len(vocabulary), settings.gru4rec, device, on_epoch)
    curve = figures.as_markdown(figures.loss_curve(losses), "loss per epoch")
    context.add_output_metadata({"loss curve": dg.MarkdownMetadataValue(curve)})
    stats: Stats = {"device": device, "loss": losses[-1], "losses": json.dumps(losses)}
    return Checkpoint(model.weights(), settings.gru4rec.model_dump(mode="json"), vocabulary, stats)
