"""The evidence: for each model one row per prediction, from a ranking of the whole catalogue."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import dagster as dg
import pyarrow as pa

from assets.stage import stage
from sessrec_pipeline.compute import Compute, gpu
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
from sessrec_pipeline.fitted import ARTEFACTS, load_model
from sessrec_pipeline.progress import progress_bar
from sessrec_pipeline.retries import retried
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.io_managers import SECONDS
from sessrec_pipeline.storage.lake import Stats, Table
from sessrec_pipeline.storage.store import Store, Stored
from sessrec_pipeline.tuned import with_best

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
SPARSE = ["models/sparse.py", "models/padding.py", "models/kernels.py"]
NEIGHBOURS = ["models/session_knn.py", "models/padding.py", "models/kernels.py"]
SOURCES = {
    "popularity": ["models/popularity.py"],
    "recent_popularity": ["models/popularity.py"],
    "session_popularity": ["models/session_popularity.py", "models/padding.py", "models/kernels.py"],
    "markov": ["models/markov.py", *SPARSE],
    "ar": SPARSE,
    "sr": SPARSE,
    "item_knn": SPARSE,
    "sknn": NEIGHBOURS,
    "vsknn": NEIGHBOURS,
    "stan": NEIGHBOURS,
    "vstan": NEIGHBOURS,
    "gru4rec": ["models/gru4rec.py"],
    "oracle": ["models/oracle.py", "logs/synthetic.py"],
}
READS = {
    "session_popularity": ["session_popularity"],
    "markov": ["markov"],
    "ar": ["ar.padding"],
    "sr": ["sr.padding"],
    "item_knn": ["item_knn.padding"],
    "sknn": ["sknn"],
    "vsknn": ["vsknn"],
    "stan": ["stan"],
    "vstan": ["vstan"],
    "oracle": ["synthetic"],
}


def ranking_assets(model: str, settings: Settings, tuning: Sequence[str] = ()) -> list[dg.AssetsDefinition]:
    """The asset ``<model>_rankings``, before it those of its shards where ``[evaluation] shards`` asks for several.

    ``tuning`` are the assets whose best settings stand for the configured ones.
    """
    if settings.evaluation.shards == 1:
        return [_rankings(model, tuning)]
    return [_ranking_shards(model, settings.evaluation.shards, tuning), _merged_rankings(model)]


def shard_partitions(shards: int) -> dg.StaticPartitionsDefinition:
    """A partition for each shard, "0" the first."""
    return dg.StaticPartitionsDefinition([str(shard) for shard in range(shards)])


def _rankings(model: str, tuning: Sequence[str]) -> dg.AssetsDefinition:
    @dg.asset(
        name=f"{model}_rankings",
        ins=_ins(model, tuning),
        description=f"Every catalogue item ranked by {model} for every test event from the second of its session on. "
        "The rank of a target follows from the counts under any tie rule; all metrics are computed from these rows.",
        **stage(
            "evaluation",
            ["python", "parquet"],
            sources=_sources(model),
            reads=["evaluation.top_items", *READS.get(model, [])],
            columns=COLUMNS,
        ),
        **_where(model),
    )
    @retried
    def ranked(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        compute: dg.ResourceParam[Compute],
        store: dg.ResourceParam[Store],
        test_split: Stored,
        **stored: Stored,
    ) -> Table:
        _keep_shards(store, model, 0)
        return next(_ranked(context, model, settings, compute, stored, [test_split.arrow()]))

    return ranked


def _ranking_shards(model: str, shards: int, tuning: Sequence[str]) -> dg.AssetsDefinition:
    rows, counts = f"{model}_ranking_shards", f"{model}_rank_counts"
    own: dict[str, Any] = {
        "sources": [*_sources(model), "evaluation/ranks.py", "evaluation/shards.py"],
        "reads": ["evaluation.top_items", "evaluation.shards", *READS.get(model, [])],
    }

    @dg.multi_asset(
        name=f"rank_shards_{model}",
        ins=_ins(model, tuning),
        partitions_def=shard_partitions(shards),
        outs={
            rows: dg.AssetOut(
                description=f"The rows of {model}_rankings for a part of the test sessions. One partition per shard; "
                "shards can be ranked by different runs, on different machines, in any order.",
                **stage("evaluation", ["python", "parquet"], columns=COLUMNS, **own),
            ),
            counts: dg.AssetOut(
                description="How many predictions of a shard have which rank under each tie rule: whole numbers, whose "
                f"sum over the shards gives the recall, MRR and NDCG of {model} at any cutoff.",
                **stage(
                    "evaluation",
                    ["python", "parquet"],
                    columns={
                        "tie_rule": ("string", "standard, median or conservative"),
                        "twice_rank": ("int64", "Twice the rank: the median of ties can lie between two ranks"),
                        "predictions": ("int64", "Predictions whose target has this rank"),
                    },
                    **own,
                ),
            ),
        },
        **_where(model),
    )
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
            for key, table in zip(keys, _ranked(context, model, settings, compute, stored, tests), strict=True):
                histograms[key] = Table(rank_counts(table.arrow()))
                yield key, replace(table, stats={**table.stats, SHARDS: shards})

        yield dg.Output(parts(), output_name=rows)
        yield dg.Output(iter(histograms.items()), output_name=counts)

    return ranked


def _merged_rankings(model: str) -> dg.AssetsDefinition:
    @dg.asset(
        name=f"{model}_rankings",
        ins={"parts": dg.AssetIn(f"{model}_ranking_shards")},
        description=f"The rows of all shards of the ranking by {model}, in the order of the test split: the same "
        "table, to the content hash, as one ranking of all test sessions gives.",
        **stage(
            "evaluation",
            ["python", "parquet"],
            sources=["evaluation/shards.py"],
            # Those of the shards, too: lineage names the settings that made a ranking where it names the ranking.
            reads=["evaluation.shards", "evaluation.top_items", *READS.get(model, [])],
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
        _keep_shards(store, model, len(shards))
        stats: Stats = {
            SECONDS: sum(float(shard.stats[SECONDS]) for shard in shards),
            BYTES_HELD: shards[0].stats[BYTES_HELD],  # every shard loads the same model
        }
        return Table(merged([shard.path for shard in shards]), stats)

    return merge


def _ranked(
    context: dg.AssetExecutionContext,
    model: str,
    settings: Settings,
    compute: Compute,
    stored: Mapping[str, Stored],
    tests: Iterable[pa.Table],
) -> Iterator[Table]:
    """The rankings of each of ``tests``, which are test splits or parts of one, by the model that ``stored`` holds."""
    own = {name: stored[name] for name in ARTEFACTS[model]}
    recommender, vocabulary = load_model(model, own, with_best(settings, stored), compute)
    evaluation = settings.evaluation
    ranked_by = partial(rank, recommender, vocabulary, batch_size=evaluation.batch_size, top=evaluation.top_items)
    held = bytes_held(recommender)
    for test in tests:
        ranked_by(test.slice(0, WARM_UP))
        begun = time.perf_counter()
        with progress_bar(f"ranking {model}", "event") as progress:
            table = ranked_by(test, progress=progress)
        seconds = time.perf_counter() - begun
        context.log.info(f"{table.num_rows:,} predictions over {len(vocabulary):,} items")
        yield Table(table, {SECONDS: seconds, BYTES_HELD: held})


def _keep_shards(store: Store, model: str, shards: int) -> None:
    """Delete what is left of a cut into more shards: nothing reads it, and it would hold old logs back from pruning."""
    for asset in (f"{model}_ranking_shards", f"{model}_rank_counts"):
        store.keep_partitions(asset, [str(shard) for shard in range(shards)])


def _ins(model: str, tuning: Sequence[str]) -> dict[str, dg.AssetIn]:
    return {name: dg.AssetIn(name) for name in ["test_split", *ARTEFACTS[model], *tuning]}


def _sources(model: str) -> list[str]:
    return ["evaluation/kernels.py", "evaluation/memory.py", "evaluation/ranking.py", "tuned.py", *SOURCES[model]]


def _where(model: str) -> dict[str, Any]:
    return gpu() if model == "gru4rec" else {}
