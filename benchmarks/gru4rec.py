"""How fast GRU4Rec trains and is evaluated here, beside a plain loop, the floor and, if at hand, the authors' program.

    python benchmarks/gru4rec.py [--events 150000] [--items 3000] [--database FILE] [--device cuda]
    python benchmarks/gru4rec.py --official PATH --official-command "python run.py {train} ..."

Everything runs in turn in one process (the authors' program in a child), several times, on one thread, and is measured
in CPU seconds; only the ratios within one run mean something. ``benchmarks/README.md`` says more.
"""

import argparse
import datetime as dt
import functools
import platform
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from tabulate import tabulate
from torch import Tensor, nn
from torch.nn import functional as F

from sessrec_pipeline.evaluation.ranking import rank
from sessrec_pipeline.models.base import Sessions
from sessrec_pipeline.models.gru4rec import CARD
from sessrec_pipeline.models.gru4rec.network import GRU4Rec, initial_weights, schedule
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings
from sessrec_pipeline.models.gru4rec.trainer import GRU4RecTrainer
from sessrec_pipeline.training.loop import train

ROOT = Path(__file__).parents[1]
LOSSES = ("cross-entropy", "bpr-max")


@dataclass(frozen=True)
class Speed:
    """What one program did of one task: the median rate of the repetitions."""

    task: str
    program: str
    per_second: float
    unit: str


def synthetic(n_events: int, n_items: int, seed: int) -> Sessions:
    """Sessions of 2 and more events, 4.3 on average, over items of which the n-th has a popularity of 1 / n^0.9."""
    rng = np.random.default_rng(seed)
    popularity = 1 / np.arange(1, n_items + 1) ** 0.9
    lengths = 1 + np.minimum(rng.geometric(0.3, size=n_events // 2), 50)
    lengths = lengths[: np.searchsorted(np.cumsum(lengths), n_events) + 1]
    items = rng.choice(n_items, size=lengths.sum(), p=popularity / popularity.sum())
    return Sessions(items.astype(np.int32), np.concatenate([[0], np.cumsum(lengths)]))


def share(sessions: Sessions, part: int) -> Sessions:
    """The first 1/part of the sessions."""
    n = max(1, len(sessions) // part)
    return Sessions(sessions.items[: sessions.offsets[n]], sessions.offsets[: n + 1])


def measure(programs: dict[str, Callable[[], float]], task: str, unit: str, repeat: int) -> Iterator[Speed]:
    """Run the programs in turn, ``repeat`` times; each returns how much it did. Rates are per CPU second."""
    rates: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(repeat):
        for name, program in programs.items():
            begin = cpu_seconds()
            done = program()
            rates[name].append(done / (cpu_seconds() - begin))
    for name, values in rates.items():
        yield Speed(task, name, statistics.median(values), unit)


def cpu_seconds() -> float:
    """CPU time of this process and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


# --- training --------------------------------------------------------------------------------------------------------


class Textbook(nn.Module):
    """The network of the papers as one would write it down: embeddings, a GRU cell, autograd, a dense optimiser."""

    def __init__(self, n_items: int, hidden: int):
        super().__init__()
        self.items = nn.Embedding(n_items, hidden)
        self.bias = nn.Embedding(n_items, 1)
        self.cell = nn.GRUCell(hidden, hidden)
        nn.init.uniform_(self.items.weight, -0.05, 0.05)
        nn.init.zeros_(self.bias.weight)

    def forward(self, inputs: Tensor, state: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (b, c) of the columns and the new state (b, h)."""
        state = self.cell(self.items(inputs), state)
        return state @ self.items(columns).T + self.bias(columns).T, state


def textbook_loss(scores: Tensor, config: GRU4RecSettings) -> Tensor:
    """Sum over the rows of scores (b, c), the target of row i in column i."""
    own = torch.arange(len(scores))
    if config.loss == "cross-entropy":
        return F.cross_entropy(scores, own, reduction="sum")
    r = F.elu(scores, config.elu_param) if config.elu_param > 0 else scores
    mask = torch.ones_like(r)
    mask[own, own] = 0
    negative = (r - r.max(dim=1, keepdim=True).values).exp() * mask
    softmax = negative / negative.sum(dim=1, keepdim=True)
    better = (softmax * torch.sigmoid(r[own, own].unsqueeze(1) - r)).sum(dim=1)
    return (-torch.log(better + 1e-24) + config.bpreg * (softmax * r**2).sum(dim=1)).sum()


def train_textbook(sessions: Sessions, n_items: int, config: GRU4RecSettings) -> float:
    """One epoch of session-parallel mini-batches; the number of events trained on."""
    torch.manual_seed(config.seed)
    network = Textbook(n_items, config.layers[-1])
    optimiser = torch.optim.Adagrad(network.parameters(), lr=config.learning_rate, eps=1e-6)
    support = torch.from_numpy(np.bincount(sessions.items, minlength=n_items)).double() ** config.sample_alpha
    slots = min(config.batch_size, len(sessions))
    at = sessions.offsets[:slots].copy()  # the event that each slot reads next
    end = sessions.offsets[1 : slots + 1].copy()  # where its session ends
    waiting, trained = slots, 0
    state = torch.zeros(slots, config.layers[-1])
    while len(at):
        inputs, targets = (torch.from_numpy(sessions.items[at + ahead].astype(np.int64)) for ahead in (0, 1))
        sampled = torch.multinomial(support, config.n_sample, replacement=True)
        optimiser.zero_grad()
        scores, state = network(inputs, state.detach(), torch.cat([targets, sampled]))
        torch.autograd.backward(textbook_loss(scores, config) / config.batch_size)
        optimiser.step()
        trained += len(at)
        at += 1
        stay = np.ones(len(at), dtype=bool)
        for slot in np.flatnonzero(at + 1 >= end):
            if waiting < len(sessions):
                at[slot], end[slot] = sessions.offsets[waiting], sessions.offsets[waiting + 1]
                waiting += 1
            else:
                stay[slot] = False
            state = state.index_fill(0, torch.tensor([slot]), 0)
        at, end, state = at[stay], end[stay], state[torch.from_numpy(stay)]
    return trained


def train_ours(sessions: Sessions, n_items: int, config: GRU4RecSettings) -> float:
    """One epoch of ours; the number of events trained on."""
    train(CARD.trained_by(), sessions, n_items, config)
    return len(sessions.items) - len(sessions)


def train_floor(config: GRU4RecSettings, steps: int) -> float:
    """Nothing but the matrix products of so many steps, forward and back, results thrown away."""
    b, h, c = config.batch_size, config.layers[-1], config.batch_size + config.n_sample
    x, inputs, gates, candidate = torch.randn(b, h), torch.randn(h, 3 * h), torch.randn(h, 2 * h), torch.randn(h, h)
    rows, by_gate, by_score = torch.randn(c, h), torch.randn(b, 3 * h), torch.randn(b, c)
    for _ in range(steps):
        for forward in ((x, inputs), (x, gates), (x, candidate), (x, rows.T)):
            torch.mm(*forward)
        for back in ((by_score, rows), (by_score.T, x)):  # gradient of the state and of the rows
            torch.mm(*back)
        for matrix in (inputs, gates, candidate):  # gradient of what went in and of the matrix
            gradient = by_gate[:, : matrix.shape[1]]
            torch.mm(gradient, matrix.T)
            torch.mm(x.T, gradient)
    return steps * b


def write_log(sessions: Sessions, path: Path) -> None:
    """Sessions as a TSV ``SessionId  ItemId  Time``."""
    number = np.repeat(np.arange(len(sessions)), sessions.lengths)
    rows = zip(number.tolist(), sessions.items.tolist(), range(len(number)), strict=True)
    path.write_text("SessionId\tItemId\tTime\n" + "".join(f"{s}\t{i}\t{t}\n" for s, i, t in rows))


def train_official(sessions: Sessions, folder: Path, command: str, epochs: int) -> float:
    """Run the authors' program on the sessions, a black box in a child; the number of events trained on."""
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "train.tsv"
        write_log(sessions, log)
        subprocess.run(command.replace("{train}", str(log)), shell=True, cwd=folder, check=True)
    return epochs * (len(sessions.items) - len(sessions))


def training(args: argparse.Namespace) -> Iterator[Speed]:
    """Training at every batch size and loss; the plain loop gets a tenth of the sessions, for it takes long."""
    sessions = synthetic(args.events, args.items, args.seed)
    for batch in args.batches:
        for loss in LOSSES:
            config = config_of(args.hidden, batch_size=batch, loss=loss, n_sample=args.samples)
            programs: dict[str, Callable[[], float]] = {
                "plain": functools.partial(train_textbook, share(sessions, 10), args.items, config),
                "ours": functools.partial(train_ours, sessions, args.items, config),
                "floor": functools.partial(train_floor, config, max(1, args.events // batch // 2)),
            }
            if args.official and (batch, loss) == (args.batches[0], LOSSES[0]):
                programs["official"] = functools.partial(
                    train_official, sessions, args.official, args.official_command, args.official_epochs
                )
            yield from measure(programs, f"train {loss}, batch {batch}", "events", args.repeat)


# --- evaluation ------------------------------------------------------------------------------------------------------


def split_of(sessions: Sessions) -> pa.Table:
    """The test split of the pipeline with these sessions."""
    number = np.repeat(np.arange(len(sessions)), sessions.lengths)
    return pa.table(
        {
            "session": pa.array(number).cast(pa.string()),
            "session_number": number,
            "position": np.arange(len(number)) - sessions.offsets[number],
            "item": pa.array(sessions.items).cast(pa.string()),
        }
    )


def evaluate_plain(model: GRU4Rec, sessions: Sessions, batch: int) -> float:
    """The rank of every target and the top 20 by sorting all scores; the number of predictions."""
    has_target = np.ones(len(sessions.items), dtype=bool)
    has_target[sessions.offsets[1:] - 1] = False
    ranks: list[NDArray[np.int64]] = []
    top: list[NDArray[np.int64]] = []
    for block, scores in model.score(sessions, batch):
        events, wanted = block[has_target[block]], scores[has_target[block]]
        order = np.argsort(-wanted, axis=1)
        ranks.append(np.nonzero(order == sessions.items[events + 1, None])[1] + 1)
        top.append(order[:, :20])
    return sum(len(part) for part in ranks)


def evaluate_ours(model: GRU4Rec, vocabulary: list[str], test: pa.Table) -> float:
    """The number of predictions."""
    return len(rank(model, vocabulary, test, batch_size=256, top=20))


def score_only(model: GRU4Rec, sessions: Sessions, batch: int) -> float:
    """What the model itself takes of the evaluation; the number of events scored."""
    return sum(len(block) for block, _ in model.score(sessions, batch))


def evaluate_floor(hidden: int, n_items: int, predictions: int) -> float:
    """Nothing but the matrix products that make the scores."""
    states, table = torch.randn(256, hidden), torch.randn(n_items, hidden)
    out = torch.empty(256, n_items)
    blocks = max(1, predictions // 256)
    for _ in range(blocks):
        torch.mm(states, table.T, out=out)
    return blocks * 256


def evaluation(args: argparse.Namespace) -> Iterator[Speed]:
    """Evaluation of a model with ``--evaluation-items`` items; the plain loop gets a tenth of the sessions."""
    n_items = args.evaluation_items
    test = synthetic(args.evaluation_events, n_items, args.seed + 1)
    config = config_of(args.hidden, batch_size=256, n_sample=min(args.samples, 256))
    sessions = synthetic(args.evaluation_events, n_items, args.seed)
    model = train(CARD.trained_by(), sessions, n_items, config).trainer.recommender()
    assert isinstance(model, GRU4Rec)
    vocabulary, table = [str(item) for item in range(n_items)], split_of(test)
    predictions = len(test.items) - len(test)
    shown = np.ones(len(test.items), dtype=bool)
    shown[test.offsets[1:] - 1] = False
    inputs = Sessions(test.items[shown], np.concatenate([[0], np.cumsum(test.lengths - 1)]))
    programs: dict[str, Callable[[], float]] = {
        "plain": functools.partial(evaluate_plain, model, share(test, 10), 256),
        "ours": functools.partial(evaluate_ours, model, vocabulary, table),
        "scores": functools.partial(score_only, model, inputs, 64),
        "floor": functools.partial(evaluate_floor, args.hidden, n_items, predictions),
    }
    yield from measure(programs, f"evaluate, {n_items} items", "predictions", args.repeat)


# --- GPU -------------------------------------------------------------------------------------------------------------


def trainer(sessions: Sessions, n_items: int, config: GRU4RecSettings, device: str, *, graph: bool) -> GRU4RecTrainer:
    """Training that replays its steps from a graph, or starts their kernels one by one."""
    tensors = {name: tensor.to(device) for name, tensor in initial_weights(config, n_items).items()}
    plan = schedule(sessions, config.batch_size, with_last=False)
    return GRU4RecTrainer(GRU4Rec(config, n_items, tensors), sessions, plan, fixed_shapes=graph)


def on_gpu(args: argparse.Namespace) -> Iterator[Speed]:
    """Mini-batches a second of ours at the setting of the authors for RetailRocket; wall time, first epoch left out."""
    sessions = synthetic(args.events, args.items, args.seed)
    config = config_of(
        224,
        batch_size=80,
        n_sample=args.samples,
        loss="bpr-max",
        dropout_embedding=0.5,
        dropout_hidden=0.05,
        momentum=0.4,
        sample_alpha=0.4,
        bpreg=1.95,
        elu_param=0.5,
    )
    for program, graph in (("graph", True), ("single kernels", False)):
        training = trainer(sessions, args.items, config, args.device, graph=graph)
        training.epoch()
        rates = []
        for _ in range(args.repeat):
            begin = time.perf_counter()
            training.epoch()  # it reads the loss at its end, so the device is then done with it
            rates.append(training.batches.plan.steps / (time.perf_counter() - begin))
        task = f"train RetailRocket's setting on {args.device}"
        yield Speed(task, f"ours, {program}", statistics.median(rates), "mini-batches")


# --- the run ---------------------------------------------------------------------------------------------------------


def config_of(hidden: int, **changes: object) -> GRU4RecSettings:
    """One layer and one epoch, and the given settings."""
    return GRU4RecSettings.model_validate({"layers": [hidden], "n_epochs": 1, **changes})


def processor() -> str:
    """Name of the CPU."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def commit() -> str:
    """The commit of this checkout, with a + where files have changed since."""
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--abbrev=12"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return told.stdout.strip() or "unknown"


def rows_of(speeds: list[Speed]) -> list[dict[str, Any]]:
    """A row for each speed, with its ratios to the plain loop, the floor and the authors' program, where known."""
    rates = {(speed.task, speed.program): speed.per_second for speed in speeds}
    rows = []
    for speed in speeds:
        row: dict[str, Any] = {"task": speed.task, "program": speed.program, "unit": speed.unit}
        row["per_second"] = speed.per_second
        for other in ("plain", "official", "floor"):
            base = rates.get((speed.task, other))
            row[f"of_{other}"] = speed.per_second / base if base else None
        rows.append(row)
    return rows


def write(rows: list[dict[str, Any]], database: Path) -> None:
    """Add the rows to the table ``benchmark``."""
    database.parent.mkdir(parents=True, exist_ok=True)
    about = (dt.datetime.now(dt.UTC), processor(), torch.__version__, commit())
    with duckdb.connect(str(database)) as db:
        db.execute(
            "create table if not exists benchmark (date timestamptz, cpu varchar, torch varchar, git_commit varchar, "
            "task varchar, program varchar, unit varchar, per_second double, "
            "of_plain double, of_official double, of_floor double)"
        )
        columns = ("task", "program", "unit", "per_second", "of_plain", "of_official", "of_floor")
        values = [(*about, *(row[column] for column in columns)) for row in rows]
        db.executemany("insert into benchmark values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=150_000, help="training events")
    parser.add_argument("--items", type=int, default=3_000, help="catalogue in training")
    parser.add_argument("--evaluation-events", type=int, default=40_000, help="test events")
    parser.add_argument("--evaluation-items", type=int, default=5_000, help="catalogue in evaluation")
    parser.add_argument("--hidden", type=int, default=100, help="units")
    parser.add_argument("--samples", type=int, default=2048, help="sampled negatives")
    parser.add_argument("--batches", type=int, nargs="+", default=[50, 256], help="batch sizes in training")
    parser.add_argument("--repeat", type=int, default=3, help="repetitions; the median counts")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--only", choices=["training", "evaluation"], help="half of the benchmark")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="cuda: RetailRocket's setting instead")
    parser.add_argument("--official", type=Path, metavar="PATH", help="folder with the authors' program")
    parser.add_argument("--official-command", help="shell command, run there; {train} is the log to train on")
    parser.add_argument("--official-epochs", type=int, default=1, help="epochs that the command trains")
    parser.add_argument("--database", type=Path, default=ROOT / "benchmarks" / "results.duckdb", metavar="FILE")
    args = parser.parse_args(arguments)
    if (args.official is None) != (args.official_command is None):
        parser.error("--official and --official-command go together")
    return args


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, store."""
    args = parse(arguments)
    torch.set_num_threads(1)
    if args.device != "cpu":
        speeds = list(on_gpu(args))
    else:
        speeds = [*training(args)] if args.only != "evaluation" else []
        speeds += [*evaluation(args)] if args.only != "training" else []
    rows = rows_of(speeds)
    write(rows, args.database)
    shown = [{key: value for key, value in row.items() if key != "of_official" or args.official} for row in rows]
    print(tabulate(shown, headers="keys", tablefmt="github", floatfmt=("", "", "", ",.0f", ".2f", ".2f", ".2f")))


if __name__ == "__main__":
    main()
