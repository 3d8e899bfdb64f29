"""Two trained models of one feed never share a file, a folder or a rendezvous."""

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
from sessrec_pipeline.training.job import TRAINED, TrainingJob
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
    assert files(settings) == {"one.safetensors"}
    here("other", stride=0.9)
    assert files(settings) == {"one.safetensors", "other.safetensors"}
    resumed = here("one")
    assert resumed.losses[:2] == (1.0, 2.0), "it went on after epoch 2"
    assert resumed.losses[2] == pytest.approx(here("third").losses[2]), "from the weight that it had then"


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
    assert {name for name in files(settings) if (settings.training_states / name).parent not in (one, other)} == set()
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
