"""Two trained models of one feed never share a file, a folder or a rendezvous."""

import os
import re
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import numpy as np
import pytest
from fake_training import N_ITEMS, SESSIONS, WalkSettings, walk

import assets.training
from assets.training import torchrun_arguments, train_here, train_with_torchrun
from sessrec_pipeline.settings import ComputeSettings, Settings, TrainingSettings
from sessrec_pipeline.storage import owners
from sessrec_pipeline.storage.owners import BusyError, Waiting, locked
from sessrec_pipeline.training.job import STATE_LOCK, TRAINED, TrainingJob
from sessrec_pipeline.training.state import TrainingState, save_state

CONTEXT: Any = SimpleNamespace(
    log=SimpleNamespace(info=lambda line: None), log_event=lambda event: None, asset_key=dg.AssetKey("x")
)


def job(model: str, stride: float = 0.5) -> TrainingJob:
    """All jobs have the same key: the model alone must keep them apart."""
    settings = WalkSettings(n_epochs=3, stride=stride)
    return TrainingJob(model, SESSIONS, N_ITEMS, settings, None, ComputeSettings(), "key")


def files(settings: Settings) -> set[str]:
    folder = settings.training_states
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_states_are_files_of_their_own(feed: Callable[..., Settings]) -> None:
    """One is interrupted, the other one is trained, and then the first one goes on where it was."""
    settings = feed()

    def here(model: str, stride: float = 0.5, **scripted: Any) -> TrainingState:
        return train_here(CONTEXT, settings, walk(**scripted), job(model, stride), "cpu")

    with pytest.raises(dg.Failure, match="the loss of epoch 3 is nan"):
        here("one", losses=[1.0, 2.0, float("nan")])
    assert files(settings) == {"one.lock", "one.safetensors"}
    here("other", stride=0.9)
    assert files(settings) == {"one.lock", "one.safetensors", "other.lock", "other.safetensors"}
    resumed = here("one")
    assert resumed.losses[:2] == (1.0, 2.0), "it went on after epoch 2"
    assert resumed.losses[2] == pytest.approx(here("third").losses[2]), "from the weight that it had then"


class Trains(threading.Thread):
    """A training that is told when to go on after its first epoch."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings, self.begun, self.over = settings, threading.Event(), threading.Event()
        self.result: TrainingState | None = None

    def run(self) -> None:
        def log(line: str) -> None:
            self.begun.set()
            assert self.over.wait(60)

        context: Any = SimpleNamespace(**vars(CONTEXT) | {"log": SimpleNamespace(info=log)})
        self.result = train_here(context, self.settings, walk(), job("one"), "cpu")


def test_who_would_train_the_same_waits_and_then_has_it(
    feed: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another run, perhaps of another instance of Dagster, on another machine."""
    settings, said = feed(), list[str]()
    monkeypatch.setattr(owners, "NOTICE", 0.0)
    first = Trains(settings)
    first.start()
    assert first.begun.wait(60)
    monkeypatch.setattr(assets.training, "LONG", 0.2)
    whom = f"process {os.getpid()} on .*, holds .*one.lock; `kill {os.getpid()}` ends that"
    with pytest.raises(BusyError, match=whom):
        train_here(CONTEXT, settings, walk(), job("one"), "cpu")
    assert re.search(f"waiting, for at most 0.2 seconds: {whom}", capsys.readouterr().err)
    monkeypatch.setattr(assets.training, "LONG", 60)
    monkeypatch.setattr(Waiting, "on", lambda waiting: first.over.set() or first.join(60))
    context: Any = SimpleNamespace(**vars(CONTEXT) | {"log": SimpleNamespace(info=said.append)})
    second = train_here(context, settings, walk(), job("one"), "cpu")
    assert first.result is not None and second.losses == first.result.losses
    assert said == ["these 3 epochs were trained already, on the same events with the same settings and code"]


def test_a_job_is_not_written_while_torchrun_still_trains(
    feed: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it does where the process that started it was killed."""
    settings = feed(training=TrainingSettings(launcher="torchrun", processes=2))
    folder = settings.training_states / "torchrun" / "one"
    folder.mkdir(parents=True)
    (folder / "failed.txt").write_text("kept")
    monkeypatch.setattr(assets.training, "LONG", 0.0)
    with locked(folder / STATE_LOCK, 0), pytest.raises(BusyError, match=STATE_LOCK):
        train_with_torchrun(CONTEXT, settings, job("one"))
    assert (folder / "failed.txt").read_text() == "kept"


def test_jobs_of_torchrun_are_folders_of_their_own_and_meet_apart(
    feed: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = feed(
        training=TrainingSettings(launcher="torchrun", processes=2, nodes=2, rendezvous="gpu-0.example:29400")
    )
    launched: list[Path] = []

    def launch(context: dg.AssetExecutionContext, settings: Settings, folder: Path) -> list[dict[str, Any]]:
        """As if other processes had trained: what a model leaves is told by its folder."""
        launched.append(folder)
        result = TrainingState(1, (float(len(launched)),), {"weight": np.array([float(len(launched))])})
        save_state(folder / TRAINED, result, "key")
        return []

    monkeypatch.setattr(assets.training, "launch", launch)
    for number, model in enumerate(("one", "other"), 1):
        assert train_with_torchrun(CONTEXT, settings, job(model)).losses == (number,)
    one, other = launched
    assert one != other and one not in other.parents and other not in one.parents
    apart = {name for name in files(settings) if (settings.training_states / name).parent not in (one, other)}
    assert apart == {"torchrun/one.lock", "torchrun/other.lock"}
    meetings = [dict(pairwise(torchrun_arguments(settings, folder))) for folder in launched]
    assert meetings[0]["--rdzv-endpoint"] == meetings[1]["--rdzv-endpoint"]
    assert [meeting["--rdzv-id"] for meeting in meetings] == ["one", "other"]
    assert [meeting["sessrec_pipeline.training.worker"] for meeting in meetings] == [str(one), str(other)]


def test_on_one_node_every_training_meets_at_a_port_of_its_own(feed: Callable[..., Settings]) -> None:
    """``--standalone`` lets torchrun choose a free one."""
    settings = feed(training=TrainingSettings(launcher="torchrun", processes=2))
    for model in ("one", "other"):
        arguments = torchrun_arguments(settings, Path("/states/torchrun") / model)
        assert arguments[0] == "--standalone" and "--rdzv-endpoint" not in arguments
        assert arguments[-1] == f"/states/torchrun/{model}"
