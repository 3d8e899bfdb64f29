"""GRU4Rec against textbook code in float64, and a guard for each fault that other versions had (arXiv 2307.14956)."""

import math
import random
from itertools import chain, pairwise

import numpy as np
import pytest
import torch
from gru4rec_fit import fit
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sessrec_pipeline.models.base import Sessions
from sessrec_pipeline.models.gru4rec import network
from sessrec_pipeline.models.gru4rec.adagrad import Adagrad
from sessrec_pipeline.models.gru4rec.batches import Batch, Negatives
from sessrec_pipeline.models.gru4rec.losses import bpr_max, cross_entropy
from sessrec_pipeline.models.gru4rec.network import GRU4Rec, initial_weights, schedule, weight_shapes
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings
from sessrec_pipeline.models.gru4rec.trainer import GRU4RecTrainer
from sessrec_pipeline.training.loop import Epoch, TrainingDiverged

N_ITEMS = 12


def config(**changes: object) -> GRU4RecSettings:
    return GRU4RecSettings.model_validate(
        {"layers": [8], "batch_size": 4, "n_epochs": 1, "n_sample": 5, "learning_rate": 0.1} | changes
    )


def some_sessions(n: int = 20, seed: int = 0, longest: int = 7, n_items: int = N_ITEMS) -> Sessions:
    rng = np.random.default_rng(seed)
    return Sessions.from_lists([rng.integers(0, n_items, rng.integers(1, longest + 1)).tolist() for _ in range(n)])


def as_lists(sessions: Sessions) -> list[list[int]]:
    return [part.tolist() for part in np.split(sessions.items, sessions.offsets[1:-1])]


def trainer(sessions: Sessions, conf: GRU4RecSettings, n_items: int = N_ITEMS) -> GRU4RecTrainer:
    plan = schedule(sessions, conf.batch_size, with_last=False)
    return GRU4RecTrainer(GRU4Rec(conf, n_items, initial_weights(conf, n_items)), sessions, plan)


def one_batch(training: GRU4RecTrainer, inputs: list[int], targets: list[int], sampled: list[int]) -> Batch:
    """A step in which row i of the states carries on as row i."""
    drawn = np.array([sorted(sampled)], dtype=np.int64)
    rows, sizes = np.arange(len(inputs)), np.array([len(inputs)])
    (batch,) = training.batches.block(np.array(inputs), np.array(targets), rows, sizes, drawn)
    return batch


def untrained(conf: GRU4RecSettings, n_items: int = N_ITEMS, scale: float = 3.0) -> GRU4Rec:
    """A model with large weights and with biases, so that no mistake hides behind small numbers."""
    generator = torch.Generator().manual_seed(1)
    tensors = {
        name: scale * (tensor if tensor.dim() == 2 else torch.randn(tensor.shape, generator=generator))
        for name, tensor in initial_weights(conf, n_items).items()
    }
    return GRU4Rec(conf, n_items, tensors)


def scores_by_event(model: GRU4Rec, sessions: Sessions, batch_size: int) -> np.ndarray:
    table = np.full((len(sessions.items), model.n_items), np.nan, dtype=np.float32)
    for events, scores in model.score(sessions, batch_size):
        assert len(events) <= batch_size
        assert np.isnan(table[events]).all(), "an event was scored twice"
        table[events] = scores
    assert not np.isnan(table).any(), "an event was not scored"
    return table


# --- textbook code ---------------------------------------------------------------------------------------------------


def textbook_gru(weights: dict[str, Tensor], i: int, x: Tensor, h: Tensor) -> Tensor:
    """One layer for one session, gate by gate; x is (3h,) where the layer has no matrix of inputs."""
    n = len(h)
    matrix = weights.get(f"layer{i}.input")
    from_x = (x if matrix is None else x @ matrix) + weights[f"layer{i}.bias"]
    state, candidate = weights[f"layer{i}.state"], weights[f"layer{i}.candidate"]
    r = torch.sigmoid(from_x[:n] + h @ state[:, :n])
    z = torch.sigmoid(from_x[n : 2 * n] + h @ state[:, n:])
    proposal = torch.tanh(from_x[2 * n :] + (r * h) @ candidate)
    return (1 - z) * h + z * proposal


def textbook_states(
    conf: GRU4RecSettings, weights: dict[str, Tensor], item: int, states: list[Tensor] | None
) -> list[Tensor]:
    states = states or [torch.zeros(units, dtype=torch.float64) for units in conf.layers]
    x = weights["items" if conf.embedding == "shared" else "inputs"][item]
    after = []
    for i, h in enumerate(states):
        x = textbook_gru(weights, i, x, h)
        after.append(x)
    return after


def textbook_scores(model: GRU4Rec, session: list[int]) -> np.ndarray:
    """Scores after each event of one session, (events, n_items)."""
    weights = {name: torch.from_numpy(array).double() for name, array in model.weights().items()}
    states, rows = None, []
    for item in session:
        states = textbook_states(model.config, weights, item, states)
        rows.append(weights["items"] @ states[-1] + weights["item_bias"])
    return torch.stack(rows).numpy()


def textbook_bpr_max(scores: list[Tensor], target: int, elu: float, bpreg: float) -> Tensor:
    r = [x if x > 0 or elu == 0 else elu * (torch.exp(x) - 1) for x in scores]
    negatives = [j for j in range(len(r)) if j != target]
    if not negatives:
        return 0 * r[target]
    total = sum(torch.exp(r[j]) for j in negatives)
    weight = {j: torch.exp(r[j]) / total for j in negatives}
    likelihood = sum(weight[j] / (1 + torch.exp(r[j] - r[target])) for j in negatives)
    return -torch.log(likelihood) + bpreg * sum(weight[j] * r[j] ** 2 for j in negatives)


def textbook_cross_entropy(scores: list[Tensor], target: int) -> Tensor:
    return -torch.log(torch.exp(scores[target]) / sum(torch.exp(x) for x in scores))


def textbook_fit(
    sessions: list[list[int]], conf: GRU4RecSettings, start: dict[str, Tensor], samples: list[list[int]]
) -> tuple[dict[str, np.ndarray], float]:
    """One epoch with a loop over slots, scalar losses, and tables that are differentiated and updated whole."""
    weights = {name: tensor.double() for name, tensor in start.items()}
    squares = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    velocity = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    flat = [item for session in sessions for item in session]
    support = np.array([flat.count(item) for item in range(N_ITEMS)], dtype=float)
    waiting = [session for session in sessions if len(session) > 1]
    slots: list[dict] = [{} for _ in range(conf.batch_size)]
    total, step = 0.0, 0
    while True:
        for slot in slots:
            if (not slot or slot["at"] + 1 == len(slot["session"])) and waiting:
                slot.update(session=waiting.pop(0), at=0, states=None)
        slots = [slot for slot in slots if slot and slot["at"] + 1 < len(slot["session"])]
        if not slots:
            break
        for tensor in weights.values():
            tensor.requires_grad_()
        targets = [slot["session"][slot["at"] + 1] for slot in slots]
        inputs = [slot["session"][slot["at"]] for slot in slots]
        sampled = samples[step]
        loss = torch.zeros((), dtype=torch.float64)
        for i, slot in enumerate(slots):
            slot["states"] = textbook_states(conf, weights, inputs[i], slot["states"])
            scores = [weights["items"][j] @ slot["states"][-1] + weights["item_bias"][j] for j in targets + sampled]
            if conf.loss == "cross-entropy":
                chance = [support[j] / support.sum() for j in targets]
                chance += [support[j] ** conf.sample_alpha / (support**conf.sample_alpha).sum() for j in sampled]
                scores = [score - conf.logq * math.log(p) for score, p in zip(scores, chance, strict=True)]
                loss = loss + textbook_cross_entropy(scores, i)
            else:
                loss = loss + textbook_bpr_max(scores, i, conf.elu_param, conf.bpreg)
        total += loss.item()
        gradients = torch.autograd.grad(loss / conf.batch_size, list(weights.values()))
        shared = inputs if conf.embedding == "shared" else []
        used = {"items": targets + sampled + shared, "item_bias": targets + sampled, "inputs": inputs}
        for (name, tensor), gradient in zip(weights.items(), gradients, strict=True):
            tensor = weights[name] = tensor.detach()
            for row in sorted(set(used.get(name, range(len(tensor))))):
                squares[name][row] += gradient[row] ** 2
                velocity[name][row] *= conf.momentum
                velocity[name][row] -= conf.learning_rate * gradient[row] / torch.sqrt(squares[name][row] + 1e-6)
                tensor[row] += velocity[name][row]
        for slot in slots:
            slot["states"] = [state.detach() for state in slot["states"]]
            slot["at"] += 1
        step += 1
    return {name: tensor.numpy() for name, tensor in weights.items()}, total / sum(len(s) - 1 for s in sessions)


ONE_SLOT = {"batch_size": 1, "loss": "bpr-max"}
SETTINGS = {
    "one session at a time": ONE_SLOT,
    "one session at a time, cross-entropy": ONE_SLOT | {"loss": "cross-entropy"},
    "cross-entropy with logq": {"loss": "cross-entropy", "logq": 0.7, "sample_alpha": 0.4, "momentum": 0.3},
    "bpr-max": {"loss": "bpr-max", "bpreg": 1.7, "elu_param": 0.5, "momentum": 0.2},
    "bpr-max without elu": {"loss": "bpr-max", "bpreg": 0.4, "elu_param": 0},
    "two layers, separate": {"loss": "bpr-max", "layers": [6, 8], "embedding": "separate", "batch_size": 3},
    "two layers, shared": {"loss": "cross-entropy", "layers": [6, 8], "batch_size": 3},
    "one-hot": {"loss": "cross-entropy", "embedding": "none", "momentum": 0.1},
    "two layers, one-hot": {"loss": "bpr-max", "layers": [6, 5], "embedding": "none"},
    "no samples": {"loss": "bpr-max", "n_sample": 0},
    "more slots than sessions": {"loss": "cross-entropy", "batch_size": 50},
}


@pytest.mark.parametrize("changes", SETTINGS.values(), ids=SETTINGS.keys())
def test_one_epoch_equals_the_textbook(changes: dict) -> None:
    conf = config(**changes)
    sessions = some_sessions(9, seed=3, longest=5)
    training = trainer(sessions, conf)
    samples = training.batches.negatives.draw(training.batches.plan.steps, conf.n_sample).tolist()
    assert any(len(set(sample)) < len(sample) for sample in samples) or conf.n_sample == 0
    expected, loss = textbook_fit(as_lists(sessions), conf, initial_weights(conf, N_ITEMS), samples)
    model = fit(sessions, N_ITEMS, conf)
    assert model.losses == [pytest.approx(loss, rel=1e-4)]
    for name, array in model.weights().items():
        np.testing.assert_allclose(array, expected[name], rtol=2e-3, atol=2e-4, err_msg=name)


# --- session-parallel mini-batches -----------------------------------------------------------------------------------

session_lists = st.lists(st.lists(st.integers(0, N_ITEMS - 1), max_size=6), max_size=15)


@given(lists=session_lists, slots=st.integers(1, 20), with_last=st.booleans())
@settings(max_examples=150, deadline=None)
def test_schedule_equals_a_loop_over_slots(lists: list[list[int]], slots: int, with_last: bool) -> None:
    starts = np.cumsum([0] + [len(session) for session in lists])
    walks = [list(range(a, b if with_last else b - 1)) for a, b in pairwise(starts)]
    walks = [walk for walk in walks if walk]
    at: list[list[int]] = [[] for _ in range(slots)]  # events left in each slot
    steps: list[list[tuple[int, int]]] = []
    rows: dict[int, int] = {}  # slot -> row in the step before
    while True:
        step, new_rows = [], {}
        for slot in range(slots):
            fresh = not at[slot]
            if fresh and walks:
                at[slot] = walks.pop(0)
            if at[slot]:
                new_rows[slot] = len(step)
                step.append((at[slot][0], -1 if fresh else rows[slot]))
                at[slot] = at[slot][1:]
        if not step:
            break
        steps.append(step)
        rows = new_rows

    plan = schedule(Sessions.from_lists(lists), slots, with_last=with_last)
    pairs = list(zip(plan.events.tolist(), plan.carried.tolist(), strict=True))
    assert [pairs[a:b] for a, b in pairwise(plan.offsets)] == steps


@given(lists=session_lists, batch_size=st.integers(1, 20))
@settings(max_examples=50, deadline=None)
def test_all_events_consumed_at_epoch_end(lists: list[list[int]], batch_size: int) -> None:
    sessions = Sessions.from_lists(lists)
    conf = config(batch_size=batch_size, n_sample=1)
    scores_by_event(untrained(conf), sessions, batch_size)  # it asserts that each event comes once
    pairs = [(a, b) for session in lists for a, b in pairwise(session)]
    if not pairs:
        with pytest.raises(ValueError, match="nothing to train on"):
            fit(sessions, N_ITEMS, conf)
        return
    seen = []
    for batch in chain.from_iterable(trainer(sessions, conf).batches.epoch()):
        seen += list(zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True))
    assert sorted(seen) == sorted(pairs)
    epochs: list[Epoch] = []
    fit(sessions, N_ITEMS, conf, on_epoch=epochs.append)
    assert epochs[0].events == len(pairs)


def test_more_steps_than_are_drawn_at_once() -> None:
    sessions = Sessions.from_lists([[i % N_ITEMS for i in range(1000)], [1, 2]])
    batches = list(chain.from_iterable(trainer(sessions, config(batch_size=2, n_sample=20)).batches.epoch()))
    assert len(batches) == 999
    assert [len(batch.inputs) for batch in batches] == [2] + [1] * 998
    drawn = {(tuple(batch.columns.tolist()), tuple(batch.log_count.tolist())) for batch in batches}
    assert len(drawn) > 900


# --- scoring ---------------------------------------------------------------------------------------------------------

MODES = [{"embedding": "shared"}, {"embedding": "separate", "layers": [6, 8]}, {"embedding": "none", "layers": [8, 7]}]


@pytest.mark.parametrize("changes", MODES, ids=lambda changes: changes["embedding"])
def test_scores_equal_the_textbook(changes: dict) -> None:
    model, sessions = untrained(config(**changes)), some_sessions()
    scores = scores_by_event(model, sessions, 4)
    expected = np.concatenate([textbook_scores(model, session) for session in as_lists(sessions)])
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)


def test_eval_resets_hidden_state() -> None:
    model = untrained(config())
    both = scores_by_event(model, Sessions.from_lists([[1, 2, 3], [4, 5]]), 1)
    alone = scores_by_event(model, Sessions.from_lists([[4, 5]]), 1)
    np.testing.assert_array_equal(both[3:], alone)


def test_reset_mask_applies_once() -> None:
    """In slot 1 sessions start again and again; the one in slot 0 must keep its state, and they theirs."""
    model = untrained(config())
    sessions = Sessions.from_lists([[1, 2, 3, 4, 5, 6], [7, 8], [9, 8], [3, 8]])
    scores = scores_by_event(model, sessions, 2)
    expected = np.concatenate([textbook_scores(model, session) for session in as_lists(sessions)])
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)
    assert np.abs(scores[7] - scores[9]).max() > 0.1, "the second event forgot the first one"


def test_how_many_sessions_walk_side_by_side_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, sessions = untrained(config()), some_sessions(60)
    scores = []
    for slots in (1, 3, 64, 512):
        monkeypatch.setattr(network, "SLOTS", slots)
        scores.append(scores_by_event(model, sessions, 2))
    for other in scores[1:]:
        np.testing.assert_array_equal(other, scores[0])


def test_state_actually_updated() -> None:
    scores = scores_by_event(untrained(config()), Sessions.from_lists([[5, 5, 5]]), 1)
    assert np.abs(scores[1] - scores[0]).max() > 0.1
    assert np.abs(scores[2] - scores[1]).max() > 0.01


@pytest.mark.parametrize("changes", [{"layers": [100]}, {"layers": [37, 23], "embedding": "separate"}])
def test_eval_invariant_to_batch_size(changes: dict) -> None:
    sessions = some_sessions(120, seed=5, n_items=300)
    model = fit(sessions, 300, config(**changes))
    expected = scores_by_event(model, sessions, 1)
    for batch_size in (7, 50, 512, 10_000):
        scores = scores_by_event(model, sessions, batch_size)
        np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)
        if torch.backends.mkl.is_available():
            np.testing.assert_array_equal(scores, expected, err_msg=f"batch size {batch_size} rounds otherwise")


def test_scores_do_not_saturate_into_ties() -> None:
    """Through the ELU of the loss, scores this low would all be -0.5."""
    model = untrained(config(elu_param=0.5), scale=1.0)
    model.tensors["item_bias"] = -50 - torch.arange(N_ITEMS, dtype=torch.float32)
    scores = scores_by_event(model, some_sessions(), 8)
    assert all(len(set(row)) == N_ITEMS for row in scores.tolist())


# --- losses ----------------------------------------------------------------------------------------------------------


def random_scores(rows: int, columns: int, scale: float = 2.0) -> Tensor:
    return scale * torch.randn(rows, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("rows", "columns"), [(4, 9), (3, 3), (1, 4), (1, 1)])
@pytest.mark.parametrize("elu", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("bpreg", [0.0, 1.3])
def test_bpr_max_formula(rows: int, columns: int, elu: float, bpreg: float) -> None:
    scores = random_scores(rows, columns).requires_grad_()
    expected = sum(textbook_bpr_max(list(scores[i]), i, elu, bpreg) for i in range(rows))
    (gradient,) = torch.autograd.grad(expected, scores)
    loss, our_gradient = bpr_max(scores.detach().clone(), torch.arange(rows), scores.new_zeros(columns), elu, bpreg)
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(our_gradient, gradient)


@pytest.mark.parametrize(("rows", "columns"), [(4, 9), (3, 3), (1, 4), (1, 1)])
def test_cross_entropy_formula(rows: int, columns: int) -> None:
    scores = random_scores(rows, columns).requires_grad_()
    expected = sum(textbook_cross_entropy(list(scores[i]), i) for i in range(rows))
    (gradient,) = torch.autograd.grad(expected, scores)
    loss, our_gradient = cross_entropy(scores.detach().clone(), torch.arange(rows))
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(our_gradient, gradient)


@pytest.mark.parametrize("loss", ["cross-entropy", "bpr-max"])
def test_a_column_that_counts_three_times_is_scored_once(loss: str) -> None:
    """Two rows have the same target, and one of them a target that was drawn as a negative too."""
    scores, place, count = random_scores(4, 7), torch.tensor([0, 1, 1, 3]), [1, 2, 1, 2, 3, 1, 2]
    log_count = torch.tensor(count, dtype=torch.float64).log()
    each = torch.tensor([j for j, n in enumerate(count) for _ in range(n)])
    own = torch.tensor([0, 1, 2, 4])
    assert torch.equal(each[own], place)
    if loss == "cross-entropy":
        merged, gradient = cross_entropy(scores + log_count, place)
        merged += log_count[place].sum()
        expected, expected_gradient = cross_entropy(scores[:, each], own)
    else:
        merged, gradient = bpr_max(scores.clone(), place, log_count, 0.5, 1.3)
        no_counts = torch.zeros(len(each), dtype=torch.float64)
        expected, expected_gradient = bpr_max(scores[:, each], own, no_counts, 0.5, 1.3)
    torch.testing.assert_close(merged, expected)
    torch.testing.assert_close(gradient, torch.zeros_like(scores).index_add_(1, each, expected_gradient))


def test_the_only_column_is_a_negative_where_two_rows_have_it_as_their_target() -> None:
    scores, place = random_scores(2, 1), torch.zeros(2, dtype=torch.int64)
    loss, gradient = bpr_max(scores.clone(), place, torch.tensor([2.0]).double().log(), 0.0, 1.3)
    torch.testing.assert_close(loss, (math.log(2) + 1.3 * scores**2).sum())
    torch.testing.assert_close(gradient, 2.6 * scores)


@pytest.mark.parametrize("gap", [-500.0, 500.0])
def test_losses_stay_finite_at_extreme_scores(gap: float) -> None:
    scores = torch.zeros(2, 6)
    scores.diagonal().fill_(gap)
    place = torch.arange(2)
    for loss, gradient in (
        cross_entropy(scores.clone(), place),
        bpr_max(scores.clone(), place, torch.zeros(6), 0.0, 1.0),
    ):
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()
        np.testing.assert_allclose(gradient.diagonal(), 0 if gap > 0 else -1, atol=1e-6)
        np.testing.assert_allclose(gradient.sum(dim=1), 0, atol=1e-6)


def test_logq_columns_follow_the_batch() -> None:
    """A step of two sessions where four were configured: two columns of targets, then the sampled ones."""
    conf = config(loss="cross-entropy", logq=1, sample_alpha=0.5)
    sessions = Sessions.from_lists([[0, 1]] * 8 + [[2, 3]] * 3 + [[4, 5, 6, 7]])
    training = trainer(sessions, conf)
    sampled = [6, 1, 1, 7, 0]
    shrunk = one_batch(training, [0, 4], [1, 5], sampled)
    support = np.array([8, 8, 3, 3, 1, 1, 1, 1])
    chance = [8 / 26, 1 / 26] + [support[j] ** 0.5 / (support**0.5).sum() for j in sampled]
    expected = 0.0
    for i, item in enumerate((0, 4)):
        all_scores = textbook_scores(training.model, [item])[0]
        scores = [torch.tensor(all_scores[j] - math.log(p)) for j, p in zip([1, 5, *sampled], chance, strict=True)]
        expected += textbook_cross_entropy(scores, i).item()
    loss, _ = training.step(shrunk, training.model.zero_states(2))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_negatives_follow_support_to_the_alpha() -> None:
    support = np.array([100, 0, 25, 4, 1])
    for alpha in (0.0, 0.5, 1.0):
        drawn = Negatives(support, alpha, np.random.default_rng(0)).draw(50, 4000)
        assert drawn.shape == (50, 4000)
        chance = support**alpha / (support**alpha).sum()
        np.testing.assert_allclose(np.bincount(drawn.ravel(), minlength=5) / drawn.size, chance, atol=0.005)


# --- dropout, weights, optimiser -------------------------------------------------------------------------------------


def test_hidden_dropout_active() -> None:
    conf = config(layers=[200], dropout_hidden=0.2)
    model = untrained(conf)
    sessions = some_sessions()
    training = GRU4RecTrainer(model, sessions, schedule(sessions, 4, with_last=False))
    x, states = model.tensors["items"][torch.arange(10)], [torch.ones(10, 200)]
    plain = model.advance(x, states)[0]
    dropped = training.forward(x, states, 10)[0].after
    gone = dropped == 0
    assert gone.float().mean().item() == pytest.approx(0.2, abs=0.03)
    torch.testing.assert_close(dropped[~gone], plain[~gone] / 0.8)
    # What is dropped is dropped from the state that training carries on, too.
    batch = one_batch(training, [0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3, 4])
    _, carried = training.step(batch, training.model.zero_states(4))
    assert (carried[0] == 0).float().mean().item() == pytest.approx(0.2, abs=0.05)


def test_embedding_dropout_active() -> None:
    model = untrained(config(layers=[3, 400], dropout_embedding=0.25))
    model.tensors["layer0.input"] = torch.full((400, 9), 0.001)
    sessions = some_sessions()
    x = torch.ones(50, 400)
    training = GRU4RecTrainer(model, sessions, schedule(sessions, 4, with_last=False))
    gate = training.forward(x, model.zero_states(50), 50)[0].after
    assert gate.std(dim=0).min() > 0, "all rows are alike, so nothing was dropped"
    plain = model.advance(x, model.zero_states(50))[0]
    assert plain.std(dim=0).max() == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(gate.mean(dim=0), plain.mean(dim=0), rtol=0.02, atol=0.003)  # scaled by 1 / 0.75


@pytest.mark.parametrize("changes", SETTINGS.values(), ids=SETTINGS.keys())
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_backward_equals_autograd(changes: dict, dropout: float) -> None:
    conf = config(**(changes | {"dropout_embedding": dropout, "dropout_hidden": dropout}))
    sessions = some_sessions()
    training = GRU4RecTrainer(untrained(conf, scale=1.0), sessions, schedule(sessions, 4, with_last=False))
    layers = {name: tensor for name, tensor in training.model.tensors.items() if name.startswith("layer")}
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, training.model.input_table.shape[1], generator=generator).requires_grad_()
    states = [torch.randn(5, units, generator=generator) for units in conf.layers]
    weight = torch.randn(5, conf.layers[-1], generator=generator)
    before = training.dropout.get_state()
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in layers.items()}
    training.model.tensors |= leaves
    passed = training.forward(x, states, 5)
    expected = torch.autograd.grad((passed[-1].after * weight).sum(), [x, *leaves.values()])
    training.model.tensors |= layers
    training.dropout.set_state(before)
    gradient = training.backward(training.forward(x.detach(), states, 5), weight)
    torch.testing.assert_close(gradient, expected[0], rtol=1e-4, atol=1e-5)
    for name, array in zip(leaves, expected[1:], strict=True):
        torch.testing.assert_close(training.gradients[name], array, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("embedding", ["shared", "separate", "none"])
def test_weight_init_range(embedding: str) -> None:
    conf = config(layers=[40, 60], embedding=embedding)
    n = 500
    weights = initial_weights(conf, n)
    assert {name: tuple(tensor.shape) for name, tensor in weights.items()} == weight_shapes(conf, n)
    fan = {"items": n + 60, "layer1.input": 40 + 60}
    fan |= {"layer0.state": 80, "layer0.candidate": 80, "layer1.state": 120, "layer1.candidate": 120}
    if embedding == "shared":
        fan |= {"layer0.input": 60 + 40}
    elif embedding == "separate":
        fan |= {"layer0.input": 40 + 40, "inputs": n + 40}
    else:
        fan |= {"inputs": n + 40}
    for name, tensor in weights.items():
        if name in fan:
            bound = math.sqrt(6 / fan[name])
            assert 0.98 * bound < tensor.abs().max() <= bound, name
            assert tensor.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05), name
        else:
            assert "bias" in name
            assert not tensor.any()


def test_adagrad_accumulator_zero() -> None:
    gradient = torch.tensor([[1e-4, -3.0]])
    for update in (
        lambda adagrad: adagrad.step(gradient),
        lambda adagrad: adagrad.step_rows(torch.tensor([0]), gradient),
    ):
        weight = torch.zeros(1, 2)
        adagrad = Adagrad(weight, learning_rate=0.1, momentum=0.5)
        update(adagrad)
        first = -0.1 * gradient / torch.sqrt(gradient**2 + 1e-6)
        torch.testing.assert_close(weight, first)
        update(adagrad)
        second = 0.5 * first - 0.1 * gradient / torch.sqrt(2 * gradient**2 + 1e-6)
        torch.testing.assert_close(weight, first + second)


@pytest.mark.parametrize("embedding", ["shared", "separate", "none"])
def test_adagrad_touches_only_used_rows(embedding: str) -> None:
    conf = config(embedding=embedding, momentum=0.5)
    training = trainer(some_sessions(), conf)
    tables = {name: optimiser for name, optimiser in training.optimisers.items() if name != "layers"}

    def snapshot() -> dict[str, list[Tensor]]:
        return {k: [o.weight.clone(), o.squares.clone(), o.velocity.clone()] for k, o in tables.items()}

    def step(inputs: list[int], targets: list[int], sampled: list[int]) -> None:
        states = [torch.ones(2, 8)]  # not zero: matrices of the state get no gradient from that
        training.step(one_batch(training, inputs, targets, sampled), states)

    step([10, 2], [0, 1], [8, 9])  # gives rows momentum, which must not move them where the next step leaves them out
    before = snapshot()
    step([0, 1], [2, 3], [4, 4, 5])
    scored = {2, 3, 4, 5}
    used = {"items": scored | {0, 1} if embedding == "shared" else scored, "item_bias": scored, "inputs": {0, 1}}
    for name, after in snapshot().items():
        for old, new in zip(before[name], after, strict=True):
            changed = {i for i in range(len(new)) if not torch.equal(old[i], new[i])}
            assert changed == used[name], name


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_places_name_each_row_once(data: st.DataObject) -> None:
    """Inputs, targets and samples of a few steps over few items: their places lead back to them."""
    shared = data.draw(st.booleans())
    training = trainer(some_sessions(), config(embedding="shared" if shared else "separate", loss="cross-entropy"))
    sizes = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    n = data.draw(st.integers(0, 6))
    item = st.integers(0, N_ITEMS - 1)
    inputs, targets = (np.array([data.draw(item) for _ in range(sum(sizes))]) for _ in range(2))
    drawn = np.sort(
        np.array([[data.draw(item) for _ in range(n)] for _ in sizes], dtype=np.int64).reshape(len(sizes), n)
    )
    batches = training.batches.block(inputs, targets, np.zeros_like(inputs), np.array(sizes), drawn)
    assert torch.cat([batch.inputs for batch in batches]).tolist() == inputs.tolist()
    assert torch.cat([batch.targets for batch in batches]).tolist() == targets.tolist()
    for batch, row in zip(batches, drawn.tolist(), strict=True):
        scored = row + batch.targets.tolist()
        assert batch.columns.tolist() == sorted(set(scored))
        counts = [scored.count(item) for item in batch.columns.tolist()]
        np.testing.assert_allclose(batch.log_count.exp(), counts, rtol=1e-6)
        used = torch.cat((batch.more_inputs, batch.columns)) if shared else batch.more_inputs
        for rows, places, items in (
            (batch.columns, batch.target_place, batch.targets),
            (used, batch.input_place, batch.inputs),
        ):
            assert len(set(rows.tolist())) == len(rows)
            assert torch.equal(rows[places], items)


# --- training as a whole ---------------------------------------------------------------------------------------------


def cycle(n: int = 60) -> Sessions:
    """Item i is followed by i + 1."""
    rng = np.random.default_rng(0)
    return Sessions.from_lists([[int(i + k) % N_ITEMS for k in range(5)] for i in rng.integers(0, N_ITEMS, n)])


@pytest.mark.parametrize("loss", ["cross-entropy", "bpr-max"])
@pytest.mark.parametrize("embedding", ["shared", "separate", "none"])
def test_separate_and_none_modes_train(loss: str, embedding: str) -> None:
    conf = config(loss=loss, embedding=embedding, n_epochs=15, layers=[16], dropout_embedding=0.1, dropout_hidden=0.1)
    model, sessions = fit(cycle(), N_ITEMS, conf), cycle()
    assert model.losses[-1] < 0.9 * model.losses[0]
    weights, start = model.weights(), initial_weights(conf, N_ITEMS)
    assert ("inputs" in weights) == (embedding != "shared")
    for name, array in weights.items():
        assert (array != start[name].numpy()).mean() > 0.9, f"{name} was not trained"
    best = scores_by_event(model, sessions, 8).argmax(axis=1)
    assert (best == (sessions.items + 1) % N_ITEMS).mean() > 0.9


def test_epochs_count() -> None:
    for n in (1, 3):
        epochs: list[Epoch] = []
        model = fit(some_sessions(), N_ITEMS, config(n_epochs=n), on_epoch=epochs.append)
        assert [epoch.epoch for epoch in epochs] == list(range(1, n + 1))
        assert [epoch.loss for epoch in epochs] == model.losses
        assert all(epoch.seconds > 0 for epoch in epochs)
    assert len(set(model.losses)) == 3


@pytest.mark.parametrize("loss", ["cross-entropy", "bpr-max"])
@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_no_negatives_evaluates_everything(loss: str, batch_size: int) -> None:
    sessions = some_sessions()
    model = fit(sessions, N_ITEMS, config(loss=loss, batch_size=batch_size, n_sample=0))
    assert np.isfinite(scores_by_event(model, sessions, 7)).all()
    if batch_size == 1:  # nothing to tell the target from
        assert model.losses == [0.0]
        start = initial_weights(model.config, N_ITEMS)
        assert all(np.array_equal(array, start[name]) for name, array in model.weights().items())


def test_same_seed_same_weights() -> None:
    conf = config(dropout_embedding=0.3, dropout_hidden=0.3, momentum=0.1, n_epochs=2)
    sessions = some_sessions(50)

    def digest(seed: int) -> list[bytes]:
        weights = fit(sessions, N_ITEMS, conf.model_copy(update={"seed": seed})).weights()
        return [array.tobytes() for array in weights.values()]

    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1], random.getstate()
    first = digest(7)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert random.getstate() == before[2]
    torch.manual_seed(2)
    np.random.seed(2)
    assert digest(7) == first
    assert digest(8) != first


def test_training_that_diverges_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainingDiverged, match=r"epoch 2 .*learning_rate below 0\.1"):
        losses = iter([1.0, math.nan])
        monkeypatch.setattr(GRU4RecTrainer, "epoch", lambda *_: next(losses))
        fit(some_sessions(), N_ITEMS, config(n_epochs=5))
    monkeypatch.undo()
    with pytest.raises(TrainingDiverged, match=r"epoch 1 .*momentum below 0\.9 or bpreg below 1\.0"):
        fit(some_sessions(), N_ITEMS, config(learning_rate=1e30, momentum=0.9, elu_param=0))


def test_weights_come_back() -> None:
    conf = config(layers=[6, 8], embedding="separate")
    sessions = some_sessions()
    model = fit(sessions, N_ITEMS, conf)
    weights = model.weights()
    assert all(array.dtype == np.float32 for array in weights.values())
    for array in weights.values():
        array.flags.writeable = False
    again = GRU4Rec.from_weights(conf, N_ITEMS, weights)
    np.testing.assert_array_equal(scores_by_event(again, sessions, 4), scores_by_event(model, sessions, 4))
    with pytest.raises(ValueError, match=r"item.* must have shape \(13.*, not \(12"):
        GRU4Rec.from_weights(conf, N_ITEMS + 1, weights)
    with pytest.raises(ValueError, match="need the weights"):
        GRU4Rec.from_weights(config(), N_ITEMS, weights)


def test_items_outside_the_catalogue_are_refused() -> None:
    for bad in (N_ITEMS, -1):
        sessions = Sessions.from_lists([[0, bad]])
        with pytest.raises(ValueError, match=r"item indices must be 0 \.\. 11"):
            fit(sessions, N_ITEMS, config())
        with pytest.raises(ValueError, match="item indices"):
            next(untrained(config()).score(sessions, 1))


def test_nothing_of_the_caller_changes() -> None:
    sessions = some_sessions()
    for array in (sessions.items, sessions.offsets):
        array.flags.writeable = False
    model = fit(sessions, N_ITEMS, config())
    scores_by_event(model, sessions, 4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_cuda_agrees_with_cpu() -> None:
    sessions, conf = some_sessions(), config()
    on_cpu, on_gpu = fit(sessions, N_ITEMS, conf), fit(sessions, N_ITEMS, conf, device="cuda")
    for name, array in on_gpu.weights().items():
        np.testing.assert_allclose(array, on_cpu.weights()[name], rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose(
        scores_by_event(on_gpu, sessions, 4), scores_by_event(on_cpu, sessions, 4), rtol=1e-2, atol=1e-3
    )
