"""A test set ranked in parts: which sessions a shard ranks, its counts of ranks, and how the shards become one table.

A shard is a contiguous range of test sessions. So the shards' rows, one shard after the other, are in the very order
of one ranking of all sessions: merging sorts nothing and holds a batch of rows at a time. Sessions dealt out in turn
would be as even, but their rows would have to be merged row by row.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sessrec_pipeline.evaluation.evidence import GAINS
from sessrec_pipeline.evaluation.ranking import SCHEMA
from sessrec_pipeline.evaluation.ranks import TIE_RULES, gains, target_ranks
from sessrec_pipeline.storage.store import Stored

SHARDS = "shards"
"""Name among a shard's stats: into how many shards the test set was cut."""
COUNTS = pa.schema([("tie_rule", pa.string()), ("twice_rank", pa.int64()), ("predictions", pa.int64())])
"""A histogram of ranks: a row per tie rule and rank that occurs. The median of ties can lie between two ranks, so the
rank is stored doubled, as a whole number.
A target that has no rank (MISS) is a rank beyond every cutoff here, too."""


class ShardsDisagreeError(ValueError):
    """Shards that are no parts of one ranking; the text says which to make again."""


def bounds(numbers: NDArray[np.int64], shards: int) -> NDArray[np.int64]:
    """Where the shards' events begin and the last one ends, int64 (shards + 1,).

    numbers: the session of each event, in the order of the test split. A shard begins with the first session that
    begins at or after its even share of the events, so no session is cut and, but for one session, shards are even;
    with more shards than sessions some are empty.
    """
    begins = np.flatnonzero(np.diff(numbers, prepend=numbers[:1] - 1))
    begins = np.append(begins, len(numbers))
    shares = np.arange(shards + 1) * len(numbers) // shards
    return begins[np.searchsorted(begins, shares)]


def shard_of(test: Path, shard: int, shards: int) -> pa.Table:
    """The events of a shard of the test split at ``test``; no others are read but for their session numbers."""
    file = pq.ParquetFile(test)
    numbers = file.read(["session_number"])["session_number"].to_numpy().astype(np.int64)
    start, stop = bounds(numbers, shards)[shard : shard + 2].tolist()
    sizes = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
    ends = np.cumsum(sizes)
    groups = np.flatnonzero((ends > start) & (ends - sizes < stop)).tolist()
    if not groups:
        return file.schema_arrow.remove_metadata().empty_table()
    return file.read_row_groups(groups).slice(start - (ends - sizes)[groups[0]], stop - start)


def rank_counts(rankings: pa.Table) -> pa.Table:
    """How many predictions have which rank under each tie rule (COUNTS), in the order of rule and rank."""
    greater, equal = (rankings[name].to_numpy().astype(np.int64) for name in ("greater", "equal"))
    twice = {rule: (2 * target_ranks(greater, equal, rule)).astype(np.int64) for rule in sorted(TIE_RULES)}
    found = {rule: np.unique(own, return_counts=True) for rule, own in twice.items()}
    return pa.concat_tables(
        [
            pa.table(
                {"tie_rule": pa.repeat(pa.scalar(rule), len(own)), "twice_rank": own, "predictions": count},
                schema=COUNTS,
            )
            for rule, (own, count) in found.items()
        ]
    )


def summed(counts: Sequence[pa.Table]) -> pa.Table:
    """The counts of several shards as those of one, in the order of rule and rank."""
    whole = pa.concat_tables([COUNTS.empty_table(), *counts])
    total = whole.group_by(["tie_rule", "twice_rank"]).aggregate([("predictions", "sum")])
    total = total.rename_columns({"predictions_sum": "predictions"}).select(COUNTS.names).cast(COUNTS)
    return total.sort_by([("tie_rule", "ascending"), ("twice_rank", "ascending")])


def metrics_of(counts: pa.Table, cutoffs: Sequence[int]) -> Mapping[tuple[str, str, int], float]:
    """Recall, MRR and NDCG by metric, tie rule and cutoff, from counts of ranks alone.

    Counts are whole numbers, so they are the same however the test set was cut, and so is what comes of them: each
    rank's gain times its count, in a sum that is rounded once. Recall is a quotient of two counts and equals that of
    the metrics table to the bit; the others differ from it by what rounds in a sum over predictions.
    """
    values: dict[tuple[str, str, int], float] = {}
    for rule in TIE_RULES:
        rows = counts.filter(pc.equal(counts["tie_rule"], rule))
        ranks, sizes = rows["twice_rank"].to_numpy() / 2, rows["predictions"].to_numpy()
        predictions = int(sizes.sum())
        some = ranks <= max(cutoffs)  # of the catalogue's many ranks those that gain anything
        for k in cutoffs:
            for metric, gain in zip(GAINS, gains(ranks[some], k, GAINS), strict=True):
                values[metric, rule, k] = math.fsum(gain * sizes[some]) / predictions
    return values


def in_order(stored: Sequence[Stored], shards: int) -> list[Stored]:
    """All shards of one ranking, the first first. ShardsDisagreeError where they are not all of one ranking."""
    found = {int(str(part.node.partition)): part for part in stored}
    ordered = [found[shard] for shard in range(shards) if shard in found]
    if len(ordered) != shards:
        absent = next(shard for shard in range(shards) if shard not in found)
        raise ShardsDisagreeError(f"shard {absent} of {shards} is not there; materialize all shards again")
    first = ordered[0]
    for part in ordered:
        own = part.node
        if part.stats[SHARDS] != shards:
            why = f"is one of {part.stats[SHARDS]}, not of {shards} shards"
        elif (own.parents, own.code_version) != (first.node.parents, first.node.code_version):
            why = "was ranked with other inputs, settings or code than shard 0"
        else:
            continue
        raise ShardsDisagreeError(f"{own.asset}[{own.partition}] {why}; materialize {own.asset} again, all partitions")
    return ordered


def merged(shards: Sequence[Path]) -> pa.RecordBatchReader:
    """The rows of the files of shards that are in order, a batch at a time."""

    def stream() -> Iterator[pa.RecordBatch]:
        for path in shards:
            yield from pq.ParquetFile(path).iter_batches()

    return pa.RecordBatchReader.from_batches(SCHEMA, stream())
