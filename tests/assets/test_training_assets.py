"""GRU4Rec's choices are made inside train, interrupted work goes on, and yesterday's model is trained on."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from assets.models import model_assets
from assets.runs import materialize_all
from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.logs.synthetic import write_logs
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings
from sessrec_pipeline.settings import SyntheticSettings, TrainingSettings
from sessrec_pipeline.storage.store import Store

SMALL = SyntheticSettings(sessions=200, items=60, days=2)
QUICK = GRU4RecSettings(layers=[8], n_epochs=4, n_sample=16, batch_size=16, learning_rate=0.1)
CHECKPOINT = ["gru4rec_checkpoint"]


@pytest.fixture
def trained(feed: Callable[..., FeedSettings], instance: dg.DagsterInstance) -> Callable[..., FeedSettings]:
    """``trained(validate_epochs=True)``: a feed's settings after its checkpoint was materialized."""

    def make(**training: object) -> FeedSettings:
        settings = feed(models=["gru4rec"], gru4rec=QUICK, training=TrainingSettings.model_validate(training))
        if not list(settings.landing.iterdir()):
            write_logs(SMALL, settings.landing)
        assert materialize_all(settings, instance, up_to=CHECKPOINT).success
        return settings

    return make


def test_choices_are_assets_only_where_settings_ask_for_them(feed: Callable[..., FeedSettings]) -> None:
    def names(**training: object) -> list[str]:
        settings = feed(models=["gru4rec"], training=TrainingSettings.model_validate(training))
        found = [asset.key.to_user_string() for asset in model_assets(settings)]
        return [name for name in found if name.startswith("gru4rec")]

    assert names() == ["gru4rec_checkpoint"]
    assert names(validate_epochs=True, tuning_trials=1) == [
        "gru4rec_tuning",
        "gru4rec_validation",
        "gru4rec_checkpoint",
    ]


def test_the_tuned_settings_and_the_best_epoch_are_trained(trained: Callable[..., FeedSettings]) -> None:
    store = Store(trained(validate_epochs=True, tuning_trials=2))
    for asset in ("gru4rec_tuning", "gru4rec_validation", "gru4rec_checkpoint"):
        ancestors = {node.asset for node in store.find(asset).lineage.ancestors}
        assert "test_split" not in ancestors and "train_split" in ancestors, "no choice ever looks at the test split"
    trials = store.find("gru4rec_tuning")
    rows = trials.arrow().to_pylist()
    assert [row["trial"] for row in rows] == [0, 1]
    assert GRU4RecSettings.model_validate_json(rows[0]["config"]) == QUICK, "the configured settings come first"
    assert trials.stats["best_value"] == max(row["value"] for row in rows)
    epochs = store.find("gru4rec_validation")
    best = max(epochs.arrow().to_pylist(), key=lambda row: row["mrr"])
    assert epochs.stats["best_epoch"] == best["epoch"]
    config = GRU4RecSettings.model_validate(store.find("gru4rec_checkpoint").checkpoint().config)
    tuned = GRU4RecSettings.model_validate_json(str(trials.stats["config"]))
    assert config == tuned.model_copy(update={"n_epochs": best["epoch"]})


def test_a_search_that_was_interrupted_does_no_trial_twice(
    trained: Callable[..., FeedSettings], instance: dg.DagsterInstance
) -> None:
    first = Store(trained(tuning_trials=2)).find("gru4rec_tuning").arrow().to_pylist()
    more = Store(trained(tuning_trials=3)).find("gru4rec_tuning").arrow().to_pylist()
    assert more[:2] == first and len(more) == 3


@pytest.mark.parametrize(("code_changed", "epochs"), [(False, [1, 2, 3, 4]), (True, [1, 2, 1, 2, 3, 4])])
def test_training_goes_on_after_the_last_epoch_of_a_killed_run(
    trained: Callable[..., FeedSettings],
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    code_changed: bool,
    epochs: list[int],
) -> None:
    """But begins anew under other code, which may not read the state, or make another model of it."""
    settings = trained()
    store = Store(settings)
    whole = store.find("gru4rec_checkpoint").node.data_version
    for path in settings.training_states.iterdir():
        path.unlink()

    import assets.training

    save, saved = assets.training.save_state, []

    def dying(path: Path, state: object, key: str) -> None:
        save(path, state, key)  # type: ignore[arg-type]
        saved.append(state)
        if len(saved) == 2:
            raise SystemError("the machine went away")

    monkeypatch.setattr(assets.training, "save_state", dying)
    assert not materialize_all(settings, instance, up_to=CHECKPOINT, everything=True).success
    if code_changed:
        monkeypatch.setattr(assets.training, "code_digest", lambda code: "other")
    assert materialize_all(settings, instance, up_to=CHECKPOINT, everything=True).success
    assert [state.epoch for state in saved] == epochs  # type: ignore[attr-defined]
    assert store.find("gru4rec_checkpoint").node.data_version == whole


def test_warm_start_trains_on_with_the_sessions_that_came(
    trained: Callable[..., FeedSettings], instance: dg.DagsterInstance
) -> None:
    settings = trained(warm_start=True)
    store = Store(settings)
    first = store.find("gru4rec_checkpoint")
    items_before = first.checkpoint().items
    assert materialize_all(settings, instance, up_to=CHECKPOINT).success
    assert store.find("gru4rec_checkpoint").node.data_version == first.node.data_version, "no session came"

    rows = [f"n{s}\t{item}\t{1768000000 + 100 * s + i}" for s in range(80) for i, item in enumerate((1, 2, "new", 3))]
    (settings.landing / "later.tsv").write_text("SessionId\tItemId\tTime\n" + "\n".join(rows) + "\n")
    assert materialize_all(settings, instance, up_to=CHECKPOINT).success
    second = store.find("gru4rec_checkpoint")
    assert first.node.id in {node.id for node in second.lineage.ancestors}
    checkpoint = second.checkpoint()
    assert "new" in checkpoint.items and "new" not in items_before
    assert int(second.stats["trained_until"]) > int(first.stats["trained_until"])
    assert all(np.isfinite(array).all() for array in checkpoint.arrays.values())
    assert materialize_all(settings, instance, up_to=CHECKPOINT).rebuilt == [], (
        "a warm start rests on the checkpoint before it, too"
    )
