"""The benchmark runs, on so little that its figures mean nothing; no time is ever asserted."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import duckdb
import numpy as np
import pytest
import torch

from sessrec_pipeline.models.base import Sessions
from sessrec_pipeline.models.gru4rec_training import Trainer
from sessrec_pipeline.settings import GRU4RecConfig

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gru4rec.py"
TINY = ["--events", "300", "--items", "40", "--evaluation-events", "300", "--evaluation-items", "50"]
TINY += ["--hidden", "8", "--samples", "16", "--batches", "4", "9", "--repeat", "1"]


@pytest.fixture(scope="module")
def benchmark() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("benchmark_gru4rec", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    before = torch.get_num_threads()
    yield module
    torch.set_num_threads(before)
    del sys.modules[spec.name]


def test_it_prints_and_stores_every_program(
    benchmark: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = tmp_path / "new" / "results.duckdb"
    for _ in range(2):  # the second run adds to the first
        benchmark.main([*TINY, "--database", str(database)])
    with duckdb.connect(str(database)) as db:
        rows = db.sql("select task, program, count(*), min(per_second) from benchmark group by all").fetchall()
    tasks = [f"train {loss}, batch {batch}" for batch in (4, 9) for loss in ("cross-entropy", "bpr-max")]
    expected = {(task, program) for task in tasks for program in ("plain", "ours", "floor")}
    expected |= {("evaluate, 50 items", program) for program in ("plain", "ours", "scores", "floor")}
    assert {row[:2] for row in rows} == expected
    assert all(times == 2 and rate > 0 for _, _, times, rate in rows)
    assert "train bpr-max, batch 9" in capsys.readouterr().out


def test_another_program_is_run_in_its_folder(benchmark: ModuleType, tmp_path: Path) -> None:
    arguments = ["--only", "training", "--official", str(tmp_path), "--official-command", "cp {train} seen.tsv"]
    benchmark.main([*TINY, *arguments, "--database", str(tmp_path / "results.duckdb")])
    lines = (tmp_path / "seen.tsv").read_text().splitlines()
    assert lines[0] == "SessionId\tItemId\tTime"
    assert len(lines) >= 300
    with duckdb.connect(str(tmp_path / "results.duckdb")) as db:
        (found,) = db.sql("select count(*) from benchmark where program = 'official'").fetchall()
        (ratios,) = db.sql("select count(of_official) from benchmark").fetchall()
    assert (found[0], ratios[0]) == (1, 4)


def test_the_setting_for_a_gpu(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On the CPU, for want of one."""
    trainer = benchmark.trainer

    def on_cpu(sessions: Sessions, n: int, config: GRU4RecConfig, device: str, *, graph: bool) -> Trainer:
        return trainer(sessions, n, config, "cpu", graph=graph)

    monkeypatch.setattr(benchmark, "trainer", on_cpu)
    benchmark.main([*TINY, "--device", "cuda", "--database", str(tmp_path / "results.duckdb")])
    with duckdb.connect(str(tmp_path / "results.duckdb")) as db:
        rows = db.sql("select program, unit, per_second > 0 from benchmark").fetchall()
    assert rows == [("ours, graph", "mini-batches", True), ("ours, single kernels", "mini-batches", True)]


@pytest.mark.parametrize("loss", ["cross-entropy", "bpr-max"])
def test_the_plain_loop_trains_on_every_event(benchmark: ModuleType, loss: str) -> None:
    sessions = benchmark.synthetic(300, 40, seed=1)
    assert sessions.lengths.min() >= 2
    config = GRU4RecConfig(layers=[8], batch_size=7, n_sample=16, loss=loss)
    assert benchmark.train_textbook(sessions, 40, config) == len(sessions.items) - len(sessions)


def test_the_loss_of_the_plain_loop_is_bpr_max(benchmark: ModuleType) -> None:
    scores = torch.randn(5, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = 0.0
    for row, values in enumerate(scores.tolist()):
        r = [value if value > 0 else 0.5 * np.expm1(value) for value in values]
        target, negatives = r[row], np.array(r[:row] + r[row + 1 :])
        s = np.exp(negatives) / np.exp(negatives).sum()
        expected += -np.log((s / (1 + np.exp(negatives - target))).sum()) + 1.5 * (s * negatives**2).sum()
    config = GRU4RecConfig(loss="bpr-max", bpreg=1.5, elu_param=0.5)
    assert benchmark.textbook_loss(scores, config).item() == pytest.approx(expected)


def test_a_folder_needs_a_command(benchmark: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        benchmark.main(["--official", str(tmp_path)])
