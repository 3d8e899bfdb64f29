"""GRU4Rec trained by one and by two processes: events a second, and the bytes that a step sends around.

    python benchmarks/parallel_training.py [--items 500000] [--processes 2] [--settings "100 50" "480 240"]

Each row trains the same steps in one process and in several, which torchrun starts on this machine (gloo, one thread
each). Bytes are counted where they are sent, for (ids, rows), and computed for gradients of whole tables.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from tabulate import tabulate
from torch import Tensor

from sessrec_pipeline.models.base import Sessions
from sessrec_pipeline.models.gru4rec.network import GRU4Rec, initial_weights, schedule
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings
from sessrec_pipeline.models.gru4rec.trainer import GRU4RecTrainer
from sessrec_pipeline.models.ranks import Ranks

LENGTH = 6  # events of a session


class CountingRanks(Ranks):
    """Ranks that note how many bytes they gave to be added up."""

    sent = 0

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """As always, and note the size."""
        self.sent += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        super().add_up(tensors)


def work(args: argparse.Namespace) -> None:
    """One process: train each setting twice, the first time to warm up; rank 0 writes what it saw."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rows = []
    for setting in args.settings:
        hidden, batch = map(int, setting.split())
        config = GRU4RecSettings(layers=[hidden], batch_size=batch, n_sample=args.samples, dropout_hidden=0.1)
        rng = np.random.default_rng(0)
        items = np.minimum(rng.pareto(0.8, args.steps * batch // (LENGTH - 1) * LENGTH) * 50, args.items - 1)
        offsets = np.arange(0, len(items) + 1, LENGTH)
        sessions = Sessions(items.astype(np.int32), offsets.astype(np.int64))
        ranks = CountingRanks(dist.get_rank(), dist.get_world_size())
        plan = schedule(sessions, batch, with_last=False)
        training = GRU4RecTrainer(
            GRU4Rec(config, args.items, initial_weights(config, args.items)), sessions, plan, ranks=ranks
        )
        training.epoch()
        ranks.sent = 0
        begin = time.perf_counter()
        training.epoch()
        seconds = time.perf_counter() - begin
        weights = sum(tensor.numel() for tensor in training.model.tensors.values())
        rows.append({
            "hidden": hidden,
            "batch": batch,
            "events per second": len(plan.events) / seconds,
            "MB a step": ranks.sent / plan.steps / 1e6,
            "whole tables": 4 * weights / 1e6,
        })  # fmt: skip
    if dist.get_rank() == 0:
        args.out.write_text(json.dumps(rows))
    dist.destroy_process_group()


def measured(args: argparse.Namespace, processes: int) -> list[dict[str, Any]]:
    """What so many processes come to."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows.json"
        launcher = ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
        options = ["--items", str(args.items), "--samples", str(args.samples), "--steps", str(args.steps)]
        command = [sys.executable, *launcher, "--nproc-per-node", str(processes), __file__, *options]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run([*command, "--settings", *args.settings, "--out", str(out)], env=environment, check=True)
        rows: list[dict[str, Any]] = json.loads(out.read_text())
        return rows


def main() -> None:
    """Measure in turn, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=500_000)
    parser.add_argument("--samples", type=int, default=2048, help="sampled negatives")
    parser.add_argument("--steps", type=int, default=200, help="mini-batches of an epoch")
    parser.add_argument("--settings", nargs="+", default=["100 50", "100 240", "480 240"], help="hidden and batch size")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)  # of a process that torchrun has started
    args = parser.parse_args()
    if args.out:
        work(args)
        return
    # One, several, several, one: what else runs on the machine strikes both alike.
    runs = {1: [measured(args, 1)], args.processes: [measured(args, args.processes)]}
    runs[args.processes].append(measured(args, args.processes))
    runs[1].append(measured(args, 1))
    table = []
    for rows in zip(*runs[1], *runs[args.processes], strict=True):
        one, several = (sum(row["events per second"] for row in rows[i : i + 2]) / 2 for i in (0, 2))
        last = rows[-1]
        speed = {"1 process, events/s": one, f"{args.processes} processes": several, "ratio": several / one}
        sent = {"MB a step": last["MB a step"], "whole tables, MB": last["whole tables"]}
        table.append({"hidden": last["hidden"], "batch": last["batch"], **speed, **sent})
    print(f"{args.items:,} items, {args.samples:,} samples, load {os.getloadavg()[0]:.1f}\n")
    print(tabulate(table, headers="keys", tablefmt="github", floatfmt=("", "", ",.0f", ",.0f", ".2f", ".2f", ",.0f")))


if __name__ == "__main__":
    main()
