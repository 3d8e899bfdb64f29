"""GRU4Rec trained by several processes for real: pytest -m distributed tests/training/test_torchrun.py"""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

import assets.training
from assets.graph import build
from assets.ingestion import landed_logs
from assets.runs import execute, ingest
from sessrec_pipeline.logs.synthetic import write_logs
from sessrec_pipeline.models.base import Sessions
from sessrec_pipeline.models.gru4rec import CARD
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings
from sessrec_pipeline.settings import ComputeSettings, Settings, SyntheticSettings, TrainingSettings
from sessrec_pipeline.storage.store import Store
from sessrec_pipeline.training.job import STATE, TRAINED, TrainingJob, write_job
from sessrec_pipeline.training.loop import train
from sessrec_pipeline.training.state import TrainingState, load_state

pytestmark = [pytest.mark.distributed, pytest.mark.usefixtures("no_drawings")]

N_ITEMS = 60
WATCHED = Path(__file__).parent / "watched_worker.py"
CONFIGS: dict[str, dict[str, Any]] = {
    "bpr-max-shared": {"dropout_embedding": 0.3, "dropout_hidden": 0.2, "momentum": 0.2},
    "cross-entropy-shared": {"loss": "cross-entropy", "logq": 1, "dropout_hidden": 0.3},
    "bpr-max-separate": {"embedding": "separate", "layers": [12, 16], "dropout_hidden": 0.1},
    "cross-entropy-separate": {"embedding": "separate", "loss": "cross-entropy", "dropout_embedding": 0.2},
}


def config(**changes: object) -> GRU4RecSettings:
    return GRU4RecSettings.model_validate(
        {"layers": [16], "batch_size": 16, "n_epochs": 4, "n_sample": 32, "learning_rate": 0.1} | changes
    )


def some_sessions() -> Sessions:
    """Item i is mostly followed by i + 1."""
    rng = np.random.default_rng(0)
    firsts, lengths = rng.integers(0, N_ITEMS, 300), rng.integers(1, 9, 300)
    return Sessions.from_lists([[int(f + k) % N_ITEMS for k in range(n)] for f, n in zip(firsts, lengths, strict=True)])


def job(folder: Path, **changes: object) -> Path:
    job = TrainingJob("gru4rec", some_sessions(), N_ITEMS, config(**changes), None, ComputeSettings(), "key")
    write_job(folder, job)
    return folder


def torchrun(*arguments: object) -> "subprocess.Popen[str]":
    environment = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": os.pathsep.join(sys.path)}
    environment |= assets.training.OWN_STORE
    command = [sys.executable, "-m", "torch.distributed.run", "--local-addr", "127.0.0.1", *map(str, arguments)]
    return subprocess.Popen(command, env=os.environ | environment, stderr=subprocess.PIPE, text=True)


def finished(*agents: "subprocess.Popen[str]") -> None:
    try:
        for agent in agents:
            told = agent.communicate(timeout=120)[1]
            assert agent.returncode == 0, told
    finally:
        for agent in agents:
            agent.terminate()  # one that hangs takes its processes with it


def trained(folder: Path) -> TrainingState:
    state = load_state(folder / TRAINED, "key")
    assert state is not None
    return state


def same_bits(one: TrainingState, other: TrainingState) -> bool:
    return one.losses == other.losses and all(
        array.tobytes() == other.arrays[name].tobytes() for name, array in one.arrays.items()
    )


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with that of each config, which two processes have trained."""
    home = tmp_path_factory.mktemp("together")
    folders = [job(home / name, **changes) for name, changes in CONFIGS.items()]
    finished(torchrun("--standalone", "--nproc-per-node", 2, WATCHED, *folders))
    return home


@pytest.mark.parametrize("name", CONFIGS)
def test_two_processes_train_what_one_trains(together: Path, name: str) -> None:
    ours = trained(together / name)
    alone = train(CARD.trained_by(), some_sessions(), N_ITEMS, config(**CONFIGS[name]))
    np.testing.assert_allclose(ours.losses, alone.losses, rtol=1e-5)
    assert ours.losses[-1] < ours.losses[0]
    for weight, array in alone.trainer.arrays().items():
        np.testing.assert_allclose(ours.arrays[weight], array, rtol=1e-3, atol=1e-4, err_msg=weight)
    notes = [(together / name / f"agreed-{rank}").read_text() for rank in range(2)]
    assert notes[0] == notes[1] and notes[0].count("the weights after epoch") == 4


def test_two_agents_that_meet_train_the_same(together: Path, tmp_path: Path) -> None:
    """As two nodes do, each with a torchrun of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
    folder = job(tmp_path, **CONFIGS["bpr-max-shared"])
    meet = ["--nnodes", 2, "--rdzv-backend", "c10d", "--rdzv-id", "test", "--rdzv-endpoint", endpoint]
    finished(*[torchrun(*meet, "-m", "sessrec_pipeline.training.worker", folder) for _ in range(2)])
    assert same_bits(trained(folder), trained(together / "bpr-max-shared"))


def test_ranks_that_are_killed_cost_the_epoch_they_were_in(together: Path, tmp_path: Path) -> None:
    folder = job(tmp_path, **CONFIGS["bpr-max-shared"])
    (folder / "die-1-0").touch()
    (folder / "die-0-2").touch()
    finished(torchrun("--standalone", "--nproc-per-node", 2, "--max-restarts", 2, WATCHED, folder))
    assert same_bits(trained(folder), trained(together / "bpr-max-shared"))
    epochs = [line.split(":")[0][-1] for line in (folder / "agreed-1").read_text().splitlines() if "epoch" in line]
    assert epochs == ["1", "2", "3", "4"], "no finished epoch is trained twice"


# --- the asset --------------------------------------------------------------------------------------------------------

LAW = SyntheticSettings(sessions=200, items=N_ITEMS, days=2)
UPSTREAM = ["sessions", "train_split", "popularity"]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def test_the_asset_trains_in_two_processes_and_tells_of_each_epoch(
    feed: Callable[..., Settings], instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    two = TrainingSettings(launcher="torchrun", processes=2)
    settings = feed(models=["gru4rec"], gru4rec=config(**CONFIGS["bpr-max-shared"]), training=two)
    logs = [log.name for log in write_logs(LAW, settings.landing)]
    definitions, folder = build(settings), settings.training_states / "torchrun" / "gru4rec"
    instance.add_dynamic_partitions(str(landed_logs.name), logs)
    assert ingest(definitions, logs, instance) == ({}, {})

    def run(*names: str) -> dg.ExecuteInProcessResult:
        keys = [dg.AssetKey(name) for name in names]
        return execute(definitions.resolve_job_def("rebuild"), instance, asset_selection=keys)

    def told(result: dg.ExecuteInProcessResult) -> str:
        return "\n".join(entry.user_message for entry in instance.all_logs(result.run_id))

    result = run(*UPSTREAM, "gru4rec_checkpoint")
    assert result.success
    stored = Store(settings).find("gru4rec_checkpoint")
    observed = [event.asset_observation_data.asset_observation for event in result.get_asset_observation_events()]
    assert [observation.metadata["epoch"].value for observation in observed] == [1, 2, 3, 4]
    assert observed[-1].metadata["loss"].value == stored.stats["loss"] < observed[0].metadata["loss"].value
    assert all(f"epoch {n} of 4: loss " in told(result) for n in range(1, 5))
    assert (stored.stats["launcher"], stored.stats["processes"]) == ("torchrun", 2)
    here = build(settings.model_copy(update={"training": TrainingSettings()}))
    nodes = [d.resolve_asset_graph().get(dg.AssetKey("gru4rec_checkpoint")) for d in (here, definitions)]
    assert nodes[0].code_version == nodes[1].code_version, "who trains makes nothing stale"

    # A rank is killed and nothing is started again: one sentence, and the next run goes on where that one was.
    arguments = assets.training.torchrun_arguments

    def watched(settings: Settings, folder: Path) -> list[str]:
        return [*arguments(settings, folder)[:-3], str(WATCHED), str(folder)]

    (folder / STATE).unlink()
    (folder / "die-1-2").touch()
    monkeypatch.setattr(assets.training, "RESTARTS", 0)
    monkeypatch.setattr(assets.training, "torchrun_arguments", watched)
    result = run("gru4rec_checkpoint")
    assert not result.success
    (failed,) = result.get_step_failure_events()
    assert "a training process died" in str(failed.step_failure_data.user_failure_data.description)
    assert Store(settings).find("gru4rec_checkpoint").node.id == stored.node.id
    result = run("gru4rec_checkpoint")
    assert result.success and "going on after epoch 2" in told(result)
    assert Store(settings).find("gru4rec_checkpoint").node.data_version == stored.node.data_version
