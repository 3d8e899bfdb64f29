"""Steps padded to one shape train as the others do; a captured step needs nothing but its own memory."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from gru4rec_fit import fit
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sessrec_pipeline.models.base import Arrays, Sessions
from sessrec_pipeline.models.gru4rec import adagrad
from sessrec_pipeline.models.gru4rec.cuda_graphs import WARM_UP, StepGraph
from sessrec_pipeline.models.gru4rec.network import GRU4Rec, initial_weights, schedule
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings
from sessrec_pipeline.models.gru4rec.trainer import GRU4RecTrainer
from sessrec_pipeline.training.loop import Epoch
from sessrec_pipeline.training.state import TrainingState

N_ITEMS = 12
CONFIGS = {
    "bpr-max": {"loss": "bpr-max", "bpreg": 1.7, "elu_param": 0.5, "momentum": 0.3},
    "bpr-max without elu": {"loss": "bpr-max", "elu_param": 0, "bpreg": 0.4},
    "bpr-max, separate, two layers": {"loss": "bpr-max", "embedding": "separate", "layers": [6, 8], "momentum": 0.2},
    "bpr-max, one-hot": {"loss": "bpr-max", "embedding": "none"},
    "cross-entropy with logq": {"loss": "cross-entropy", "logq": 0.7, "sample_alpha": 0.4, "momentum": 0.3},
    "cross-entropy, separate": {"loss": "cross-entropy", "embedding": "separate"},
    "cross-entropy, one-hot, two layers": {"loss": "cross-entropy", "embedding": "none", "layers": [7, 5], "logq": 1},
    "dropout": {"loss": "bpr-max", "dropout_embedding": 0.4, "dropout_hidden": 0.2, "layers": [6, 8]},
    "no samples": {"loss": "bpr-max", "n_sample": 0, "momentum": 0.1},
    "no samples, cross-entropy": {"loss": "cross-entropy", "n_sample": 0},
    "no negatives": {"loss": "bpr-max", "n_sample": 0, "batch_size": 1},
    "every item is sampled": {"loss": "bpr-max", "n_sample": 200},
    "two full steps": {"batch_size": 23, "momentum": 0.1},
    "more slots than sessions": {"batch_size": 50},
}
each_config = pytest.mark.parametrize("changes", CONFIGS.values(), ids=CONFIGS.keys())


def config(**changes: object) -> GRU4RecSettings:
    return GRU4RecSettings.model_validate(
        {"layers": [8], "batch_size": 4, "n_epochs": 2, "n_sample": 6, "learning_rate": 0.1} | changes
    )


def some_sessions(n: int = 30) -> Sessions:
    """So few items that inputs, targets and samples of a step are often the same."""
    rng = np.random.default_rng(0)
    return Sessions.from_lists([rng.integers(0, N_ITEMS, rng.integers(1, 8)).tolist() for _ in range(n)])


def trainer(conf: GRU4RecSettings, *, fixed_shapes: bool | None, device: str = "cpu") -> GRU4RecTrainer:
    sessions = some_sessions()
    tensors = {name: tensor.to(device) for name, tensor in initial_weights(conf, N_ITEMS).items()}
    plan = schedule(sessions, conf.batch_size, with_last=False)
    return GRU4RecTrainer(GRU4Rec(conf, N_ITEMS, tensors), sessions, plan, fixed_shapes=fixed_shapes)


def assert_alike(state: Arrays, expected: Arrays, rtol: float = 1e-4, atol: float = 1e-6) -> None:
    assert state.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(state[name], array, rtol=rtol, atol=atol, err_msg=name)


# --- padding ---------------------------------------------------------------------------------------------------------


@each_config
def test_padded_steps_equal_the_others(changes: dict) -> None:
    conf = config(**changes)
    padded, plain = trainer(conf, fixed_shapes=True), trainer(conf, fixed_shapes=False)
    for _ in range(2):
        states = [training.model.zero_states(1) for training in (padded, plain)]
        full = []
        for blocks in zip(padded.batches.epoch(), plain.batches.epoch(), strict=True):
            for ours, theirs in zip(*blocks, strict=True):
                loss, states[0] = padded.step(ours, states[0])
                expected, states[1] = plain.step(theirs, states[1])
                torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
                assert theirs.packed is None
                full.append(ours.packed is not None)
                assert full[-1] == (len(ours.inputs) == conf.batch_size)
                if full[-1]:
                    shapes = [tuple(part.shape) for part in (ours.columns, ours.more_inputs)]
                    assert shapes == [(conf.batch_size + conf.n_sample,), (conf.batch_size,)]
        assert sum(full) == {23: 2, 50: 0}.get(conf.batch_size, sum(full))
        assert sum(full) > 10 or conf.batch_size > 4
        assert not all(full) or conf.batch_size == 1
    assert_alike(padded.state(), plain.state())


@each_config
def test_the_spare_row_never_changes(changes: dict) -> None:
    training = trainer(config(**changes), fixed_shapes=True)
    training.epoch()
    for name, table in training.tables.items():
        optimiser = training.optimisers[name]
        assert len(table) == N_ITEMS + 1
        assert not table[-1].any()
        assert (optimiser.squares[-1] == adagrad.EPSILON).all()
        assert optimiser.velocity is None or not optimiser.velocity[-1].any()
        assert training.model.tensors[name].data_ptr() == table.data_ptr()
    again = GRU4Rec.from_weights(training.config, N_ITEMS, training.model.weights())
    for ours, theirs in zip(training.model.score(some_sessions(), 7), again.score(some_sessions(), 7), strict=True):
        np.testing.assert_array_equal(ours[1], theirs[1])


def test_either_goes_on_from_the_state_of_the_other() -> None:
    conf = config(momentum=0.2, dropout_hidden=0.2)
    ends = []
    for first, second in ((True, False), (False, True), (False, False)):
        one, other = trainer(conf, fixed_shapes=first), trainer(conf, fixed_shapes=second)
        one.epoch()
        other.restore(one.state())
        other.epoch()
        ends.append(other.state())
    assert_alike(ends[0], ends[2])
    assert_alike(ends[1], ends[2])


@given(data=st.data(), shared=st.booleans(), n=st.integers(0, 6), b=st.integers(1, 5), steps=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_places_among_padded_rows(data: st.DataObject, shared: bool, n: int, b: int, steps: int) -> None:
    conf = config(embedding="shared" if shared else "none", n_sample=n, batch_size=b, loss="cross-entropy", logq=1)
    rows = st.lists(st.integers(0, N_ITEMS - 1), min_size=steps * b, max_size=steps * b)
    inputs, targets = np.array(data.draw(rows)), np.array(data.draw(rows))
    drawn = st.lists(st.integers(0, N_ITEMS - 1), min_size=n, max_size=n).map(sorted)
    samples = np.array([data.draw(drawn) for _ in range(steps)], dtype=np.int64).reshape(steps, n)
    ours, theirs = (
        trainer(conf, fixed_shapes=fixed).batches.block(
            inputs, targets, np.full(steps * b, -1), np.full(steps, b), samples
        )
        for fixed in (True, False)
    )
    for padded, plain in zip(ours, theirs, strict=True):
        for name in ("inputs", "targets", "rows", "kept", "target_gain"):
            assert torch.equal(getattr(padded, name), getattr(plain, name)), name
        for name, width in (("columns", b + n), ("more_inputs", b)):
            filled, own = getattr(padded, name).tolist(), getattr(plain, name).tolist()
            assert filled == own + [N_ITEMS] * (width - len(own)), name
        gain = padded.log_count.tolist()
        assert gain == plain.log_count.tolist() + [-np.inf] * (b + n - len(plain.log_count))
        used = torch.cat((padded.more_inputs, padded.columns)) if shared else padded.more_inputs
        assert torch.equal(padded.columns[padded.target_place], padded.targets)
        assert torch.equal(used[padded.input_place], padded.inputs)


# --- the graph -------------------------------------------------------------------------------------------------------


class Recorder(TorchDispatchMode):
    """Notes down each operation with the very tensors that it read and wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[tuple[Any, tuple, dict, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        assert all(isinstance(leaf, Tensor) for leaf in tree_leaves(out)), f"{func} brings a value to the host"
        self.noted.append((func, args, kwargs or {}, out))
        return out


class RecordedGraph:
    """A CUDA graph as a CPU can have it: operations run again in the memory that they had when they were captured."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.calls: list[str] = []

    def warm_up(self, work: Callable[[], None]) -> None:
        self.calls.append("warm up")
        work()

    def capture(self, work: Callable[[], None]) -> None:
        self.calls.append("capture")
        with self.recorder:
            work()

    def replay(self) -> None:
        self.calls.append("replay")
        if self.calls[-2] == "capture":  # which ran the work, as that of CUDA does not
            return
        for func, args, kwargs, out in self.recorder.noted:
            if func._schema.is_mutable:
                func(*args, **kwargs)
            elif not memory(out) & memory((args, kwargs)):  # else it is a view
                for old, new in zip(tree_leaves(out), tree_leaves(func(*args, **kwargs)), strict=True):
                    old.copy_(new)


def memory(tree: Any) -> set[int]:
    return {leaf.untyped_storage().data_ptr() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)}


@each_config
def test_replayed_steps_equal_the_others(changes: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three epochs, as a CUDA graph would run them: shapes, memory and all that Python computes stay as captured."""
    monkeypatch.setattr(adagrad.Adagrad, "_step_rows_on_cpu", adagrad.Adagrad._step_rows)  # torch does not see numba
    conf = config(**changes)
    replayed, plain = trainer(conf, fixed_shapes=True), trainer(conf, fixed_shapes=False)
    graph = RecordedGraph()
    replayed.graph = StepGraph(graph)
    for _ in range(3):
        assert replayed.epoch() == pytest.approx(plain.epoch(), rel=1e-4)
        assert_alike(replayed.state(), plain.state())
    full = 3 * int((np.diff(plain.batches.plan.offsets) == conf.batch_size).sum())
    expected = ["warm up"] * WARM_UP + ["capture"] + ["replay"] * (full - WARM_UP)
    assert graph.calls == (expected if full else [])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
class TestOnAGPU:
    @each_config
    def test_the_graph_equals_single_kernels(self, changes: dict) -> None:
        conf = config(**changes)
        graph = trainer(conf, fixed_shapes=True, device="cuda")
        plain = trainer(conf, fixed_shapes=False, device="cuda")
        assert graph.graph is not None
        assert plain.graph is None
        for _ in range(3):
            assert graph.epoch() == pytest.approx(plain.epoch(), rel=1e-4)
            assert_alike(graph.state(), plain.state(), rtol=1e-3, atol=1e-5)  # a GPU adds in any order

    @pytest.mark.parametrize("loss", ["cross-entropy", "bpr-max"])
    def test_it_equals_the_cpu(self, loss: str) -> None:
        conf = config(loss=loss, momentum=0.2)
        on_gpu, on_cpu = (fit(some_sessions(), N_ITEMS, conf, device) for device in ("cuda", "cpu"))
        np.testing.assert_allclose(on_gpu.losses, on_cpu.losses, rtol=1e-4)
        for name, array in on_cpu.weights().items():
            np.testing.assert_allclose(on_gpu.weights()[name], array, rtol=1e-3, atol=1e-5, err_msg=name)

    def test_resumed_after_an_epoch(self) -> None:
        conf = config(n_epochs=3, momentum=0.2, dropout_embedding=0.3, dropout_hidden=0.2)
        states: list[TrainingState] = []

        def on_epoch(epoch: Epoch) -> None:
            states.append(epoch.state())

        whole = fit(some_sessions(), N_ITEMS, conf, "cuda", on_epoch)
        resumed = fit(some_sessions(), N_ITEMS, conf, "cuda", on_epoch, resume=states[0])
        assert resumed.losses == pytest.approx(whole.losses, rel=1e-4)
        assert_alike(states[-1].arrays, states[2].arrays, rtol=1e-3, atol=1e-5)
        assert len({state.arrays["dropout"].tobytes() for state in states[:3]}) == 3, "the generator stood still"
