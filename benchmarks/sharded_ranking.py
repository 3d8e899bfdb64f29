"""Seconds of one ranking in one process and in shards in several at once, and whether the merged table is the same.

    python benchmarks/sharded_ranking.py [--processes 1 2] [--items 20000] [--predictions 40000] [--hidden 100]

GRU4Rec with random weights, one thread a process: what a ranking costs does not depend on the weights. The clock runs
from the moment when every process has its model until the merged table is on disk.
"""

import argparse
import multiprocessing
import tempfile
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tabulate import tabulate

from sessrec_pipeline.evaluation.ranking import rank
from sessrec_pipeline.evaluation.shards import merged, shard_of
from sessrec_pipeline.models.gru4rec.network import GRU4Rec, weight_shapes
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings
from sessrec_pipeline.storage.lake import write_table

LENGTH = 6  # events of a session


def rank_shard(folder: Path, items: int, hidden: int, shard: int, shards: int, ready: Barrier) -> None:
    """What one process does: load, wait for the others, rank its shard, write it."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    config = GRU4RecSettings(layers=[hidden])
    shapes = weight_shapes(config, items)
    weights = {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    model, vocabulary = GRU4Rec.from_weights(config, items, weights), [str(i) for i in range(items)]
    test = shard_of(folder / "test.parquet", shard, shards)
    rank(model, vocabulary, test.slice(0, 32), batch_size=256, top=20)
    ready.wait()
    table = rank(model, vocabulary, test, batch_size=256, top=20)
    write_table(folder / f"{shard}.parquet", table)[0].close()


def measure(folder: Path, items: int, hidden: int, shards: int) -> tuple[float, float, str]:
    """Seconds of ranking and of merging in ``shards`` processes, and the content hash of the merged table."""
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(shards + 1, timeout=120)
    tasks = [
        context.Process(target=rank_shard, args=(folder, items, hidden, shard, shards, ready))
        for shard in range(shards)
    ]
    for task in tasks:
        task.start()
    ready.wait()
    begun = time.perf_counter()
    for task in tasks:
        task.join()
        if task.exitcode:
            raise SystemExit(f"a process ended with {task.exitcode}")
    ranked = time.perf_counter()
    writer, content, _ = write_table(
        folder / "merged.parquet", merged([folder / f"{i}.parquet" for i in range(shards)])
    )
    writer.close()
    return ranked - begun, time.perf_counter() - ranked, content


def main(arguments: list[str] | None = None) -> None:
    """The same test set, ranked by each number of processes in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--predictions", type=int, default=40_000)
    parser.add_argument("--hidden", type=int, default=100)
    args = parser.parse_args(arguments)
    sessions = args.predictions // (LENGTH - 1)
    numbers = np.repeat(np.arange(sessions), LENGTH)
    test = pa.table(
        {
            "session": numbers.astype(str),
            "session_number": numbers,
            "position": np.tile(np.arange(LENGTH), sessions),
            "item": np.random.default_rng(1).integers(args.items, size=len(numbers)).astype(str),
        }
    )
    rows, contents = [], set()
    with tempfile.TemporaryDirectory() as name:
        pq.write_table(test, Path(name) / "test.parquet")
        for processes in args.processes:
            seconds, merging, content = measure(Path(name), args.items, args.hidden, processes)
            contents.add(content)
            rows.append([processes, seconds, merging, rows[0][1] / seconds if rows else 1.0])
    header = ["processes", "ranking, s", "merging, s", "times as fast"]
    print(tabulate(rows, header, tablefmt="github", floatfmt=("", ".2f", ".2f", ".2f")))
    if len(contents) > 1:
        raise SystemExit("the content hashes differ")
    print("the content hashes are equal")


if __name__ == "__main__":
    main()
