"""Searches that several processes share, with a function of one number in the place of a training."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from pydantic import SecretStr

from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.models.base import Card
from sessrec_pipeline.models.counts.markov import CARD, MarkovSettings
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.training.fit import Fit, fit_of
from sessrec_pipeline.tuning import shared
from sessrec_pipeline.tuning.search import Trial, TuningSplit, search
from sessrec_pipeline.tuning.shared import OWNER, open_study
from sessrec_pipeline.tuning.trials import StudyError

BASE = MarkovSettings(alpha=0.25)
WORKER = """
import os, sys, time
from pathlib import Path
from pydantic import SecretStr
from tests.tuning.test_shared_study import searched
workers, trials, journal, url = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
def objective(config):
    print("begun", config.alpha, flush=True)
    (journal.parent / f"begun-{os.getpid()}").touch()
    while len(list(journal.parent.glob("begun-*"))) < workers:
        time.sleep(0.02)
    return config.alpha
print("ready", flush=True)
sys.stdin.readline()
searched(journal, trials, objective, url=SecretStr(url) if url else None)
"""


class Asked(TuningSplit):
    """A split on which a function says what settings are worth."""

    def __init__(self, objective: Callable[[MarkovSettings], float]) -> None:
        self.objective = objective

    def value(self, card: Card[Any], fit: Fit, settings: Settings, section: MarkovSettings, device: str) -> float:
        return self.objective(section)


def searched(
    journal: Path,
    trials: int,
    objective: Callable[[MarkovSettings], float] = lambda config: config.alpha,
    url: SecretStr | None = None,
    **others: Any,
) -> list[Trial[MarkovSettings]]:
    training = {"tuning_trials": trials, "study": url}
    settings = FeedSettings(home=journal.parent, markov=BASE, training=training, evaluation={"seed": 42})
    return search(CARD, fit_of(CARD), settings, Asked(objective), journal, "cpu", **others)


def worker(journal: Path, trials: int, *, workers: int, url: str = "") -> "subprocess.Popen[str]":
    """A process that is about to search; it begins with a line on its stdin.

    Its trials end only once as many ``workers`` have begun one.
    """
    command = [sys.executable, "-c", WORKER, str(workers), str(trials), str(journal), url]
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


@pytest.mark.parametrize("database", [False, True])
def test_two_processes_share_a_study(tmp_path: Path, database: bool) -> None:
    journal = tmp_path / "tuning-a.journal"
    url = f"sqlite:///{tmp_path}/study.sqlite" if database else ""
    workers = [worker(journal, 8, workers=2, url=url) for _ in range(2)]
    for process in workers:
        begin(process)
    told = [process.communicate(timeout=60)[0].split("\n") for process in workers]
    assert [process.returncode for process in workers] == [0, 0]
    begun = [[float(line.split()[1]) for line in lines if line.startswith("begun")] for lines in told]
    assert all(begun), "both did some"
    done = [value for own in begun for value in own]
    assert len(done) == len(set(done)) == 8, "as many as were asked for, and none twice"
    trials = searched(journal, 8, url=SecretStr(url) if url else None)
    assert sorted(configs(trials)) == sorted(done)
    assert trials[0].settings == BASE and done.count(BASE.alpha) == 1
    assert journal.exists() != database


def test_a_worker_that_was_killed_holds_nobody_up(tmp_path: Path) -> None:
    """Its trial is that of the configured settings, which is taken anew."""
    journal = tmp_path / "tuning-a.journal"
    process = worker(journal, 3, workers=2)
    begin(process)
    assert process.stdout is not None
    assert process.stdout.readline() == f"begun {BASE.alpha}\n"
    process.kill()
    process.wait()
    trials = searched(journal, 3)
    assert [trial.number for trial in trials] == [0, 1, 2]
    assert trials[0].settings == BASE and BASE.alpha not in configs(trials[1:])


def test_a_worker_of_another_machine_that_is_silent_is_taken_for_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "GRACE", 0.3)
    monkeypatch.setattr(shared, "LOOK", 0.05)
    study = open_study(tmp_path / "tuning-a.journal", None)
    study.ask().set_user_attr(OWNER, "elsewhere:1")
    study.ask()  # died before it said who it is
    trials = searched(tmp_path / "tuning-a.journal", 2)
    assert len(trials) == 2 and trials[0].settings == BASE


def test_a_worker_that_gives_signs_of_life_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long its trial takes; the one who waits does not do it a second time."""
    monkeypatch.setattr(shared, "PULSE", 0.05)
    monkeypatch.setattr(shared, "GRACE", 1.0)
    monkeypatch.setattr(shared, "LOOK", 0.05)
    journal, begun, over, done = tmp_path / "tuning-a.journal", threading.Event(), threading.Event(), list[float]()

    def slow(config: MarkovSettings) -> float:
        begun.set()
        assert over.wait(30)
        return config.alpha

    other = threading.Thread(target=searched, args=(journal, 1, slow))
    other.start()
    assert begun.wait(30)
    waiting = threading.Thread(target=lambda: done.extend(configs(searched(journal, 1, lambda config: 1 / 0))))
    waiting.start()
    waiting.join(1.5)
    assert waiting.is_alive()
    over.set()
    waiting.join(30)
    other.join(30)
    assert done == [BASE.alpha]


def test_a_trial_that_others_gave_up_does_not_count(tmp_path: Path) -> None:
    """A laptop that was asleep comes back: the trials are others by now."""
    journal, others = tmp_path / "tuning-a.journal", list[Trial[MarkovSettings]]()
    said: list[int] = []

    def asleep(config: MarkovSettings) -> float:
        if not others:
            study = open_study(journal, None)
            study.tell(study.get_trials()[-1].number, state=optuna.trial.TrialState.FAIL)
            others.extend(searched(journal, 3))
        return 99.0

    assert searched(journal, 3, asleep, on_trial=lambda trial: said.append(trial.number)) == others
    assert said == [] and 99.0 not in [trial.value for trial in others]


def test_a_search_that_goes_on_finds_what_one_without_a_break_finds(tmp_path: Path) -> None:
    whole = searched(tmp_path / "tuning-a.journal", 14)
    for trials in (5, 9, 14):
        parts = searched(tmp_path / "tuning-b.journal", trials)
    assert configs(parts) == configs(whole)
    assert configs(searched(tmp_path / "tuning-b.journal", 3)) == configs(whole)[:3], "fewer are the first ones"


def test_a_trial_that_raises_is_done_anew(tmp_path: Path) -> None:
    def broken(config: MarkovSettings) -> float:
        raise KeyError("the disk went away")

    with pytest.raises(KeyError):
        searched(tmp_path / "tuning-a.journal", 2, broken)
    trials = searched(tmp_path / "tuning-a.journal", 2)
    assert trials[0].settings == BASE and len(trials) == 2


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:////no/such/folder/s3cret.sqlite?timeout=12345", "unable to open database file"),
        ("postgresql+nodriver://me:s3cret@db.example/trials", "postgresql+nodriver://db.example/trials cannot be used"),
        ("mysql+pymysql://me:s3cret@127.0.0.1:1/trials?ssl_key=s3cret-key", "mysql+pymysql://127.0.0.1/trials cannot"),
        ("nosuch://me:pass@s3cret@db.example/trials", "nosuch://db.example/trials cannot be used"),
        ("nosuch://me:s3cret@db.example:port/trials", "the URL cannot be used"),
    ],
)
def test_a_database_that_cannot_be_used_is_told_without_its_password(tmp_path: Path, url: str, shown: str) -> None:
    with pytest.raises(StudyError) as caught:
        open_study(tmp_path / "tuning-a.journal", SecretStr(url))
    assert shown in str(caught.value)
    if "no/such" not in url:
        assert "s3cret" not in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    assert "\n" not in str(caught.value)
    assert "s3cret" not in json.dumps(repr(SecretStr(url)))
