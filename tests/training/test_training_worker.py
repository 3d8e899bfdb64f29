"""What a training process leaves in its job's folder, and how the asset starts it; ``test_torchrun.py`` has several."""

import socket
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
import torch

import assets.training
from assets.training import torchrun_arguments, train_with_torchrun
from sessrec_pipeline.models.base import Sessions, Training
from sessrec_pipeline.models.gru4rec import CARD
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings
from sessrec_pipeline.settings import ComputeSettings, Settings, TrainingSettings
from sessrec_pipeline.training import worker
from sessrec_pipeline.training.job import FAILED, STATE, TRAINED, TrainingJob, write_job
from sessrec_pipeline.training.loop import TrainingDiverged, train
from sessrec_pipeline.training.state import load_state

CONFIG = GRU4RecSettings(layers=[8], batch_size=4, n_epochs=2, n_sample=6, dropout_hidden=0.2)


def job() -> TrainingJob:
    rng = np.random.default_rng(0)
    sessions = Sessions.from_lists([rng.integers(0, 20, 5).tolist() for _ in range(30)])
    return TrainingJob("gru4rec", sessions, 20, CONFIG, None, ComputeSettings(), "key")


@pytest.fixture
def only_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment that torchrun gives to one process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    for name, value in world.items():
        monkeypatch.setenv(name, str(value))


@pytest.mark.usefixtures("only_rank")
def test_one_process_trains_what_the_loop_trains(tmp_path: Path) -> None:
    write_job(tmp_path, job())
    worker.main(tmp_path)
    trained = load_state(tmp_path / TRAINED, "key")
    expected = train(CARD.trained_by(), job().sessions, 20, CONFIG)
    assert trained is not None and trained.losses == expected.losses
    weights = expected.trainer.arrays()
    assert set(trained.arrays) == set(weights)
    for name, array in weights.items():
        np.testing.assert_array_equal(trained.arrays[name], array)
    assert load_state(tmp_path / STATE, "key cpu 1") is not None
    assert load_state(tmp_path / STATE, "key cpu 2") is None, "more processes would round otherwise"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "n_sample = 6"),
        (MemoryError(), "n_sample = 6"),
        (TrainingDiverged("the loss of epoch 1 is nan"), "the loss of epoch 1 is nan"),
    ],
)
def test_what_would_happen_again_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str
) -> None:
    write_job(tmp_path, job())
    begun: list[Path] = []

    def take_part(folder: Path, job: TrainingJob, training: Training[Any]) -> None:
        begun.append(folder)
        raise error

    monkeypatch.setattr(worker, "take_part", take_part)
    with pytest.raises(SystemExit) as ended:
        worker.main(tmp_path)
    assert ended.value.code == 1, "or torchrun would let the other processes wait"
    assert sentence in (tmp_path / FAILED).read_text()
    worker.main(tmp_path)  # started again by torchrun
    assert len(begun) == 1


@pytest.mark.parametrize(
    ("left", "sentence"),
    [
        ("the loss of epoch 1 is nan", "the loss of epoch 1 is nan; the last checkpoint stays as it was"),
        (None, "a training process died, and again after each of 3 restarts"),
    ],
)
def test_the_asset_says_why_training_ended(
    feed: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, left: str | None, sentence: str
) -> None:
    settings = feed(training=TrainingSettings(launcher="torchrun", processes=2))

    def launch(context: dg.AssetExecutionContext, settings: Settings, folder: Path) -> Sequence[dict[str, Any]]:
        if left is not None:
            (folder / FAILED).write_text(left)
        raise RuntimeError("External execution process failed with code 1")

    monkeypatch.setattr(assets.training, "launch", launch)
    with pytest.raises(dg.Failure) as failure:
        train_with_torchrun(dg.build_asset_context(), settings, job())
    assert sentence in str(failure.value.description)


def test_nodes_meet_where_the_settings_say(feed: Callable[..., Settings]) -> None:
    one = feed(training=TrainingSettings(launcher="torchrun", processes=2))
    arguments = torchrun_arguments(one, Path("/job"))
    assert arguments[:3] == ["--standalone", "--local-addr", "127.0.0.1"]
    assert arguments[-3:] == ["-m", "sessrec_pipeline.training.worker", "/job"]
    training = TrainingSettings(launcher="torchrun", processes=4, nodes=3, rendezvous="gpu-0.example:29400")
    arguments = torchrun_arguments(feed(training=training), Path("/job"))
    told = dict(pairwise(arguments))
    assert told["--nnodes"] == "3" and told["--nproc-per-node"] == "4"
    assert told["--rdzv-endpoint"] == "gpu-0.example:29400" and "--standalone" not in arguments


@pytest.mark.parametrize(
    ("training", "sentence"),
    [
        ({"processes": 2}, 'processes and nodes are for launcher = "torchrun"'),
        ({"launcher": "torchrun", "nodes": 2}, "more than one node needs rendezvous"),
        ({"launcher": "torchrun", "rendezvous": "a:1"}, "more than one node needs rendezvous"),
        ({"launcher": "torchrun", "nodes": 2, "rendezvous": "a"}, "pattern"),
        ({"launcher": "torchrun", "nodes": 2, "rendezvous": "--x:1"}, "pattern"),
    ],
)
def test_settings_of_a_launcher_fit_together(training: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        TrainingSettings.model_validate(training)
