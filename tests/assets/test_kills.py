"""kill -9 at random moments of the whole graph. The long run: pytest -m soak tests/assets/test_kills.py -s

A kill may come while a log is read, a split or a checkpoint is written, a model is trained or ranked, or the catalogue
is told of it. Afterwards no file is half written, and the next run that is left in peace ends where an undisturbed one
ends, to the bit.
"""

import itertools
import multiprocessing
import os
import random
import shutil
import sys
import time
from collections import Counter
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import dagster as dg
import pytest

from assets.instance import open_instance
from assets.runs import materialize_all
from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.logs.synthetic import write_logs
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings
from sessrec_pipeline.report import page
from sessrec_pipeline.settings import SyntheticSettings
from sessrec_pipeline.storage.store import Store

LAW = SyntheticSettings(sessions=200, items=60, days=3)
MODEL = GRU4RecSettings(layers=[16], n_epochs=3, n_sample=64, batch_size=16)
BAD = "no time\t7\tyesterday\n"

PRELOADED = ["assets.runs", "sessrec_pipeline.models.gru4rec.trainer", "test_kills"]

Picture = dict[tuple[str, str | None], tuple[str, int | None]]
"""Content hash and rows of every artefact, by asset and partition."""


def work(settings: FeedSettings) -> None:
    """A run as ``sessrec materialize`` does it, but for the figures, in a process that may die at any moment."""
    page._drawings = lambda data: []
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    sys.stderr = (settings.home / f"run-{os.getpid()}.log").open("w")
    Store(settings).mend()
    with open_instance(settings) as instance:
        outcome = materialize_all(settings, instance)
    sys.exit(0 if outcome.success and not outcome.refused else 1)


TIMED = {"costs", "report"}
"""Assets that show how long the runs took, and so differ from run to run."""


def picture(settings: FeedSettings) -> Picture:
    """What is there, each table and checkpoint compared with its own hash; nothing may be damaged."""
    damage: list[str] = []
    stored = Store(settings).current(damage.append)
    assert damage == []
    for artefact in stored:
        if artefact.path.suffix == ".safetensors":
            artefact.checkpoint()
        else:
            artefact.verified()
    return {
        (s.node.asset, s.node.partition): (s.node.data_version if s.node.asset not in TIMED else "", s.node.rows)
        for s in stored
    }


def step_in_progress(settings: FeedSettings) -> str:
    """The step that the last run had begun and not ended."""
    if not settings.dagster_home.is_dir():
        return "before the first run"
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        run = next(iter(instance.get_runs(limit=1)), None)
        if run is None or run.is_finished:
            return "between runs"
        begun = [e.dagster_event for e in instance.all_logs(run.run_id) if e.dagster_event and e.dagster_event.step_key]
        ended = {e.step_key for e in begun if e.event_type_value in ("STEP_SUCCESS", "STEP_FAILURE")}
        return next((str(e.step_key) for e in reversed(begun) if e.step_key not in ended), "between steps")


def behind(settings: FeedSettings) -> list[str]:
    """What ``mend`` finds to do."""
    lines: list[str] = []
    Store(settings).mend(lines.append)
    return lines


def catalogued(settings: FeedSettings) -> set[tuple[str, str | None, int | None]]:
    """Artefacts and their rows as the warehouse has them."""
    with Store(settings).warehouse.connect() as connection:
        rows = connection.execute(
            "SELECT current.asset, NULLIF(current.partition_key, ''), row_count "
            "FROM lineage.current JOIN lineage.node USING (id)"
        ).fetchall()
    return {(asset, partition, count) for asset, partition, count in rows}


def begun(settings: FeedSettings) -> BaseProcess:
    """A run in a process of its own, which has imported what takes time."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=work, args=(settings,))
    process.start()
    return process


def told(settings: FeedSettings) -> str:
    return "\n".join(log.read_text() for log in settings.home.glob("run-*.log"))


def ready(home: Path) -> FeedSettings:
    """A feed with its logs, that nothing was made of yet."""
    settings = FeedSettings(home=home, models=["markov", "gru4rec"], synthetic=LAW, gru4rec=MODEL)
    write_logs(LAW, settings.landing)
    return settings


@dataclass(frozen=True)
class Quiet:
    """What a run that nobody disturbs comes to."""

    settings: FeedSettings
    seconds: float
    picture: Picture


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Quiet:
    settings = ready(tmp_path_factory.mktemp("quiet"))
    begin = time.monotonic()
    process = begun(settings)
    process.join()
    assert process.exitcode == 0, told(settings)
    return Quiet(settings, time.monotonic() - begin, picture(settings))


@pytest.mark.parametrize("kills", [2, pytest.param(200, marks=pytest.mark.soak)])
def test_kill_9_loses_and_doubles_nothing(quiet: Quiet, tmp_path: Path, kills: int) -> None:
    """Rounds over a new home: killed again and again until a run gets through, then a log is corrected, and back."""
    rng = random.Random(kills)

    def run(settings: FeedSettings, patience: float | None) -> bool:
        """Whether a run got through before it was killed."""
        process = begun(settings)
        process.join(patience)
        process.kill()
        process.join()
        assert process.exitcode in (0, -9), f"a run failed that was not killed:\n{told(settings)}"
        return process.exitcode == 0

    def corrected(settings: FeedSettings) -> Path:
        log = max(settings.landing.iterdir())
        lines = log.read_text().splitlines(keepends=True)
        log.with_name(f".{log.name}").write_text("".join([*lines[:-40], BAD]))
        return log.with_name(f".{log.name}").replace(log)

    undisturbed = ready(tmp_path / "undisturbed")
    shutil.copytree(quiet.settings.home, undisturbed.home, dirs_exist_ok=True)
    corrected(undisturbed)
    assert run(undisturbed, None)
    whole, fixed = quiet.picture, picture(undisturbed)
    assert whole != fixed

    killed: Counter[str] = Counter()
    done = 0
    for number in itertools.count():
        settings = ready(tmp_path / f"round-{number}")
        for change, expected in ((lambda settings: None, whole), (corrected, fixed)):
            change(settings)
            while not run(settings, rng.uniform(0, quiet.seconds) if done < kills else None):
                assert done < kills, "a run that nobody disturbed failed"
                done += 1
                killed[step_in_progress(settings)] += 1
                picture(settings)
            assert picture(settings) == expected
            assert behind(settings) == []
            assert catalogued(settings) == {(a, partition, rows) for (a, partition), (_, rows) in expected.items()}
        shutil.rmtree(settings.home)
        if done >= kills:
            break
    print(f"\n{done} kills in {number + 1} rounds, by the step in progress (a quiet run took {quiet.seconds:.1f} s):")
    for step, times in killed.most_common():
        print(f"  {step:<24} {times}")
    rows = {
        asset: sum(r or 0 for (a, _), (_, r) in fixed.items() if a == asset) for asset in ("raw_sessions", "quarantine")
    }
    lines = sum(len(log.read_text().splitlines()) - 1 for log in undisturbed.landing.glob("*.tsv"))
    print(f"rows in {lines:,}, events {rows['raw_sessions']:,} + quarantine {rows['quarantine']:,}; all hashes equal")
    assert lines == sum(rows.values())


def test_two_runs_at_once_both_get_through_and_end_alike(quiet: Quiet, tmp_path: Path) -> None:
    settings = ready(tmp_path / "together")
    processes = [begun(settings) for _ in range(2)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0], told(settings)
    assert behind(settings) == []
    assert picture(settings) == quiet.picture
