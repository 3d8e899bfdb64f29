"""One Optuna study that any number of processes, on one machine or several, work on at once.

A study is wanted to have so many finished trials. A worker takes a trial only while those that are finished and those
that others have under way are fewer, so all workers together finish exactly as many; who comes too late waits. A
worker that died in mid-trial is noticed, at once on its own machine and elsewhere by a pulse that stands still, and its
trial is taken anew. The numbers that the storage gives out decide every race: of two workers the later one gives way.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.exceptions import OptunaError, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from pydantic import SecretStr
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from sessrec_pipeline.storage.files import alive
from sessrec_pipeline.tuning.trials import StudyError

PULSE, GRACE = 10.0, 120.0
"""Seconds between the signs of life of a trial, and for how long they may stay away before others take it for dead."""
LOOK = 0.5
"""Seconds between two looks of a worker that waits for the others."""
UNUSABLE = (SQLAlchemyError, ValueError)
"""What parsing a URL, or connecting to what it names, comes to."""
OWNER, PULSES, CONFIGURED = "owner", "pulses", "configured"
"""Attributes of a trial: ``host:pid``, how many signs of life there were, whether it is of the configured settings."""


def open_study(journal: Path, url: SecretStr | None) -> optuna.Study:
    """The study named as ``journal`` is: in that file, or in the database at ``url``; made where there is none.

    StudyError where the database cannot be used.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if url is None:
        journal.parent.mkdir(parents=True, exist_ok=True)
        # Its lock is a symbolic link, which is safe on network drives, too, and is broken 30 s after its owner died.
        return _study(journal.stem, JournalStorage(JournalFileBackend(str(journal))))
    for attempt in range(2):
        try:
            return _study(journal.stem, RDBStorage(url.get_secret_value()))
        except (*UNUSABLE, ImportError, OptunaError, RuntimeError) as error:
            reason = _without_secrets(str(error), url)
        if attempt == 0:
            time.sleep(1)  # two that make the tables of a new database at once: the later one finds them now
    raise StudyError(f"[training] study: {_shown(url)} cannot be used: {reason}")


def _study(name: str, storage: JournalStorage | RDBStorage) -> optuna.Study:
    return optuna.create_study(study_name=name, direction="maximize", storage=storage, load_if_exists=True)


def finished(study: optuna.Study, trials: int) -> list[FrozenTrial]:
    """The finished trials of lowest number, at most ``trials``; that of the configured settings stands first."""
    own = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    return sorted(own, key=lambda trial: (not trial.user_attrs[CONFIGURED], trial.number))[:trials]


def work(study: optuna.Study, objective: Callable[[optuna.Trial], float], *, trials: int, seed: int) -> Iterator[int]:
    """Take trials until ``trials`` are finished, by whomever; yields the numbers of those finished here.

    ``objective`` may ask ``is_configured`` of its trial. What it draws depends on ``seed``, the trial's number and the
    trials finished before, so no two trials draw the same, and a search that goes on draws what it would have drawn.
    """
    watch = _Watch()
    while True:
        found = study.get_trials(deepcopy=False)
        for other in found:
            if other.state is TrialState.RUNNING and watch.is_dead(other):
                _tell(study, other.number, None)
        if sum(other.state is TrialState.COMPLETE for other in found) >= trials:
            return
        if len(_standing(study)) >= trials:
            time.sleep(LOOK)
        elif (trial := _take(study, trials, seed)) is not None:
            try:
                with _pulse(trial):
                    value = objective(trial)
            except BaseException:
                _tell(study, trial.number, None)
                raise
            if _tell(study, trial.number, value):
                yield trial.number


def is_configured(trial: optuna.Trial) -> bool:
    """Whether a trial is to be the one of the configured settings."""
    return bool(trial.user_attrs[CONFIGURED])


def _take(study: optuna.Study, trials: int, seed: int) -> optuna.Trial | None:
    """The next trial, or None where others were faster."""
    trial = study.ask()
    trial.set_user_attr(OWNER, f"{socket.gethostname()}:{os.getpid()}")
    before = [other for other in _standing(study) if other.number < trial.number]
    if len(before) >= trials:
        _tell(study, trial.number, None)
        return None
    # One that has not yet said what it is may be of the configured settings.
    trial.set_user_attr(CONFIGURED, not any(other.user_attrs.get(CONFIGURED, True) for other in before))
    draws = int(np.random.SeedSequence([seed, trial.number]).generate_state(1)[0])
    study.sampler = optuna.samplers.TPESampler(seed=draws)
    return trial


def _standing(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that are finished or under way."""
    return study.get_trials(deepcopy=False, states=[TrialState.COMPLETE, TrialState.RUNNING])


def _tell(study: optuna.Study, number: int, value: float | None) -> bool:
    """Finish a trial with its value, or without one; False where others had given it up before."""
    state = TrialState.FAIL if value is None else TrialState.COMPLETE
    with suppress(UpdateFinishedTrialError):
        return study.tell(number, value, state, skip_if_finished=True).state is state
    return False


class _Watch:
    """What a worker saw of the others' trials, by its own clock: those of other machines may go wrong."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[Any, float]] = {}

    def is_dead(self, trial: FrozenTrial) -> bool:
        """Whether the worker of a trial under way is gone."""
        host, _, pid = trial.user_attrs.get(OWNER, "").rpartition(":")
        if host == socket.gethostname() and not alive(int(pid)):
            return True
        pulses, now = trial.user_attrs.get(PULSES, 0), time.monotonic()
        if self._seen.get(trial.number, (None, 0.0))[0] != pulses:
            self._seen[trial.number] = pulses, now
        return now - self._seen[trial.number][1] > GRACE


@contextmanager
def _pulse(trial: optuna.Trial) -> Iterator[None]:
    """Signs of life while the block works."""
    over = threading.Event()

    def beat() -> None:
        pulses = 0
        while not over.wait(PULSE):
            pulses += 1
            # A storage that is away for a moment costs a sign of life, one that stays away ends the trial itself; a
            # trial that others gave up learns of it at its end.
            with suppress(StorageInternalError, UpdateFinishedTrialError, OSError):
                trial.set_user_attr(PULSES, pulses)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _shown(url: SecretStr) -> str:
    """Driver, host and database of a URL: neither user nor password nor options."""
    try:
        parts = make_url(url.get_secret_value())
    except UNUSABLE:
        return "the URL"
    # Of a password with an @ in it, which should be %40, the rest is taken for the host.
    return f"{parts.drivername}://{(parts.host or '').rpartition('@')[2]}/{parts.database or ''}"


def _without_secrets(text: str, url: SecretStr) -> str:
    secrets = [url.get_secret_value()]
    with suppress(*UNUSABLE):
        parts = make_url(url.get_secret_value())
        values = [v for value in parts.query.values() for v in ([value] if isinstance(value, str) else value)]
        secrets += [str(parts.password or ""), (parts.host or "").rpartition("@")[0], *values]
    for secret in filter(None, secrets):
        text = text.replace(secret, "***")
    return " ".join(text.split())
