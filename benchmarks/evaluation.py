"""What the full ranking of a network's predictions costs beside the bare product of its states with all items.

    python benchmarks/evaluation.py [--items 3000 50000 500000] [--hidden 100] [--repeat 5]

*product*: 256 states times the table of items, one product after the other, and nothing else. *scores*: all that
``GRU4Rec.score`` does. *ranking*: the whole call of ``evaluation.ranking.rank``. They run in turn in one process on one
thread and are measured in CPU seconds; the ratio is that of the two rates of one round, and its median is shown. The
weights are random: what an evaluation costs does not depend on them.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from tabulate import tabulate

from sessrec_pipeline.evaluation.ranking import rank, rows_at_once
from sessrec_pipeline.models.base import Sessions
from sessrec_pipeline.models.gru4rec.network import GRU4Rec, weight_shapes
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings

ROWS = 256  # states in a product
MOST = 40_000  # predictions of a small catalogue


def random_model(n_items: int, hidden: int, rng: np.random.Generator) -> GRU4Rec:
    """A network of one layer that was never trained."""
    config = GRU4RecSettings(layers=[hidden])
    shapes = weight_shapes(config, n_items)
    weights = {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    return GRU4Rec.from_weights(config, n_items, weights)


def test_split(predictions: int, n_items: int, rng: np.random.Generator) -> pa.Table:
    """Sessions of 2 and more events, 4.3 on average, with about so many predictions."""
    lengths = 1 + np.minimum(rng.geometric(0.3, size=max(1, int(0.3 * predictions))), 50)
    numbers = np.repeat(np.arange(len(lengths)), lengths)
    return pa.table(
        {
            "session": pa.array(numbers).cast(pa.string()),
            "session_number": numbers,
            "position": np.arange(len(numbers)) - np.repeat(np.cumsum(lengths) - lengths, lengths),
            "item": pa.array(rng.integers(n_items, size=len(numbers))).cast(pa.string()),
        }
    )


def multiply(states: torch.Tensor, table: torch.Tensor, out: torch.Tensor, products: int) -> int:
    """The products alone; how many rows of scores they make."""
    for _ in range(products):
        torch.mm(states, table.T, out=out)
    return products * len(states)


def score(model: GRU4Rec, sessions: Sessions) -> int:
    """The model's part; the number of events scored."""
    rows = rows_at_once(model.n_items, ROWS, model.fast_rows)
    return sum(len(events) for events, _ in model.score(sessions, rows))


def ranking(model: GRU4Rec, vocabulary: list[str], test: pa.Table) -> int:
    """All of it; the number of predictions."""
    return len(rank(model, vocabulary, test, batch_size=ROWS, top=20))


def rates(programs: dict[str, Callable[[], int]], repeat: int) -> dict[str, list[float]]:
    """What each program does in a CPU second, round by round."""
    found: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(repeat):
        for name, program in programs.items():
            begin = time.process_time()
            done = program()
            found[name].append(done / (time.process_time() - begin))
    return found


def measure(n_items: int, hidden: int, scores: float, repeat: int, seed: int) -> list[dict[str, Any]]:
    """A row for each program, of a catalogue of ``n_items``."""
    rng = np.random.default_rng(seed)
    model = random_model(n_items, hidden, rng)
    test = test_split(min(MOST, max(ROWS, int(scores / n_items))), n_items, rng)
    vocabulary = [str(item) for item in range(n_items)]
    lengths = np.bincount(test["session_number"].to_numpy())
    last = np.cumsum(lengths) - 1
    items = np.delete(test["item"].cast(pa.int32()).to_numpy(), last)  # nothing is predicted after the last one
    inputs = Sessions(items, np.concatenate([[0], np.cumsum(lengths - 1)]))
    out = torch.empty(ROWS, n_items + -n_items % 16)[:, :n_items]  # rows begin at 64 bytes: it is fastest so
    states, products = torch.randn(ROWS, hidden), max(1, len(items) // ROWS)
    programs: dict[str, Callable[[], int]] = {
        "product": partial(multiply, states, model.tensors["items"], out, products),
        "scores": partial(score, model, inputs),
        "ranking": partial(ranking, model, vocabulary, test),
    }
    ranking(model, vocabulary, test.slice(0, 20))  # compiles
    found = rates(programs, repeat)
    return [
        {
            "items": n_items,
            "program": name,
            "predictions": len(items),
            "per CPU second": statistics.median(seen),
            "µs each": 1e6 / statistics.median(seen),
            "of product": statistics.median(a / b for a, b in zip(seen, found["product"], strict=True)),
        }
        for name, seen in found.items()
    ]


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="+", default=[3_000, 50_000, 500_000], help="sizes of the catalogue")
    parser.add_argument("--hidden", type=int, default=100, help="units")
    parser.add_argument("--scores", type=float, default=2.5e9, help="scores in a round of a large catalogue")
    parser.add_argument("--repeat", type=int, default=5, help="rounds; the median counts")
    parser.add_argument("--seed", type=int, default=42)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = [row for n in args.items for row in measure(n, args.hidden, args.scores, args.repeat, args.seed)]
    print(tabulate(rows, headers="keys", floatfmt=("", "", "", ",.0f", ",.2f", ".2f"), intfmt=",", tablefmt="github"))


if __name__ == "__main__":
    main()
