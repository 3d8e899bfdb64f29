"""Searches that several processes share, with a function of one number in the place of a training."""

import json
import math
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from pydantic import SecretStr

from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.models.base import Card
from sessrec_pipeline.models.counts.markov import CARD, MarkovSettings
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.training.fit import Fit, fit_of
from sessrec_pipeline.tuning import storage
from sessrec_pipeline.tuning.search import Trial, TuningSplit, search
from sessrec_pipeline.tuning.storage import TRACEBACK, open_study
from sessrec_pipeline.tuning.trials import TuningDatabaseError

BASE = MarkovSettings(alpha=0.25)
WORKER = """
import os, sys, time
from pathlib import Path
from pydantic import SecretStr
from tests.tuning.test_storage import searched
workers, trials, file, url = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
def objective(config):
    print("begun", config.alpha, flush=True)
    (file.parent / f"begun-{os.getpid()}").touch()
    while len(list(file.parent.glob("begun-*"))) < workers:
        time.sleep(0.02)
    return config.alpha
print("ready", flush=True)
sys.stdin.readline()
searched(file, trials, objective, url=SecretStr(url) if url else None)
"""


KILLED = """
import os, sys
from pathlib import Path
from tests.tuning.test_storage import searched
asked = []
def objective(config):
    asked.append(config)
    return config.alpha if len(asked) < int(sys.argv[2]) else os._exit(9)
searched(Path(sys.argv[1]), 14, objective)
"""


class Asked(TuningSplit):
    """A split on which a function says what settings are worth."""

    def __init__(self, objective: Callable[[MarkovSettings], float]) -> None:
        self.objective = objective

    def value(self, card: Card[Any], fit: Fit, settings: Settings, section: MarkovSettings, device: str) -> float:
        return self.objective(section)


def searched(
    file: Path,
    trials: int,
    objective: Callable[[MarkovSettings], float] = lambda config: config.alpha,
    url: SecretStr | None = None,
    **others: Any,
) -> list[Trial[MarkovSettings]]:
    training = {"tuning_trials": trials, "study": url}
    settings = FeedSettings(home=file.parent, markov=BASE, training=training, evaluation={"seed": 42})
    return search(CARD, fit_of(CARD), settings, Asked(objective), file, "cpu", **others)


def worker(file: Path, trials: int, *, workers: int, url: str = "") -> "subprocess.Popen[str]":
    """A process that is about to search; it begins with a line on its stdin.

    Its trials end only once as many ``workers`` have begun one.
    """
    command = [sys.executable, "-c", WORKER, str(workers), str(trials), str(file), url]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def begin(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def configs(trials: list[Trial[MarkovSettings]]) -> list[float]:
    return [trial.settings.alpha for trial in trials]


def rewind_heartbeats(file: Path) -> None:
    """Make the last heartbeat of every trial in a SQLite file an hour old."""
    with closing(sqlite3.connect(file, timeout=60)) as connection, connection:
        connection.execute("UPDATE trial_heartbeats SET heartbeat = datetime('now', '-1 hour')")


def is_beating(file: Path) -> bool:
    """Whether a trial in a SQLite file had a heartbeat within the last half hour."""
    with closing(sqlite3.connect(file, timeout=60)) as connection:
        fresh = "SELECT COUNT(*) FROM trial_heartbeats WHERE heartbeat > datetime('now', '-30 minutes')"
        return bool(connection.execute(fresh).fetchone()[0])


@pytest.mark.parametrize("database", [False, True])
def test_processes_that_begin_at_once_share_a_search(tmp_path: Path, database: bool) -> None:
    file = tmp_path / "tuning-a.sqlite"
    url = f"sqlite:///{tmp_path}/study.sqlite?timeout=60" if database else ""
    workers = [worker(file, 8, workers=2, url=url) for _ in range(2)]
    for process in workers:
        begin(process)
    told = [process.communicate(timeout=120)[0].split("\n") for process in workers]
    assert [process.returncode for process in workers] == [0, 0]
    begun = [[float(line.split()[1]) for line in lines if line.startswith("begun")] for lines in told]
    assert all(begun), "both did some"
    done = [value for own in begun for value in own]
    assert len(done) == len(set(done)) == 8, "as many as were asked for, and none twice"
    trials = searched(file, 8, url=SecretStr(url) if url else None)
    assert sorted(configs(trials)) == sorted(done)
    assert trials[0].settings == BASE and done.count(BASE.alpha) == 1
    assert file.exists() != database


def test_a_trial_whose_process_was_killed_is_replaced(tmp_path: Path) -> None:
    """It is that of the configured settings, which are tried again."""
    file = tmp_path / "tuning-a.sqlite"
    process = worker(file, 3, workers=2)
    begin(process)
    assert process.stdout is not None
    assert process.stdout.readline() == f"begun {BASE.alpha}\n"
    while not is_beating(file):
        time.sleep(0.02)
    process.kill()
    process.wait()
    rewind_heartbeats(file)
    trials = searched(file, 3)
    assert [trial.number for trial in trials] == [0, 1, 2]
    assert trials[0].settings == BASE and BASE.alpha not in configs(trials[1:])


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_a_trial_whose_process_died_before_its_first_heartbeat_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "GRACE", 1)
    open_study(tmp_path / "tuning-a.sqlite", None).ask()
    trials = searched(tmp_path / "tuning-a.sqlite", 2)
    assert len(trials) == 2 and trials[0].settings == BASE


def test_a_trial_that_has_heartbeats_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes; the one who waits does not do it a second time."""
    monkeypatch.setattr(storage, "HEARTBEAT", 1)
    monkeypatch.setattr(storage, "POLL", 0.05)
    file, begun, over, done = tmp_path / "tuning-a.sqlite", threading.Event(), threading.Event(), list[float]()

    def slow(config: MarkovSettings) -> float:
        begun.set()
        assert over.wait(60)
        return config.alpha

    other = threading.Thread(target=searched, args=(file, 1, slow))
    other.start()
    assert begun.wait(60)
    rewind_heartbeats(file)
    while not is_beating(file):
        time.sleep(0.02)
    waiting = threading.Thread(target=lambda: done.extend(configs(searched(file, 1, lambda config: 1 / 0))))
    waiting.start()
    waiting.join(1)
    assert waiting.is_alive()
    over.set()
    waiting.join(60)
    other.join(60)
    assert done == [BASE.alpha]


def test_a_trial_that_others_gave_up_does_not_count(tmp_path: Path) -> None:
    """A laptop that was asleep comes back: the trials are others by now."""
    file, others = tmp_path / "tuning-a.sqlite", list[Trial[MarkovSettings]]()
    said: list[int] = []

    def asleep(config: MarkovSettings) -> float:
        if not others:
            study = open_study(file, None)
            study.tell(study.get_trials()[-1].number, state=TrialState.FAIL)
            others.extend(searched(file, 3))
        return 99.0

    assert searched(file, 3, asleep, on_trial=lambda trial: said.append(trial.number)) == others
    assert said == [] and 99.0 not in [trial.value for trial in others]


def test_a_search_that_goes_on_finds_what_one_without_a_break_finds(tmp_path: Path) -> None:
    whole = searched(tmp_path / "tuning-a.sqlite", 14)
    for trials in (5, 9, 14):
        parts = searched(tmp_path / "tuning-b.sqlite", trials)
    assert configs(parts) == configs(whole)
    assert configs(searched(tmp_path / "tuning-b.sqlite", 3)) == configs(whole)[:3], "fewer are the first ones"


def test_a_search_that_was_killed_in_a_trial_finds_at_once_what_one_in_peace_finds(tmp_path: Path) -> None:
    """Nobody waits for the heartbeats of a process that is gone, and the trial draws what it drew."""
    whole, file = searched(tmp_path / "tuning-a.sqlite", 14), tmp_path / "tuning-b.sqlite"
    for trial in (1, 3, 9):
        command = [sys.executable, "-c", KILLED, str(file), str(trial)]
        assert subprocess.run(command, check=False, cwd=Path(__file__).parents[2]).returncode == 9
    assert configs(searched(file, 14)) == configs(whole)
    states = [trial.state for trial in open_study(file, None).get_trials()]
    assert states.count(TrialState.FAIL) == 3 and states.count(TrialState.COMPLETE) == 14


def test_a_trial_that_raises_is_done_anew(tmp_path: Path) -> None:
    def broken(config: MarkovSettings) -> float:
        raise KeyError("the disk went away")

    with pytest.raises(KeyError):
        searched(tmp_path / "tuning-a.sqlite", 2, broken)
    (failed,) = open_study(tmp_path / "tuning-a.sqlite", None).get_trials()
    assert failed.state is TrialState.FAIL and failed.value is None
    assert "in broken" in failed.user_attrs[TRACEBACK] and "the disk went away" in failed.user_attrs[TRACEBACK]
    trials = searched(tmp_path / "tuning-a.sqlite", 2)
    assert trials[0].settings == BASE and len(trials) == 2


def test_a_value_that_is_not_a_number_ends_the_search(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the value of trial 0 is not a number"):
        searched(tmp_path / "tuning-a.sqlite", 2, lambda config: math.nan)


def test_a_home_may_have_any_name(tmp_path: Path) -> None:
    home = tmp_path / "50%20 {a} b#c"
    trials = searched(home / "tuning-a.sqlite", 2)
    assert searched(home / "tuning-a.sqlite", 2) == trials
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.sqlite")] == [
        "50%20 {a} b#c/tuning-a.sqlite"
    ]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:////no/such/folder/s3cret.sqlite?timeout=12345", "unable to open database file"),
        ("postgresql+nodriver://me:s3cret@db.example/trials", "postgresql+nodriver://db.example/trials cannot be used"),
        ("mysql+pymysql://me:s3cret@127.0.0.1:1/trials?ssl_key=s3cret-key", "mysql+pymysql://127.0.0.1/trials cannot"),
        ("nosuch://me:pass@s3cret@db.example/trials", "nosuch://db.example/trials cannot be used"),
        ("nosuch://me:s3cret@db.example:port/trials", "the URL cannot be used"),
        ("nosuch://me:{s3cret}@db.example/trials", "nosuch://db.example/trials cannot be used"),
    ],
)
def test_a_database_that_cannot_be_used_is_told_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, shown: str
) -> None:
    monkeypatch.setattr(storage, "POLL", 0)
    with pytest.raises(TuningDatabaseError) as caught:
        open_study(tmp_path / "tuning-a.sqlite", SecretStr(url))
    assert shown in str(caught.value)
    if "no/such" not in url:
        assert "s3cret" not in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    assert "\n" not in str(caught.value)
    assert "s3cret" not in json.dumps(repr(SecretStr(url)))


def test_a_value_that_somebody_changed_is_not_gone_by(tmp_path: Path) -> None:
    """A database has no hash of its own, so that a trial brings one."""
    file = tmp_path / "tuning-a.sqlite"
    searched(file, 3)
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE trial_values SET value = value + 1 WHERE trial_id = 2")
    with pytest.raises(TuningDatabaseError, match="trial 1 of a search differs from its own hash; delete the search's"):
        searched(file, 3)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(TuningDatabaseError):
        searched(file, 3)
