"""The Optuna study of a search, which any number of processes, on one machine or several, work on at once.

The trials are in a database: a SQLite file or what ``[training] study`` names. A search wants so many finished trials:
the first ones by number count, so all processes end with the same table. While a trial runs, Optuna records its
heartbeat; a trial whose heartbeat stopped, or whose process is known to be dead (``storage.owners``), is failed, and
another one is done for it that draws what it drew. Where two processes ask for the last trial at once, the later one
gives way: the numbers that the database gives out decide.
"""

import itertools
import math
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning, OptunaError, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState
from pydantic import SecretStr
from sqlalchemy import URL, NullPool, make_url
from sqlalchemy.exc import SQLAlchemyError

from sessrec_pipeline.storage.files import make_folder
from sessrec_pipeline.storage.owners import BOOT, LONG, Waiting, holder, owned, taken_over
from sessrec_pipeline.tuning.trials import TuningDatabaseError

HEARTBEAT, GRACE = 10, 60
"""Seconds between the heartbeats of a trial, and without one after which its process is taken for dead."""
POLL = 0.5
"""Seconds between two looks of a process that waits for the others."""
ATTEMPTS = 5
"""To open a database; several processes may be making its tables at once."""
CONFIGURED, BEATS, TRACEBACK, DRAW, PROCESS = "configured", "beats", "traceback", "draw", "process"
"""Attributes of a trial: whether it is of the configured settings, whether it had a heartbeat, what its code raised,
the number of what it draws, the boot and the lock file of the process that runs it."""


class _Storage(RDBStorage):
    def record_heartbeat(self, trial_id: int) -> None:
        """Record one, and that there is one; a database that is away for a moment costs no more than that one."""
        with suppress(StorageInternalError, UpdateFinishedTrialError):
            super().record_heartbeat(trial_id)
            self.set_trial_user_attr(trial_id, BEATS, True)


def open_study(file: Path, url: SecretStr | None) -> optuna.Study:
    """The study named as ``file`` is: in that SQLite file, or in the database at ``url``; made where there is none.

    TuningDatabaseError where the database cannot be used.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    make_folder(file.parent)
    warnings.simplefilter("ignore", ExperimentalWarning)  # heartbeats
    if url is None:
        own = URL.create("sqlite", database=str(file), query={"timeout": "60"})  # seconds to wait for its lock
        url = SecretStr(own.render_as_string(hide_password=False))
    for _ in range(ATTEMPTS):
        try:
            storage = _Storage(
                url.get_secret_value().replace("{", "{{").replace("}", "}}"),  # Optuna formats it
                engine_kwargs={"poolclass": NullPool},  # a connection kept through a long trial may be dead after it
                heartbeat_interval=HEARTBEAT,
                grace_period=GRACE,
            )
            return optuna.create_study(study_name=file.stem, direction="maximize", storage=storage, load_if_exists=True)
        except (SQLAlchemyError, OptunaError, ImportError, ValueError, RuntimeError) as error:
            reason = _without_secrets(str(error.__cause__ or error), url)  # the driver's own words
        time.sleep(POLL)
    raise TuningDatabaseError(f"[training] study: {_shown(url)} cannot be used: {reason}")


def finished(study: optuna.Study, trials: int) -> list[FrozenTrial]:
    """The finished trials of lowest number, at most ``trials``; that of the configured settings stands first."""
    return [trial for trial in _counted(study) if trial.state is TrialState.COMPLETE][:trials]


def work(
    study: optuna.Study, objective: Callable[[optuna.Trial], float], folder: Path, *, trials: int, seed: int
) -> Iterator[int]:
    """Run trials until the first ``trials`` are finished, by whichever process; yields the numbers of those run here.

    ``objective`` may ask ``is_configured`` of its trial. What it draws depends on ``seed``, its place among the trials
    that count, and the trials finished before: no two of these draw the same, and a search that was stopped in the
    middle of a trial goes on as if it had not been.
    What ``objective`` raises ends the search; its trial has failed then, and has the traceback as an attribute.
    ``folder`` is for the file that says whether this process lives. BusyError where others take longer than LONG.
    """
    first_seen: dict[int, float] = {}
    with owned(own := folder.absolute() / f"search-{uuid4().hex}.lock"):
        waiting = Waiting(LONG, lambda: _under_way(study))
        while True:
            _fail_dead(study, first_seen)
            first = _counted(study)[:trials]
            if len(first) < trials:
                yield from _run_one(study, objective, trials, seed, own)
                waiting = Waiting(LONG, lambda: _under_way(study))
            elif all(trial.state is TrialState.COMPLETE for trial in first):
                return
            else:
                waiting.on(POLL)


def is_configured(trial: optuna.Trial) -> bool:
    """Whether a trial is to be the one of the configured settings."""
    return bool(trial.user_attrs[CONFIGURED])


def _counted(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that are finished or under way, in the order in which they count."""
    found = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE, TrialState.RUNNING])
    return sorted(found, key=lambda trial: (not _may_be_configured(trial), trial.number))


def _may_be_configured(trial: FrozenTrial) -> bool:
    """Whether a trial is of the configured settings, or has not yet said what it is."""
    return bool(trial.user_attrs.get(CONFIGURED, True))


def _run_one(
    study: optuna.Study, objective: Callable[[optuna.Trial], float], trials: int, seed: int, own: Path
) -> list[int]:
    """Run a trial; its number, or nothing where others were faster or have given it up."""
    done: list[int] = []

    def run(trial: optuna.Trial) -> float:
        trial.set_user_attr(PROCESS, f"{BOOT}:{own}")
        before = [other for other in _counted(study) if other.number < trial.number]
        trial.set_user_attr(CONFIGURED, not any(_may_be_configured(other) for other in before))
        if len(before) >= trials:
            raise optuna.TrialPruned
        draw = _free(before)
        trial.set_user_attr(DRAW, draw)
        draws = int(np.random.SeedSequence([seed, draw]).generate_state(1)[0])
        study.sampler = optuna.samplers.TPESampler(seed=draws)
        try:
            value = objective(trial)
            if math.isnan(value):
                raise ValueError(f"the value of trial {trial.number} is not a number")
        except Exception:
            with suppress(OptunaError):
                trial.set_user_attr(TRACEBACK, traceback.format_exc())
            raise
        done.append(trial.number)
        return value

    try:
        study.optimize(run, n_trials=1)
    except (ValueError, AssertionError):  # what Optuna raises where others failed the trial while it ran here
        if not done or study.get_trials(deepcopy=False)[done[0]].state is not TrialState.FAIL:
            raise
        return []
    return done


def _free(before: list[FrozenTrial]) -> int:
    """The smallest number that no trial ``before`` this one draws, as many of them higher as have not chosen yet."""
    taken = {trial.user_attrs[DRAW] for trial in before if DRAW in trial.user_attrs}
    free = (number for number in itertools.count() if number not in taken)
    return next(itertools.islice(free, len(before) - len(taken), None))


def _fail_dead(study: optuna.Study, first_seen: dict[int, float]) -> None:
    """Fail the trials whose process is gone. ``first_seen``: when this process first saw each of those under way."""
    fail_stale_trials(study)
    for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
        # Optuna waits for ever for one that died before its first heartbeat.
        age = time.monotonic() - first_seen.setdefault(trial.number, time.monotonic())
        silent = BEATS not in trial.user_attrs and age > GRACE
        with _is_gone(trial) as gone, suppress(ValueError, UpdateFinishedTrialError):  # somebody else was faster
            if gone or silent:
                study.tell(trial.number, state=TrialState.FAIL)


@contextmanager
def _is_gone(trial: FrozenTrial) -> Iterator[bool]:
    """Whether the process of a trial is known to be dead: its file is to be seen from here, and nobody holds it."""
    boot, _, path = trial.user_attrs.get(PROCESS, "").partition(":")
    if boot == BOOT and Path(path).exists():
        with taken_over(Path(path)) as dead:
            yield dead
    else:
        yield False


def _under_way(study: optuna.Study) -> str:
    """Whose trials are waited for, and what would end that."""
    running = [trial for trial in _counted(study) if trial.state is TrialState.RUNNING]
    return "; ".join(f"trial {trial.number} runs elsewhere: {_who(trial)}" for trial in running) or "others"


def _who(trial: FrozenTrial) -> str:
    path = Path(trial.user_attrs.get(PROCESS, "").partition(":")[2])
    if path.is_file():
        return holder(path)
    return f"it is given up {GRACE} s after its process has died"


def _shown(url: SecretStr) -> str:
    """Driver, host and database of a URL: neither user nor password nor options."""
    try:
        parts = make_url(url.get_secret_value())
    except (SQLAlchemyError, ValueError):
        return "the URL"
    # Of a password with an @ in it, which should be %40, the rest is taken for the host.
    return f"{parts.drivername}://{(parts.host or '').rpartition('@')[2]}/{parts.database or ''}"


def _without_secrets(text: str, url: SecretStr) -> str:
    secrets = [url.get_secret_value()]
    with suppress(SQLAlchemyError, ValueError):
        parts = make_url(url.get_secret_value())
        values = [v for value in parts.query.values() for v in ([value] if isinstance(value, str) else value)]
        secrets += [str(parts.password or ""), (parts.host or "").rpartition("@")[0], *values]
    for secret in filter(None, secrets):
        text = text.replace(secret, "***")
    return " ".join(text.split())
