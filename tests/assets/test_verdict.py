"""A model that learned nothing is not published, and a weak one is."""

import json
import re
from collections.abc import Callable
from dataclasses import replace

import dagster as dg
import numpy as np
import pytest

from assets.runs import materialize_all
from assets.verdict import below_popularity, latest, refuse_useless
from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.logs.synthetic import write_logs
from sessrec_pipeline.models.counts.popularity import Popularity
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings
from sessrec_pipeline.settings import SyntheticSettings
from sessrec_pipeline.storage.checkpoints import UnfitModelError
from sessrec_pipeline.storage.store import Store

pytestmark = pytest.mark.usefixtures("no_drawings", "one_thread")
QUICK = GRU4RecSettings(layers=[16], n_epochs=2, n_sample=32, batch_size=16)


def law(kind: str) -> SyntheticSettings:
    return SyntheticSettings.model_validate({"kind": kind, "sessions": 200, "items": 60, "days": 2})


@pytest.fixture
def trained(feed: Callable[..., FeedSettings], instance: dg.DagsterInstance) -> FeedSettings:
    settings = feed(models=["markov", "gru4rec"], synthetic=law("demo"), gru4rec=QUICK)
    write_logs(law("demo"), settings.landing)
    assert materialize_all(settings, instance, up_to=["gru4rec_checkpoint"]).success
    return settings


BELOW = r"gru4rec: recall@20 0\.\d+ on its own training sessions is below the 0\.\d+ of popularity"


@pytest.mark.parametrize(("rate", "seen"), [(100_000.0, rf"({BELOW}|gru4rec: its loss rose)"), (1e-9, BELOW)])
def test_a_useless_model_is_not_published_and_the_others_go_on(
    trained: FeedSettings, instance: dg.DagsterInstance, rate: float, seen: str
) -> None:
    before = Store(trained).find("gru4rec_checkpoint")
    useless = trained.model_copy(update={"gru4rec": QUICK.model_copy(update={"learning_rate": rate})})
    outcome = materialize_all(useless, instance)
    assert outcome.without == ["gru4rec"]
    assert re.match(seen, outcome.failed["gru4rec_checkpoint"])
    assert f"try a learning_rate below {rate}" in outcome.failed["gru4rec_checkpoint"]
    assert "the last checkpoint stays as it was" in outcome.failed["gru4rec_checkpoint"]
    store = Store(trained)
    assert store.find("gru4rec_checkpoint") == before
    assert set(store.find("leaderboard").arrow()["model"].to_pylist()) == {"markov", "popularity", "oracle"}


def test_what_learned_nothing_is_told_by_its_weights_its_losses_and_its_own_sessions(trained: FeedSettings) -> None:
    store = Store(trained)
    model = store.find("gru4rec_checkpoint").checkpoint()
    model = replace(model, stats={"losses": json.dumps([2.0, 1.0])})
    refuse_useless(model, store)
    name, weights = next(iter(model.arrays.items()))
    spoilt = weights.copy()
    spoilt.flat[0] = np.nan
    with pytest.raises(UnfitModelError, match=f"gru4rec: 1 of the {weights.size:,} numbers in {name} are NaN or inf"):
        refuse_useless(replace(model, arrays=model.arrays | {name: spoilt}), store)
    with pytest.raises(UnfitModelError, match=r"its loss rose from 1 in the first epoch to 1.2 in the last"):
        refuse_useless(replace(model, stats={"losses": "[1.0, 0.9, 1.2]"}), store)
    refuse_useless(replace(model, stats={"losses": "[1.0, 1.05]"}), store)
    nothing = {name: np.zeros_like(array) for name, array in model.arrays.items()}
    with pytest.raises(UnfitModelError, match=r"recall@20 0.0000 on its own training sessions is below the 0\.\d+ of"):
        refuse_useless(replace(model, arrays=nothing), store)
    refuse_useless(replace(model, model="markov", arrays=nothing), store)  # it has no training that could go astray


def test_few_sessions_and_what_is_as_good_as_popularity_pass(trained: FeedSettings) -> None:
    store = Store(trained)
    items, events = store.find("popularity").arrow()["item"].to_pylist(), latest(store)
    assert below_popularity(Popularity(len(items)), items, events, trained.evaluation) is None

    class Reversed(Popularity):
        def _row(self) -> np.ndarray:
            return super()._row()[::-1]

    assert "below the" in str(below_popularity(Reversed(len(items)), items, events, trained.evaluation))
    first = events["session_number"].to_numpy().min()
    few = events.filter(events["session_number"].to_numpy() < first + 20)
    assert below_popularity(Reversed(len(items)), items, few, trained.evaluation) is None


def test_a_model_that_knows_its_sessions_by_heart_passes_where_there_is_nothing_to_learn(
    feed: Callable[..., FeedSettings], instance: dg.DagsterInstance
) -> None:
    settings = feed(models=["gru4rec"], synthetic=law("null"), gru4rec=GRU4RecSettings(layers=[32], n_epochs=3))
    write_logs(law("null"), settings.landing)
    assert materialize_all(settings, instance, up_to=["gru4rec_checkpoint"]).success
