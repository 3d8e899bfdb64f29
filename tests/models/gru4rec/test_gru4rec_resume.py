"""Training that stops and goes on: resumed after any epoch, killed, ended early, started from old weights."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from chained_sessions import N_ITEMS, some_sessions
from gru4rec_fit import fit
from numpy.typing import NDArray

from sessrec_pipeline.models.base import Sessions
from sessrec_pipeline.models.gru4rec.network import GRU4Rec, extend_weights, initial_weights
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings
from sessrec_pipeline.training.loop import Epoch
from sessrec_pipeline.training.state import TrainingState, load_state

CONFIGS = {
    "plain": {},
    "momentum and both dropouts": {"momentum": 0.3, "dropout_embedding": 0.4, "dropout_hidden": 0.2},
    "cross-entropy": {"loss": "cross-entropy", "logq": 1, "dropout_hidden": 0.4, "momentum": 0.1},
    "stacked, separate": {"layers": [6, 9], "embedding": "separate", "momentum": 0.2, "dropout_hidden": 0.1},
    "stacked, one-hot": {"layers": [7, 5], "embedding": "none", "loss": "cross-entropy", "dropout_embedding": 0.3},
    "no samples": {"n_sample": 0},
}
each_config = pytest.mark.parametrize("changes", CONFIGS.values(), ids=CONFIGS.keys())


def config(**changes: object) -> GRU4RecSettings:
    return GRU4RecSettings.model_validate(
        {"layers": [8], "batch_size": 4, "n_epochs": 4, "n_sample": 5, "learning_rate": 0.1} | changes
    )


def bits(arrays: dict[str, NDArray]) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in arrays.items()}


@each_config
def test_resumed_at_each_epoch_equals_uninterrupted(changes: dict) -> None:
    conf, sessions = config(**changes), some_sessions()
    states: list[TrainingState] = []
    whole = fit(sessions, N_ITEMS, conf, on_epoch=lambda epoch: states.append(epoch.state()))
    assert [state.epoch for state in states] == [1, 2, 3, 4]
    assert len({state.arrays["weights.items"].tobytes() for state in states}) == 4, "states must be copies"
    for state in states:
        before = bits(state.arrays)
        later: list[int] = []
        ends: list[TrainingState] = []

        def on_epoch(epoch: Epoch, later: list[int] = later, ends: list[TrainingState] = ends) -> None:
            later.append(epoch.epoch)
            ends.append(epoch.state())

        resumed = fit(sessions, N_ITEMS, conf, on_epoch=on_epoch, resume=state)
        assert later == list(range(state.epoch + 1, 5))
        assert resumed.losses == whole.losses
        assert bits(resumed.weights()) == bits(whole.weights())
        if ends:
            assert bits(ends[-1].arrays) == bits(states[-1].arrays)
        assert bits(state.arrays) == before, "the caller's state was changed"


def test_more_epochs_may_follow() -> None:
    sessions = some_sessions()
    states: list[TrainingState] = []
    fit(sessions, N_ITEMS, config(n_epochs=2), on_epoch=lambda epoch: states.append(epoch.state()))
    resumed = fit(sessions, N_ITEMS, config(), resume=states[-1])
    assert bits(resumed.weights()) == bits(fit(sessions, N_ITEMS, config()).weights())


def test_states_of_others_are_refused() -> None:
    sessions = some_sessions()
    states: list[TrainingState] = []
    fit(sessions, N_ITEMS, config(), on_epoch=lambda epoch: states.append(epoch.state()))
    state = states[1]
    refused = {
        r"other settings: learning_rate 0\.1 instead of 0\.2, momentum 0\.0 instead of 0\.5": (
            N_ITEMS,
            config(learning_rate=0.2, momentum=0.5),
            state,
        ),
        r"another catalogue: weights\.items must have shape \(31, 8\), not \(30, 8\)": (N_ITEMS + 1, config(), state),
        r"training of 1 epochs cannot go on from a state after epoch 2": (N_ITEMS, config(n_epochs=1), state),
        r"without negatives": (
            N_ITEMS,
            config(),
            TrainingState(2, state.losses, {k: v for k, v in state.arrays.items() if k != "negatives"}),
        ),
        r"another kind of device": (
            N_ITEMS,
            config(),
            TrainingState(2, state.losses, state.arrays | {"dropout": np.zeros(16, np.uint8)}),
        ),
    }
    for sentence, (n_items, conf, bad) in refused.items():
        with pytest.raises(ValueError, match=sentence):
            fit(sessions, n_items, conf, resume=bad)


def test_on_epoch_false_stops() -> None:
    sessions = some_sessions()
    for answer, expected in ((False, [1, 2]), (None, [1, 2, 3, 4]), (True, [1, 2, 3, 4])):
        epochs: list[int] = []

        def on_epoch(epoch: Epoch, epochs: list[int] = epochs, answer: bool | None = answer) -> bool | None:
            epochs.append(epoch.epoch)
            return answer if epoch.epoch == 2 else None

        model = fit(sessions, N_ITEMS, config(), on_epoch=on_epoch)
        assert epochs == expected
        assert len(model.losses) == len(expected)
    early = fit(sessions, N_ITEMS, config(), on_epoch=lambda epoch: epoch.epoch < 2)
    assert bits(early.weights()) == bits(fit(sessions, N_ITEMS, config(n_epochs=2)).weights())


@each_config
def test_scoring_between_epochs_changes_nothing(changes: dict) -> None:
    conf, sessions = config(**changes), some_sessions()
    scored: list[NDArray] = []

    def on_epoch(epoch: Epoch) -> None:
        network = epoch.trainer.recommender()
        assert isinstance(network, GRU4Rec)
        network.weights()
        epoch.state()
        for _ in range(2):
            scored.append(np.concatenate([scores for _, scores in network.score(sessions, 7)]))

    model = fit(sessions, N_ITEMS, conf, on_epoch=on_epoch)
    assert bits(model.weights()) == bits(fit(sessions, N_ITEMS, conf).weights())
    assert not np.array_equal(scored[0], scored[2]), "the model that is handed over is not the one in training"
    last = np.concatenate([scores for _, scores in model.score(sessions, 7)])
    np.testing.assert_array_equal(scored[-1], last)
    again = GRU4Rec.from_weights(conf, N_ITEMS, model.weights())
    np.testing.assert_array_equal(last, np.concatenate([scores for _, scores in again.score(sessions, 7)]))


# --- killed ----------------------------------------------------------------------------------------------------------

CHILD = """
import sys
from pathlib import Path
import numpy as np, torch
from gru4rec_fit import fit
torch.set_num_threads(1)
from sessrec_pipeline.models.base import Sessions
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings
from sessrec_pipeline.models.gru4rec.trainer import GRU4RecTrainer
from sessrec_pipeline.training.state import load_state, save_state

folder, hang = Path(sys.argv[1]), int(sys.argv[2])
rng = np.random.default_rng(0)
sessions = Sessions.from_lists([rng.integers(0, 30, 6).tolist() for _ in range(30)])
config = GRU4RecSettings(layers=[8], batch_size=4, n_epochs=4, n_sample=5, momentum=0.2, dropout_hidden=0.2)
state_file = folder / "state.safetensors"
step, steps = GRU4RecTrainer.step, 0

def slow(*arguments):
    global steps
    steps += 1
    if steps == hang:
        (folder / "hangs").touch()
        while True:
            pass
    return step(*arguments)

GRU4RecTrainer.step = slow
resume = load_state(state_file, "key")
print("resumed after", 0 if resume is None else resume.epoch)
model = fit(sessions, 30, config, resume=resume, on_epoch=lambda epoch: save_state(state_file, epoch.state(), "key"))
np.savez(folder / "weights.npz", **model.weights())
"""


def run_child(folder: Path, hang: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), str(hang)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_killed_in_mid_epoch_and_run_again(tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    killed.mkdir()
    whole.mkdir()
    for hang, done in ((20, 0), (100, 2)):  # of about 40 steps an epoch
        child = run_child(killed, hang)
        deadline = time.monotonic() + 300  # importing torch can take a minute on a busy machine
        while not (killed / "hangs").exists() and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert (killed / "hangs").exists(), f"the child ended with {child.poll()}"
        child.send_signal(signal.SIGKILL)
        child.wait()
        (killed / "hangs").unlink()
        state = load_state(killed / "state.safetensors", "key")
        assert (0 if state is None else state.epoch) == done
    outputs = [run_child(folder, -1).communicate()[0] for folder in (killed, whole)]
    assert outputs == ["resumed after 2\n", "resumed after 0\n"]
    with np.load(killed / "weights.npz") as a, np.load(whole / "weights.npz") as b:
        assert bits(dict(a)) == bits(dict(b))


# --- warm start ------------------------------------------------------------------------------------------------------

MODES = [{"embedding": "shared"}, {"embedding": "separate", "layers": [6, 8]}, {"embedding": "none", "layers": [8, 7]}]
each_mode = pytest.mark.parametrize("changes", MODES, ids=lambda changes: changes["embedding"])


@each_mode
def test_extend_weights_moves_rows(changes: dict) -> None:
    conf = config(**changes)
    old = ["a", "b", "c", "d"]
    weights = fit(some_sessions(n_items=4), 4, conf).weights()
    before = bits(weights)
    new = ["x", "d", "a", "y", *(f"new {i}" for i in range(400)), "b"]
    extended = extend_weights(conf, weights, old, new)
    assert set(extended) == set(weights)
    untouched = initial_weights(conf, len(new))
    for name, array in extended.items():
        assert array.dtype == np.float32
        assert array.shape == tuple(untouched[name].shape)
        if name not in ("items", "item_bias", "inputs"):
            np.testing.assert_array_equal(array, weights[name])
            assert not np.shares_memory(array, weights[name])
            continue
        for item in ("d", "a", "b"):
            np.testing.assert_array_equal(array[new.index(item)], weights[name][old.index(item)])
        fresh = array[[0, *range(3, len(new) - 1)]]
        if name == "item_bias":
            assert not fresh.any()
        else:
            blocks = 3 if name == "inputs" and conf.embedding == "none" else 1
            bound = np.sqrt(6 / (len(new) + array.shape[1] // blocks))
            assert 0.95 * bound < np.abs(fresh).max() <= bound
            assert fresh.std() == pytest.approx(bound / np.sqrt(3), rel=0.06)
    assert bits(weights) == before
    assert bits(extend_weights(conf, weights, old, new)) == bits(extended)
    assert bits(extend_weights(conf, weights, old, old)) == before
    GRU4Rec.from_weights(conf, len(new), extended)


def test_new_items_of_different_days_differ() -> None:
    conf = config()
    first = extend_weights(conf, fit(some_sessions(n_items=2), 2, conf).weights(), ["a", "b"], ["a", "b", "c"])
    second = extend_weights(conf, first, ["a", "b", "c"], ["a", "c", "d"])
    assert not np.array_equal(first["items"][2], second["items"][2])
    other = extend_weights(config(seed=1), first, ["a", "b", "c"], ["a", "c", "d"])
    assert not np.array_equal(other["items"][2], second["items"][2])
    with pytest.raises(ValueError, match=r"weight items must have shape \(2, 8\), not \(3, 8\)"):
        extend_weights(conf, first, ["a", "b"], ["a"])


@each_mode
@pytest.mark.parametrize("loss", ["cross-entropy", "bpr-max"])
def test_warm_start_begins_below_a_cold_one(changes: dict, loss: str) -> None:
    conf = config(n_epochs=8, loss=loss, **changes)
    old = [str(i) for i in range(N_ITEMS)]
    new = [*reversed(old), "new"]
    weights = fit(some_sessions(200), N_ITEMS, conf).weights()
    # Tomorrow's sessions: the same law under the new indices, and the new item.
    sessions = some_sessions(150)
    sessions = Sessions((N_ITEMS - 1 - sessions.items).astype(np.int32), sessions.offsets)
    sessions.items[::40] = N_ITEMS
    start = extend_weights(conf, weights, old, new)
    before = bits(start)
    warm = fit(sessions, len(new), conf, initial=start)
    cold = fit(sessions, len(new), conf)
    assert warm.losses[0] < 0.97 * cold.losses[0]
    assert warm.losses[-1] < warm.losses[0]
    assert bits(start) == before
    assert bits(warm.weights()) != before


def test_initial_weights_of_another_shape_are_refused() -> None:
    weights = {name: tensor.numpy() for name, tensor in initial_weights(config(), N_ITEMS).items()}
    sessions = some_sessions()
    assert bits(fit(sessions, N_ITEMS, config(), initial=weights).weights()) == bits(
        fit(sessions, N_ITEMS, config()).weights()
    )
    with pytest.raises(ValueError, match=r"must have shape"):
        fit(sessions, N_ITEMS + 1, config(), initial=weights)
    with pytest.raises(ValueError, match=r"need the weights"):
        fit(sessions, N_ITEMS, config(embedding="separate"), initial=weights)


def test_a_resumed_warm_start_ends_the_same() -> None:
    conf, sessions = config(momentum=0.1), some_sessions()
    initial = fit(some_sessions(40), N_ITEMS, conf).weights()
    states: list[TrainingState] = []
    whole = fit(sessions, N_ITEMS, conf, on_epoch=lambda epoch: states.append(epoch.state()), initial=initial)
    resumed = fit(sessions, N_ITEMS, conf, resume=states[0], initial=initial)
    assert bits(resumed.weights()) == bits(whole.weights())
