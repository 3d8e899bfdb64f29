"""The one training loop, with a model that is a random walk: what any model that is trained can rely on."""

import math
from dataclasses import replace

import numpy as np
import pytest
from fake_training import EVENTS, N_ITEMS, SESSIONS, Begun, WalkSettings, walk

from sessrec_pipeline.models.base import Arrays
from sessrec_pipeline.training.loop import Epoch, Trained, TrainingDiverged, train
from sessrec_pipeline.training.state import TrainingState, check_state, settings_text

FOUR = WalkSettings(n_epochs=4)


def run(settings: WalkSettings = FOUR, **more: object) -> Trained:
    return train(walk(), SESSIONS, N_ITEMS, settings, **more)  # type: ignore[arg-type]


def bits(arrays: Arrays) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in arrays.items()}


# --- epochs ----------------------------------------------------------------------------------------------------------


def test_as_many_epochs_as_the_settings_say() -> None:
    epochs: list[Epoch] = []
    trained = run(on_epoch=epochs.append)
    assert [epoch.epoch for epoch in epochs] == [1, 2, 3, 4]
    assert tuple(epoch.loss for epoch in epochs) == trained.losses
    assert {(epoch.n_epochs, epoch.events) for epoch in epochs} == {(4, EVENTS)}
    assert all(epoch.trainer is trained.trainer and epoch.seconds > 0 for epoch in epochs)


def test_an_epoch_is_told_in_a_line_and_in_numbers() -> None:
    epoch = Epoch(2, 5, 0.123456, 3_000, 2.0, None, None)  # type: ignore[arg-type]
    assert epoch.describe("cpu") == "epoch 2 of 5: loss 0.1235, 1,500 events/s on cpu"
    assert epoch.metadata() == {"epoch": 2, "loss": 0.123456, "events per second": 1500}


@pytest.mark.parametrize(("answer", "expected"), [(False, 2), (None, 4), (True, 4)])
def test_on_epoch_ends_it_by_saying_false(answer: bool | None, expected: int) -> None:
    trained = run(on_epoch=lambda epoch: answer if epoch.epoch == 2 else None)
    assert len(trained.losses) == expected
    assert bits(trained.trainer.arrays()) == bits(run(WalkSettings(n_epochs=expected)).trainer.arrays())


def test_the_trainer_is_begun_with_what_the_loop_was_given() -> None:
    begun: list[Begun] = []
    ranks = object()
    train(walk(begun), SESSIONS, N_ITEMS, FOUR, "cuda", ranks=ranks)  # type: ignore[arg-type]
    (asked,) = begun
    assert asked.sessions is SESSIONS and asked.n_items == N_ITEMS
    assert (asked.device, asked.ranks, asked.initial) == ("cuda", ranks, None)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_ends_it_with_advice(loss: float) -> None:
    epochs: list[int] = []
    with pytest.raises(TrainingDiverged) as ended:
        train(
            walk(losses=[1.0, loss, 1.0]),
            SESSIONS,
            N_ITEMS,
            WalkSettings(n_epochs=3, stride=0.7),
            on_epoch=lambda epoch: epochs.append(epoch.epoch),
        )
    assert str(ended.value) == f"the loss of epoch 2 is {loss}: try a stride below 0.7"
    assert epochs == [1], "a state that has diverged is not kept"


# --- progress --------------------------------------------------------------------------------------------------------


def test_progress_counts_the_events_of_all_epochs() -> None:
    told: list[tuple[int, int]] = []
    run(progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 4 * EVENTS) for done in range(1, 4 * EVENTS + 1)]


def test_progress_goes_on_where_the_state_was() -> None:
    states: list[TrainingState] = []
    run(on_epoch=lambda epoch: states.append(epoch.state()))
    told: list[tuple[int, int]] = []
    run(resume=states[2], progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 4 * EVENTS) for done in range(3 * EVENTS + 1, 4 * EVENTS + 1)]


# --- resume ----------------------------------------------------------------------------------------------------------


def test_resumed_after_each_epoch_it_ends_as_if_it_had_never_stopped() -> None:
    states: list[TrainingState] = []
    whole = run(on_epoch=lambda epoch: states.append(epoch.state()))
    assert [state.epoch for state in states] == [1, 2, 3, 4]
    for state in states:
        before, later = bits(state.arrays), list[TrainingState]()
        resumed = run(resume=state, on_epoch=lambda epoch, later=later: later.append(epoch.state()))
        assert resumed.losses == whole.losses
        assert bits(resumed.trainer.state()) == bits(whole.trainer.state())
        assert [other.epoch for other in later] == list(range(state.epoch + 1, 5))
        assert [bits(other.arrays) for other in later] == [bits(other.arrays) for other in states[state.epoch :]]
        assert bits(state.arrays) == before


def test_more_epochs_may_follow() -> None:
    states: list[TrainingState] = []
    run(WalkSettings(n_epochs=2), on_epoch=lambda epoch: states.append(epoch.state()))
    assert run(resume=states[-1]).losses == run().losses


def test_a_resumed_training_has_no_use_for_initial_weights() -> None:
    states: list[TrainingState] = []
    initial = {"weight": np.array([10.0])}
    whole = run(initial=initial, on_epoch=lambda epoch: states.append(epoch.state()))
    begun: list[Begun] = []
    resumed = train(walk(begun), SESSIONS, N_ITEMS, FOUR, resume=states[0], initial=initial)
    assert begun[0].initial is None
    assert resumed.losses == whole.losses


def a_state(epoch: int = 2, **changes: object) -> TrainingState:
    arrays = {"settings": settings_text(FOUR)}
    return replace(TrainingState(epoch, (0.5,) * epoch, arrays), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "settings", "sentence"),
    [
        (a_state(), WalkSettings(n_epochs=4, stride=0.7), "from a state of other settings: stride 0.5 instead of 0.7"),
        (a_state(), WalkSettings(n_epochs=4, stride=1, seed=1), "seed 42 instead of 1, stride 0.5 instead of 1.0"),
        (a_state(arrays={}), FOUR, "from a state without settings"),
        (a_state(5), FOUR, "training of 4 epochs cannot go on from a state after epoch 5 that has 5 losses"),
        (a_state(losses=(0.5,)), FOUR, "training of 4 epochs cannot go on from a state after epoch 2 that has 1 loss"),
    ],
)
def test_a_state_of_something_else_is_refused(state: TrainingState, settings: WalkSettings, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        check_state(state, settings)
    with pytest.raises(ValueError, match=sentence):
        run(settings, resume=state)


def test_the_trainer_refuses_what_it_cannot_use() -> None:
    with pytest.raises(ValueError, match="without rng"):
        run(resume=a_state())


def test_the_number_of_epochs_is_no_part_of_a_state() -> None:
    check_state(a_state(), WalkSettings(n_epochs=2))
    check_state(a_state(), WalkSettings(n_epochs=400))


# --- warm start ------------------------------------------------------------------------------------------------------


def test_a_warm_start_goes_on_from_the_extended_arrays() -> None:
    training = walk()
    cold = train(training, SESSIONS, N_ITEMS, FOUR)
    old, new = [str(i) for i in range(N_ITEMS)], [str(i) for i in range(2 * N_ITEMS)]
    initial = training.extend(FOUR, cold.trainer.arrays(), old, new)
    before = bits(initial)
    begun: list[Begun] = []
    warm = train(walk(begun), SESSIONS, len(new), FOUR, initial=initial)
    assert begun[0].initial is initial and begun[0].n_items == len(new)
    assert warm.losses == pytest.approx([loss + 2 * cold.losses[-1] for loss in cold.losses])
    assert bits(initial) == before
