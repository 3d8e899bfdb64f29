"""What any model must do: each one of the registry is fitted in small and held to all of it.

A new model needs no line here: its card says how it is fitted and loaded, ``small_settings`` what it can be set to.
"""

import random
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from small_settings import variants
from training_tables import fit as fit_tables
from training_tables import fitted_by

from sessrec_pipeline.evaluation.memory import bytes_held
from sessrec_pipeline.evaluation.ranking import observe, rank
from sessrec_pipeline.models.base import Arrays, Card, Fitted, Recommender, Sessions, TrainedSettings
from sessrec_pipeline.models.registry import cards
from sessrec_pipeline.settings import Section
from sessrec_pipeline.storage.checkpoints import Checkpoint, read_checkpoint, write_checkpoint
from sessrec_pipeline.storage.lineage import Lineage, Node
from sessrec_pipeline.training.fit import fit_from_tables, recommender_of
from sessrec_pipeline.training.loop import Epoch, Trained, train
from sessrec_pipeline.training.state import load_state, save_state

N_ITEMS = 12
ITEMS = [str(i + 1) for i in range(N_ITEMS)]
"""Items of training; those of index 10 and 11 are in one session alone."""
SESSION_IS_NOTHING = ("popularity", "recent_popularity")
"""Models that give everyone the same list."""
ORDER_IS_ALL = ("popularity",)
"""The model that is nothing but the order of the catalogue; that of ``recent_popularity`` is an order of its own."""

Lists = list[list[int]]


def sessions_of(n: int = 25, seed: int = 0) -> Lists:
    """Random sessions of 1 to 8 events over all items but the last two."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, N_ITEMS - 2, size=rng.integers(1, 9)).tolist() for _ in range(n)]


def trained() -> list[list[str]]:
    """Sessions to fit on: random ones, and one with the two items that they lack."""
    return [[ITEMS[item] for item in session] for session in [*sessions_of(100, seed=3), [10, 11]]]


def timed(sessions: Lists, late: int = 0) -> Sessions:
    """Sessions with times: each begins a second after the one before, an event comes a minute after the other.

    late: seconds by which the last event of each session comes later than that.
    """
    found = Sessions.from_lists(sessions)
    position = np.arange(len(found.items)) - found.starts
    times = np.repeat(np.arange(len(found)), found.lengths) * 1_000_000 + position * 60_000_000
    times[found.last] += late * 1_000_000
    return replace(found, times=times.astype(np.int64))


@dataclass(frozen=True)
class Case:
    """A model with some settings."""

    card: Card[Any]
    section: Section

    @property
    def fitted(self) -> Fitted:
        return fitted(self.card.name, self.section.model_dump_json())

    def load(self, fitted: Fitted | None = None) -> Recommender:
        return recommender_of(self.card, self.section, fitted or self.fitted)


CASES = {
    name: Case(card, section)
    for card in cards().values()
    for name, section in variants(card).items()
}  # fmt: skip
each_table_case = pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.card.fit])
each_trained_case = pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.card.training])


@cache
def fitted(name: str, section: str) -> Fitted:
    card = cards()[name]
    return fitted_by(card, card.settings.model_validate_json(section), trained())


@cache
def made(name: str) -> Recommender:
    return CASES[name].load()


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture(params=CASES)
def model(request: pytest.FixtureRequest) -> Recommender:
    return made(request.param)


def scores_of(model: Recommender, sessions: Lists | Sessions, batch_size: int = 7) -> list[NDArray[np.floating]]:
    """Scores (events, n_items) of each session."""
    arrays = sessions if isinstance(sessions, Sessions) else timed(sessions)
    table = np.full((len(arrays.items), model.n_items), np.nan)
    for events, scores in model.score(arrays, batch_size):
        table[events] = scores
    return np.split(table, arrays.offsets[1:-1])


def assert_same(one: list[NDArray[np.floating]], other: list[NDArray[np.floating]]) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def as_split(sessions: Lists, vocabulary: list[str]) -> pa.Table:
    """The sessions as a test split."""
    return pa.table(
        {
            "session": [f"s{i}" for i, session in enumerate(sessions) for _ in session],
            "session_number": [i for i, session in enumerate(sessions) for _ in session],
            "position": [p for session in sessions for p, _ in enumerate(session)],
            "item": [vocabulary[item] for session in sessions for item in session],
        }
    )


class TestScores:
    @pytest.mark.parametrize("batch_size", [1, 7, 512])
    def test_every_event_is_scored_exactly_once(self, model: Recommender, batch_size: int) -> None:
        sessions = timed(sessions_of())
        times = np.zeros(len(sessions.items), dtype=int)
        for events, scores in model.score(sessions, batch_size):
            assert events.ndim == 1
            assert np.issubdtype(events.dtype, np.integer)
            assert 1 <= len(events) <= batch_size
            assert scores.shape == (len(events), model.n_items) == (len(events), N_ITEMS)
            assert np.issubdtype(scores.dtype, np.floating)
            assert np.isfinite(scores).all()
            np.add.at(times, events, 1)
        assert (times == 1).all()

    @pytest.mark.parametrize("batch_size", [1, 2, 50, 512])
    def test_they_do_not_depend_on_the_batch_size(self, model: Recommender, batch_size: int) -> None:
        assert_same(scores_of(model, sessions_of(), batch_size), scores_of(model, sessions_of()))

    def test_neither_does_what_is_ranked(self, model: Recommender) -> None:
        vocabulary = [str(i) for i in range(N_ITEMS)]
        test = as_split(sessions_of(), vocabulary)
        tables = [rank(model, vocabulary, test, batch_size=b, top=5) for b in (1, 7, 50, 512)]
        assert all(table.equals(tables[0]) for table in tables)

    def test_no_session_influences_another(self, model: Recommender) -> None:
        sessions = sessions_of()
        alone = [scores_of(model, [session])[0] for session in sessions]
        assert_same(scores_of(model, sessions), alone)
        assert_same(scores_of(model, sessions[::-1]), alone[::-1])
        last = [scores[-1:] for scores in alone]
        assert_same(np.split(model.score_last(timed(sessions)), len(sessions)), last)
        assert_same(np.split(model.score_last(timed(sessions[::-1])), len(sessions)), last[::-1])

    def test_they_know_nothing_of_later_events(self, model: Recommender) -> None:
        sessions = [session for session in sessions_of() if len(session) > 1]
        whole = scores_of(model, sessions)
        for keep in (1, 3):
            begun = scores_of(model, [session[:keep] for session in sessions])
            assert_same(begun, [scores[:keep] for scores in whole])
        other_end = scores_of(model, [[*session[:-1], N_ITEMS - 1] for session in sessions])
        assert_same([scores[:-1] for scores in other_end], [scores[:-1] for scores in whole])

    def test_nor_of_when_they_come(self, model: Recommender) -> None:
        sessions = [session for session in sessions_of() if len(session) > 1]
        late = scores_of(model, timed(sessions, late=86_400))
        assert_same([scores[:-1] for scores in late], [scores[:-1] for scores in scores_of(model, sessions)])

    def test_they_need_no_times(self, model: Recommender) -> None:
        """The evaluator gives none today."""
        assert all(np.isfinite(scores).all() for scores in scores_of(model, Sessions.from_lists(sessions_of())))

    def test_those_after_the_last_event_are_rows_of_all(self, model: Recommender) -> None:
        sessions = sessions_of()
        last = model.score_last(timed(sessions))
        assert last.shape == (len(sessions), N_ITEMS)
        assert_same(list(last), [scores[-1] for scores in scores_of(model, sessions)])

    def test_those_of_candidates_are_columns_of_all(self, model: Recommender) -> None:
        sessions = timed(sessions_of())
        candidates = np.random.default_rng(0).integers(0, N_ITEMS, size=(len(sessions), 5)).astype(np.int32)
        found = model.score_candidates(sessions, candidates)
        assert found.shape == candidates.shape
        expected = np.take_along_axis(model.score_last(sessions), candidates.astype(np.int64), axis=1)
        assert_same([found], [expected])

    def test_the_callers_arrays_stay_as_they_are(self, model: Recommender) -> None:
        sessions = timed(sessions_of())
        arrays = [sessions.items, sessions.offsets, sessions.times]
        before = [array.copy() for array in arrays]
        for array in arrays:
            array.setflags(write=False)
        list(model.score(sessions, 7))
        model.score_last(sessions)
        model.score_candidates(sessions, np.zeros((len(sessions), 1), np.int64))
        for array, copy in zip(arrays, before, strict=True):
            np.testing.assert_array_equal(array, copy)

    def test_asking_again_gives_the_same_answer(self, model: Recommender) -> None:
        first, last = scores_of(model, sessions_of()), model.score_last(timed(sessions_of())).copy()
        scores_of(model, sessions_of(seed=5))
        model.score_last(timed(sessions_of(seed=5)))
        for before, after in zip(first, scores_of(model, sessions_of()), strict=True):
            np.testing.assert_array_equal(before, after)
        np.testing.assert_array_equal(model.score_last(timed(sessions_of())), last)

    @pytest.mark.parametrize(
        "sessions", [[[3]], [[3, 1, 4, 1, 5]], [[0], [1], [2]], [[N_ITEMS - 1]], [[2, 2, 2, 2]], [[0], [1, 2, 3], [4]]]
    )
    def test_small_inputs(self, model: Recommender, sessions: Lists) -> None:
        scores = scores_of(model, sessions)
        assert [part.shape for part in scores] == [(len(session), N_ITEMS) for session in sessions]
        assert all(np.isfinite(part).all() for part in scores)
        assert_same(list(model.score_last(timed(sessions))), [part[-1] for part in scores])

    def test_a_session_longer_than_any_of_training(self, model: Recommender) -> None:
        session = np.random.default_rng(1).integers(0, N_ITEMS, 200).tolist()
        (scores,) = scores_of(model, [session])
        assert np.isfinite(scores).all()
        assert_same(list(model.score_last(timed([session]))), [scores[-1]])

    def test_no_sessions_at_all(self, model: Recommender) -> None:
        assert list(model.score(Sessions.from_lists([]), 7)) == []
        assert model.score_last(Sessions.from_lists([])).shape == (0, N_ITEMS)
        assert model.score_candidates(Sessions.from_lists([]), np.zeros((0, 3), np.int64)).shape == (0, 3)


class TestLists:
    @pytest.mark.parametrize("k", [1, 5, N_ITEMS, 100])
    def test_the_best_items_are_those_of_the_evaluator(self, model: Recommender, k: int) -> None:
        """Of equals, which models without padding have many of, the lower index stands first."""
        for session in sessions_of(8):
            scores = model.score_last(Sessions.from_lists([session]))
            expected = observe(scores, np.zeros(1, np.int64), min(k, N_ITEMS)).best[0]
            items, values = model.top(session, k)
            assert items.tolist() == expected.tolist()
            np.testing.assert_array_equal(values, scores[0, items])

    def test_they_are_what_is_ranked(self, model: Recommender) -> None:
        vocabulary, sessions = [str(i) for i in range(N_ITEMS)], sessions_of(8)
        ranked = rank(model, vocabulary, as_split(sessions, vocabulary), batch_size=7, top=5)
        begun = [session[:end] for session in sessions for end in range(1, len(session))]
        listed = [[vocabulary[item] for item in model.top(session, 5)[0]] for session in begun]
        assert listed == ranked["top_items"].to_pylist()

    def test_what_is_excluded_makes_room_for_the_next(self, model: Recommender) -> None:
        for session in sessions_of(8):
            whole = model.top(session, N_ITEMS)[0].tolist()
            assert sorted(whole) == list(range(N_ITEMS))
            for excluded in ([], whole[:1], whole[1::2], sorted(set(session)), whole):
                items, values = model.top(session, 4, np.array(excluded, np.int64))
                assert items.tolist() == [item for item in whole if item not in excluded][:4]
                assert len(values) == len(items)
                assert (np.diff(values) <= 0).all()

    def test_shares_follow_the_scores_and_what_has_none_stands_behind(self, case: Case) -> None:
        share, model = case.card.share, case.load()
        if share is None:
            pytest.skip("it knows an order alone")
        for session in [*sessions_of(8), [10], [11, 0]]:
            scores = model.score_last(Sessions.from_lists([session]))[0]
            shares = share(model, session, scores)
            assert shares.shape == (N_ITEMS,) and (shares >= 0).all()
            assert shares.sum() == pytest.approx(1) or not shares.any()
            ordered = shares[np.argsort(-scores, kind="stable")]
            assert (np.diff(ordered) <= 1e-6).all()

    def test_similar_items_are_others_and_the_nearest_come_first(self, model: Recommender) -> None:
        vectors = model.item_vectors()
        for item in (0, 5, N_ITEMS - 1):
            found = model.similar(item, 4)
            if found is None:
                assert vectors is None, "a model with vectors knows which items are alike"
                continue
            items, values = found
            assert len(items) == len(values) <= 4
            assert item not in items and len(set(items.tolist())) == len(items)
            assert (np.diff(values) <= 0).all() and np.isfinite(values).all()
            more = model.similar(item, 100)
            assert more is not None and more[0][: len(items)].tolist() == items.tolist()
            assert len(more[0]) < N_ITEMS

    def test_items_are_alike_by_the_cosine_of_their_vectors(self, model: Recommender) -> None:
        vectors = model.item_vectors()
        if vectors is None:
            pytest.skip("it has none")
        assert vectors.ndim == 2 and len(vectors) == N_ITEMS and np.isfinite(vectors).all()
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        for item in (0, N_ITEMS - 1):
            items, values = model.similar(item, N_ITEMS)
            np.testing.assert_allclose(values, (unit @ unit[item])[items], rtol=1e-5)
            assert sorted([*items.tolist(), item]) == list(range(N_ITEMS))


class TestFitted:
    def test_it_fits_into_a_checkpoint(self, case: Case, tmp_path: Path) -> None:
        """It is whole: what is read back scores the same to the bit, and nothing else is asked for it."""
        before = case.load()
        checkpoint = Checkpoint(
            case.card.name, case.fitted.arrays, case.section.model_dump(mode="json"), case.fitted.items
        )
        node = Node(case.card.checkpoint, None, checkpoint.content_hash(), "1", {}, "python", "run", "2026-11-01")
        write_checkpoint(tmp_path / "model.safetensors", checkpoint, Lineage(node))
        read = read_checkpoint(tmp_path / "model.safetensors")
        section = case.card.settings.model_validate(read.config)
        assert section == case.section
        after = case.card.load(read.arrays, section, read.items, "cpu")
        for one, other in zip(scores_of(before, sessions_of()), scores_of(after, sessions_of()), strict=True):
            np.testing.assert_array_equal(one, other)
        assert bytes_held(after) == bytes_held(before)

    def test_fitting_again_gives_the_same_to_the_bit(self, case: Case) -> None:
        again = fitted_by(case.card, case.section, trained())
        assert again.items == case.fitted.items
        assert again.losses == case.fitted.losses
        assert again.arrays.keys() == case.fitted.arrays.keys()
        for name, array in case.fitted.arrays.items():
            np.testing.assert_array_equal(again.arrays[name], array, strict=True)

    def test_loading_leaves_the_arrays_as_they_are(self, case: Case) -> None:
        """Several processes may map one checkpoint into memory."""
        before = {name: array.copy() for name, array in case.fitted.arrays.items()}
        read_only = {name: array.copy() for name, array in before.items()}
        for array in read_only.values():
            array.setflags(write=False)
        model = case.load(replace(case.fitted, arrays=read_only))
        for one, other in zip(scores_of(model, sessions_of()), scores_of(case.load(), sessions_of()), strict=True):
            np.testing.assert_array_equal(one, other)
        for name, array in read_only.items():
            np.testing.assert_array_equal(array, before[name])

    def test_the_vocabulary_is_the_catalogue(self, case: Case) -> None:
        assert sorted(case.fitted.items, key=int) == ITEMS
        assert case.load().n_items == N_ITEMS

    def test_only_a_model_that_is_trained_has_losses(self, case: Case) -> None:
        epochs = getattr(case.section, "n_epochs", 0) if case.card.training else 0
        assert len(case.fitted.losses) == epochs
        assert np.isfinite(case.fitted.losses).all()


# --- training --------------------------------------------------------------------------------------------------------


def training_on(case: Case, **more: Any) -> Trained:
    """Two epochs of the case, by the loop, on the sessions that the other tests fit on."""
    index = {item: i for i, item in enumerate(case.fitted.items)}
    sessions = timed([[index[item] for item in session] for session in trained()])
    settings = case.section.model_copy(update={"n_epochs": 2})
    return train(case.card.trained_by(), sessions, N_ITEMS, cast(TrainedSettings, settings), **more)


def assert_equal(one: Arrays, other: Arrays) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(other[name], array, strict=True, err_msg=name)


@each_trained_case
def test_a_training_that_was_interrupted_ends_as_if_it_had_not_been(name: str, tmp_path: Path) -> None:
    """From the file that a killed run leaves, to the bit; and scoring between epochs, as validation does, is no part
    of the training."""
    case, path, told = CASES[name], tmp_path / "state.safetensors", [(0, 0)]

    def save_first(epoch: Epoch) -> None:
        if epoch.epoch == 1:
            save_state(path, epoch.state(), "key")

    def look(epoch: Epoch) -> None:
        scores_of(epoch.trainer.recommender(), sessions_of())

    whole = training_on(case, on_epoch=save_first, progress=lambda *done: told.append(done))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (2 * whole.trainer.events, 2 * whole.trainer.events)
    state = load_state(path, "key")
    assert state is not None and state.epoch == 1
    for other in (training_on(case, resume=state), training_on(case, on_epoch=look)):
        assert other.losses == whole.losses
        assert_equal(other.trainer.arrays(), whole.trainer.arrays())
        assert_equal(other.trainer.state(), whole.trainer.state())


@each_trained_case
def test_what_a_trainer_hands_out_stays_as_it_was(name: str) -> None:
    """States and arrays are copies: the next epoch does not reach them, nor the arrays that training began with."""
    kept: list[tuple[Arrays, Arrays]] = []

    def keep(epoch: Epoch) -> None:
        for handed_out in (epoch.trainer.state(), epoch.trainer.arrays()):
            kept.append((handed_out, {key: array.copy() for key, array in handed_out.items()}))

    initial = CASES[name].fitted.arrays
    kept.append((initial, {key: array.copy() for key, array in initial.items()}))
    training_on(CASES[name], on_epoch=keep, initial=initial)
    for handed_out, copies in kept:
        assert_equal(handed_out, copies)


@each_trained_case
def test_a_state_of_another_catalogue_is_refused(name: str) -> None:
    case = CASES[name]
    state = training_on(case).trainer.state()
    sessions, settings = timed(sessions_of()), cast(TrainedSettings, case.section)
    other = case.card.trained_by().trainer(sessions, N_ITEMS + 1, settings, "cpu", None, None)
    with pytest.raises(ValueError):
        other.restore(state)


@each_trained_case
def test_a_catalogue_that_grew_and_shrank_is_trained_on_from(name: str) -> None:
    """Items of both catalogues score as before any new training; that of new items depends on which they are."""
    case = CASES[name]
    training, old = case.card.trained_by(), case.fitted.items
    assert training.continues(case.section, case.section)
    new = ["n1", *old[:4], "n2", *old[5:]]  # old[4] is gone
    arrays = training.extend(case.section, case.fitted.arrays, old, new)
    again = training.extend(case.section, case.fitted.arrays, old, new)
    assert_equal(arrays, again)
    model = recommender_of(case.card, case.section, Fitted(arrays, new))
    assert model.n_items == len(new)
    sessions = [[old.index(item) for item in new[1:4]]]
    kept = [i for i, item in enumerate(old) if item in new]
    before = [scores[:, kept] for scores in scores_of(case.load(), sessions)]
    after = scores_of(model, [[new.index(item) for item in new[1:4]]])
    assert_same([scores[:, [new.index(old[i]) for i in kept]] for scores in after], before)
    settings = cast(TrainedSettings, case.section)
    went_on = train(training, timed([[0, 1, 5, 2]] * 20), len(new), settings, initial=arrays)
    assert all(np.isfinite(array).all() for array in went_on.trainer.arrays().values())


@each_trained_case
def test_without_anything_to_predict_it_says_so(name: str) -> None:
    case = CASES[name]
    with pytest.raises(ValueError, match="nothing to train on"):
        train(case.card.trained_by(), timed([[0], [1]]), N_ITEMS, cast(TrainedSettings, case.section))


@each_trained_case
def test_what_it_says_when_training_fails_names_its_settings(name: str) -> None:
    case = CASES[name]
    for advice in (
        case.card.trained_by().if_diverged(case.section),
        case.card.trained_by().if_out_of_memory(case.section, 1234),
    ):
        assert advice and not advice.endswith("."), "it is the end of a sentence, or a sentence to which more is added"
        assert any(setting in advice for setting in case.card.settings.model_fields)
    assert "1,234" in case.card.trained_by().if_out_of_memory(case.section, 1234)


# --- the order of the catalogue --------------------------------------------------------------------------------------


def by_item(model: Recommender, vocabulary: list[str]) -> list[NDArray[np.floating]]:
    """Scores after sessions that are given by item ids, the columns in the order of ITEMS."""
    index = {item: i for i, item in enumerate(vocabulary)}
    sessions = [[index[ITEMS[item]] for item in session] for session in sessions_of()]
    columns = [index[item] for item in ITEMS]
    return [scores[:, columns] for scores in scores_of(model, sessions)]


@each_table_case
def test_a_permuted_catalogue_gives_permuted_scores(name: str) -> None:
    """Items are numbered by popularity, and two things go by their number: padding, and popularity itself.

    Whatever a model scores from what it has counted must not depend on it.
    """
    case = CASES[name]
    if case.card.name in ORDER_IS_ALL:
        pytest.skip("the order of the catalogue is all that it knows")
    section = case.section.model_copy(update={"padding": False} if hasattr(case.section, "padding") else {})
    tables = dict(
        zip(
            (table.name for table in case.card.tables),
            fit_tables(*case.card.tables, sessions=trained(), **{case.card.section: section}),
            strict=True,
        )
    )
    order = random.Random(0).sample(range(N_ITEMS), N_ITEMS)
    other_tables = tables | {"popularity": tables["popularity"].take(order)}
    one, other = (fit_from_tables(case.card, section, each) for each in (tables, other_tables))
    assert_same(
        by_item(recommender_of(case.card, section, one), one.items),
        by_item(recommender_of(case.card, section, other), other.items),
    )


@each_trained_case
def test_a_permuted_catalogue_gives_permuted_scores_of_what_was_trained(name: str) -> None:
    """Weights are drawn in the order of the catalogue, so it is what was trained that is put in another order."""
    case = CASES[name]
    old = case.fitted.items
    new = random.Random(0).sample(old, len(old))
    arrays = case.card.trained_by().extend(case.section, case.fitted.arrays, old, new)
    moved = Fitted(arrays, new)
    assert_same(by_item(case.load(), old), by_item(case.load(moved), new))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.card.kind == "model"])
def test_the_names_of_items_mean_nothing(name: str) -> None:
    """Among equal counts the one that training saw first comes first, however it is called."""
    case = CASES[name]
    names = dict(zip(ITEMS, random.Random(1).sample(["b", "Ü", "a", "10", "9", *"vwxyzst"], N_ITEMS), strict=True))
    renamed = fitted_by(case.card, case.section, [[names[item] for item in session] for session in trained()])
    assert renamed.items == [names[item] for item in case.fitted.items]
    for one, other in zip(
        scores_of(case.load(), sessions_of()), scores_of(case.load(renamed), sessions_of()), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, case in CASES.items()
        if case.card.name not in SESSION_IS_NOTHING and case.card.kind == "model"
    ],
)  # fmt: skip
def test_these_models_do_look_at_the_session(name: str) -> None:
    """Else the tests above would say little."""
    one, other = scores_of(made(name), [[0, 1], [0, 5]])
    assert np.abs(one[1] - other[1]).max() > 1e-3
