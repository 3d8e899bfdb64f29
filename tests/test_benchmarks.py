"""The benchmarks run, on so little that their figures mean nothing; no time is ever asserted."""

import importlib
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import duckdb
import numpy as np
import pytest
import torch

from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.models.base import Sessions
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings
from sessrec_pipeline.models.gru4rec.trainer import GRU4RecTrainer

SCRIPTS = Path(__file__).parents[1] / "benchmarks"
TINY = ["--events", "300", "--items", "40", "--evaluation-events", "300", "--evaluation-items", "50"]
TINY += ["--hidden", "8", "--samples", "16", "--batches", "4", "9", "--repeat", "1"]


def script(name: str) -> ModuleType:
    """A script of the benchmarks as a module; whoever asks takes it from ``sys.modules`` again."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", SCRIPTS / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def benchmark() -> Iterator[ModuleType]:
    before = torch.get_num_threads()
    module = script("gru4rec")
    yield module
    torch.set_num_threads(before)
    del sys.modules[module.__name__]


@pytest.fixture(scope="module")
def baselines() -> Iterator[ModuleType]:
    module = script("baselines")
    yield module
    del sys.modules[module.__name__]


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

    def on_cpu(sessions: Sessions, n: int, config: GRU4RecSettings, device: str, *, graph: bool) -> GRU4RecTrainer:
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
    config = GRU4RecSettings(layers=[8], batch_size=7, n_sample=16, loss=loss)
    assert benchmark.train_textbook(sessions, 40, config) == len(sessions.items) - len(sessions)


def test_the_loss_of_the_plain_loop_is_bpr_max(benchmark: ModuleType) -> None:
    scores = torch.randn(5, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = 0.0
    for row, values in enumerate(scores.tolist()):
        r = [value if value > 0 else 0.5 * np.expm1(value) for value in values]
        target, negatives = r[row], np.array(r[:row] + r[row + 1 :])
        s = np.exp(negatives) / np.exp(negatives).sum()
        expected += -np.log((s / (1 + np.exp(negatives - target))).sum()) + 1.5 * (s * negatives**2).sum()
    config = GRU4RecSettings(loss="bpr-max", bpreg=1.5, elu_param=0.5)
    assert benchmark.textbook_loss(scores, config).item() == pytest.approx(expected)


def test_shards_rank_side_by_side(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(SCRIPTS)  # its processes import it by name
    module = importlib.import_module("sharded_ranking")
    module.main(["--items", "50", "--predictions", "100", "--hidden", "8", "--processes", "1", "2"])
    told = capsys.readouterr().out
    assert "|           1 |" in told and "|           2 |" in told
    assert told.endswith("the content hashes are equal\n")


def test_the_evaluation_is_measured_beside_its_product(capsys: pytest.CaptureFixture[str]) -> None:
    before, module = torch.get_num_threads(), script("evaluation")
    module.main(["--items", "50", "70", "--hidden", "8", "--scores", "1000", "--repeat", "1"])
    torch.set_num_threads(before)
    del sys.modules[module.__name__]
    *_, last = told = capsys.readouterr().out.splitlines()
    assert len(told) == 2 + 2 * 3
    assert [cell.strip() for cell in last.split("|")[1:3]] == ["70", "ranking"]


def test_a_folder_needs_a_command(benchmark: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        benchmark.main(["--official", str(tmp_path)])


def test_the_baselines_are_all_measured(baselines: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = ["--sessions", "60", "--items", "30", "--test-sessions", "20", "--few", "5", "--repeat", "1"]
    baselines.main([*tiny, "--sizes", "50", "80"])
    beside, scaling = capsys.readouterr().out.split("by number of training sessions")
    for name in baselines.MODELS:
        assert f"| {name} " in beside
        assert f" {name} |" in scaling
    assert "|         80 |" in scaling


def test_the_baselines_of_a_log(baselines: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log.tsv"
    log.write_text("SessionId\tItemId\tTime\n" + "".join(f"{n // 3}\ti{n % 7}\t{n}.5\n" for n in range(60)))
    assert baselines.read(log).sessions[1] == ["i3", "i4", "i5"]
    assert baselines.read(log).ends[1] == 5_500_000
    baselines.main(["--data", str(log), str(log), "--only", "plain", "--few", "2", "--repeat", "1"])
    assert "20 training sessions, 40 test events" in capsys.readouterr().out


def test_plain_python_scores_as_ours_does(baselines: ModuleType, tmp_path: Path) -> None:
    """Up to the factor that all items of a prediction share: else the two would not be the same work."""
    train, test = baselines.synthetic(200, 40, seed=1), baselines.synthetic(10, 40, seed=2)
    few = {"k": 20, "sample_size": 50, "padding": False}
    sections = {name: {"padding": False} for name in ("markov", "ar", "sr", "item_knn")}
    sections |= dict.fromkeys(("sknn", "vsknn", "stan", "vstan"), few)
    settings = FeedSettings(home=tmp_path, **sections)
    models, vocabulary = baselines.ours(train, settings)
    sessions = baselines.shown(test, vocabulary)
    assert list(models) == list(baselines.MODELS)
    for name, model in models.items():
        reference = baselines.plain(name, train, settings)
        for start, stop in zip(sessions.offsets[:-1], sessions.offsets[1:], strict=True):
            session = sessions.items[start:stop]
            *_, (_, scores) = model.score(Sessions.from_lists([session.tolist()]), 1)
            found = reference([vocabulary[item] for item in session])
            expected = np.array([found.get(item, 0) for item in vocabulary])
            np.testing.assert_allclose(
                scores[0] / max(scores[0].max(), 1e-9), expected / max(expected.max(), 1e-9), atol=1e-6, err_msg=name
            )


def test_scale_says_what_each_size_costs(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "scale.py"), "--millions", "0.004", "--folder", str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    *_, last = [[cell.strip() for cell in line.split("|")[1:-1]] for line in told.splitlines() if line.startswith("|")]
    assert last[:2] == ["0.004", f"duckdb {duckdb.__version__}"]
    assert all(float(cost) > 0 for cost in last[2:5])
    assert told.count("\nitem_knn ") == told.count("\nsessions ") == 1
    assert list(tmp_path.iterdir()) == []


def test_many_logs_are_compared_with_their_one_file() -> None:
    command = [sys.executable, str(SCRIPTS / "many_logs.py"), "--events", "2000", "--logs", "1", "3", "--bad", "1"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    *_, one, three = [[c.strip() for c in row.split("|")[1:-1]] for row in told.splitlines() if row.startswith("|")]
    assert (one[0], one[3:], three[0]) == ("1", ["1.00", "1.00"], "3")
    assert all(float(cost) > 0 for cost in three[1:])
