"""The evidence: for each model one row per prediction, from a ranking of the whole catalogue."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import dagster as dg
import pyarrow as pa

from assets.compute import gpu
from assets.io_manager import SECONDS
from assets.retries import retried
from assets.stage import stage, uses
from sessrec_pipeline.evaluation.memory import BYTES_HELD, bytes_held
from sessrec_pipeline.evaluation.ranking import rank
from sessrec_pipeline.evaluation.shards import (
    SHARDS,
    ShardsDisagreeError,
    in_order,
    merged,
    rank_counts,
    shard_of,
)
from sessrec_pipeline.models.base import Card
from sessrec_pipeline.progress import progress_bar
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.lake import Stats, Table
from sessrec_pipeline.storage.store import Store, Stored
from sessrec_pipeline.training.device import Compute
from sessrec_pipeline.training.fit import load_checkpoint

WARM_UP = 32
"""Test events that are ranked before the clock starts: what is compiled or allocated once is no cost per prediction."""
COLUMNS = {
    "session": ("string", "Test session"),
    "position": ("int64", "Position of the target in its session"),
    "target": ("string", "The item that came"),
    "greater": ("int64", "Catalogue items scored above the target"),
    "equal": ("int64", "Catalogue items scored as the target, itself included"),
    "top_items": ("list<string>", "The model's first items"),
}


def ranking_assets(card: Card[Any], settings: Settings) -> list[dg.AssetsDefinition]:
    """The asset ``<model>_rankings``, before it those of its shards where ``[evaluation] shards`` asks for several."""
    if settings.evaluation.shards == 1:
        return [_rankings(card)]
    return [_ranking_shards(card, settings.evaluation.shards), _merged_rankings(card)]


def shard_partitions(shards: int) -> dg.StaticPartitionsDefinition:
    """A partition for each shard, "0" the first."""
    return dg.StaticPartitionsDefinition([str(shard) for shard in range(shards)])


def _rankings(card: Card[Any]) -> dg.AssetsDefinition:
    @dg.asset(
        name=card.rankings,
        ins=_ins(card),
        description=f"Every catalogue item ranked by {card.title} for every test event from the second of its session "
        "on. The rank of a target follows from the counts under any tie rule; all metrics come from these rows.",
        **stage(
            "evaluation",
            ["python", "parquet"],
            reads=["evaluation.top_items"],
            columns=COLUMNS,
        ),
        **(gpu() if card.gpu else {}),
    )
    @retried
    @uses(card.load)
    def ranked(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        compute: dg.ResourceParam[Compute],
        store: dg.ResourceParam[Store],
        test_split: Stored,
        **stored: Stored,
    ) -> Table:
        _keep_shards(store, card, 0)
        return next(_ranked(context, card, settings, compute, stored[card.checkpoint], [test_split.arrow()]))

    return ranked


def _ranking_shards(card: Card[Any], shards: int) -> dg.AssetsDefinition:
    rows, counts = shard_assets(card)
    reads = ["evaluation.top_items", "evaluation.shards"]

    @dg.multi_asset(
        name=f"rank_shards_{card.name}",
        ins=_ins(card),
        partitions_def=shard_partitions(shards),
        outs={
            rows: dg.AssetOut(
                description=f"The rows of {card.rankings} for a part of the test sessions. One partition per shard; "
                "shards can be ranked by different runs, on different machines, in any order.",
                **stage("evaluation", ["python", "parquet"], columns=COLUMNS, reads=reads),
            ),
            counts: dg.AssetOut(
                description="How many predictions of a shard have which rank under each tie rule: whole numbers, whose "
                f"sum over the shards gives the recall, MRR and NDCG of {card.title} at any cutoff.",
                **stage(
                    "evaluation",
                    ["python", "parquet"],
                    columns={
                        "tie_rule": ("string", "standard, median or conservative"),
                        "twice_rank": ("int64", "Twice the rank: the median of ties can lie between two ranks"),
                        "predictions": ("int64", "Predictions whose target has this rank"),
                    },
                    reads=reads,
                ),
            ),
        },
        **(gpu() if card.gpu else {}),
    )
    @uses(card.load)
    def ranked(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        compute: dg.ResourceParam[Compute],
        test_split: Stored,
        **stored: Stored,
    ) -> Iterator[dg.Output]:  # type: ignore[type-arg]
        """Rank the shards of this run one after the other; each is published before the next one is begun."""
        keys, histograms = context.partition_keys, dict[str, Table]()

        def parts() -> Iterator[tuple[str, Table]]:
            tests = (shard_of(test_split.path, int(key), shards) for key in keys)
            for key, table in zip(
                keys, _ranked(context, card, settings, compute, stored[card.checkpoint], tests), strict=True
            ):
                histograms[key] = Table(rank_counts(table.arrow()))
                yield key, replace(table, stats={**table.stats, SHARDS: shards})

        yield dg.Output(parts(), output_name=rows)
        yield dg.Output(iter(histograms.items()), output_name=counts)

    return ranked


def _merged_rankings(card: Card[Any]) -> dg.AssetsDefinition:
    @dg.asset(
        name=card.rankings,
        ins={"parts": dg.AssetIn(shard_assets(card)[0])},
        description=f"The rows of all shards of the ranking by {card.title}, in the order of the test split: the same "
        "table, to the content hash, as one ranking of all test sessions gives.",
        **stage(
            "evaluation",
            ["python", "parquet"],
            # Those of the shards, too: lineage names the settings that made a ranking where it names the ranking.
            reads=["evaluation.shards", "evaluation.top_items"],
            columns=COLUMNS,
        ),
    )
    @retried
    def merge(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        store: dg.ResourceParam[Store],
        parts: list[Stored],
    ) -> Table:
        try:
            shards = in_order(parts, settings.evaluation.shards)
        except ShardsDisagreeError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        _keep_shards(store, card, len(shards))
        stats: Stats = {
            SECONDS: sum(float(shard.stats[SECONDS]) for shard in shards),
            BYTES_HELD: shards[0].stats[BYTES_HELD],  # every shard loads the same model
        }
        return Table(merged([shard.path for shard in shards]), stats)

    return merge


def _ranked(
    context: dg.AssetExecutionContext,
    card: Card[Any],
    settings: Settings,
    compute: Compute,
    model: Stored,
    tests: Iterable[pa.Table],
) -> Iterator[Table]:
    """The rankings of each of ``tests``, which are test splits or parts of one, by the fitted ``model``."""
    checkpoint = model.checkpoint()
    recommender = load_checkpoint(card, checkpoint, compute.device_for(card))
    evaluation = settings.evaluation
    ranked_by = partial(rank, recommender, checkpoint.items, batch_size=evaluation.batch_size, top=evaluation.top_items)
    held = bytes_held(recommender)
    for test in tests:
        ranked_by(test.slice(0, WARM_UP))
        begun = time.perf_counter()
        with progress_bar(f"ranking {card.name}", "event") as progress:
            table = ranked_by(test, progress=progress)
        seconds = time.perf_counter() - begun
        context.log.info(f"{table.num_rows:,} predictions over {len(checkpoint.items):,} items")
        yield Table(table, {SECONDS: seconds, BYTES_HELD: held})


def shard_assets(card: Card[Any]) -> tuple[str, str]:
    """The assets of a model's shards: their rows, and how many of them have which rank."""
    return f"{card.name}_ranking_shards", f"{card.name}_rank_counts"


def _keep_shards(store: Store, card: Card[Any], shards: int) -> None:
    """Delete what is left of a cut into more shards: nothing reads it, and it would hold old logs back from pruning."""
    for asset in shard_assets(card):
        store.keep_partitions(asset, [str(shard) for shard in range(shards)])


def _ins(card: Card[Any]) -> dict[str, dg.AssetIn]:
    return {name: dg.AssetIn(name) for name in ("test_split", card.checkpoint)}
