"""Time and memory of an evaluation over a large catalogue: the full ranking never needs the full matrix of scores.

    python benchmarks/large_catalogue.py [--items 1000000] [--predictions 100000] [--hidden 32]

The model's weights are random: what an evaluation costs does not depend on them.
"""

import argparse
import resource
import time

import numpy as np
import pyarrow as pa
import torch

from sessrec_pipeline.evaluation.ranking import rank
from sessrec_pipeline.models.gru4rec.network import GRU4Rec, weight_shapes
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings
from sessrec_pipeline.progress import progress_bar

LENGTH = 6  # events of a session


def peak_mb() -> float:
    """The most memory that this process has held so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def main() -> None:
    """Rank a few predictions and then all of them: memory must follow the results, not the scores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--predictions", type=int, default=100_000)
    parser.add_argument("--hidden", type=int, default=32)
    args = parser.parse_args()
    torch.set_num_threads(1)

    rng = np.random.default_rng(0)
    config = GRU4RecSettings(layers=[args.hidden])
    shapes = weight_shapes(config, args.items)
    weights = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    model = GRU4Rec.from_weights(config, args.items, weights)
    del weights
    vocabulary = [str(i) for i in range(args.items)]
    sessions = args.predictions // (LENGTH - 1)
    events = pa.table(
        {
            "session": [f"s{i // LENGTH}" for i in range(sessions * LENGTH)],
            "session_number": np.repeat(np.arange(sessions), LENGTH),
            "position": np.tile(np.arange(LENGTH), sessions),
            "item": [str(i) for i in rng.integers(args.items, size=sessions * LENGTH)],
        }
    )
    print(f"{args.items:,} items, hidden {args.hidden}; model, vocabulary and test set: {peak_mb():,.0f} MB")
    for part in (events.slice(0, 100 * LENGTH), events):
        begin = time.process_time()
        with progress_bar("ranking", "event") as say:
            ranked = rank(model, vocabulary, part, batch_size=256, top=20, progress=say)
        seconds = time.process_time() - begin
        print(
            f"{ranked.num_rows:,} predictions: {seconds:,.1f} CPU s, {1e3 * seconds / ranked.num_rows:.2f} ms each, "
            f"peak {peak_mb():,.0f} MB"
        )


if __name__ == "__main__":
    main()
