"""Every model is tuned with the same budget, inside train, and what it found is what is fitted and ranked."""

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from assets.graph import build
from assets.runs import materialize_all
from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.logs.synthetic import write_logs
from sessrec_pipeline.models.counts.markov import MarkovSettings
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings
from sessrec_pipeline.models.neighbours.session_knn import SKNNSettings
from sessrec_pipeline.models.registry import card_of
from sessrec_pipeline.settings import EvaluationSettings, SplitSettings, SyntheticSettings, TrainingSettings
from sessrec_pipeline.storage.files import leave
from sessrec_pipeline.storage.store import Store
from sessrec_pipeline.tuning.search import Trial, TuningSplit
from sessrec_pipeline.tuning.trials import best as best_of
from sessrec_pipeline.tuning.trials import effort, trials_of, tuning_assets, with_best

SMALL = SyntheticSettings(sessions=120, items=50, days=2)
QUICK = GRU4RecSettings(layers=[8], n_epochs=1, n_sample=16, batch_size=16, learning_rate=0.1)
MODELS = ["session_popularity", "recent_popularity", "markov", "ar", "sr", "sknn", "gru4rec"]
TUNED = [model for model in MODELS if model != "session_popularity"]
TRIALS = 3


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def make(home: Path, trials: int = TRIALS, models: list[str] = MODELS, **sections: object) -> FeedSettings:
    whole: dict[str, object] = {
        "models": models,
        "gru4rec": QUICK,
        "training": TrainingSettings(tuning_trials=trials),
        "evaluation": EvaluationSettings(cutoffs=[5], bootstrap_samples=100, permutations=1000),
    }
    return FeedSettings(home=home, **(whole | sections))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, instance: dg.DagsterInstance) -> FeedSettings:
    """A feed after everything was materialized with tuning on; read it, or leave it as it was."""
    settings = make(tmp_path_factory.mktemp("tuned"))
    write_logs(SMALL, settings.landing)
    assert materialize_all(settings, instance).success
    return settings


def made(settings: FeedSettings, *assets: str) -> Store:
    """The feed's store, once what landed has been read and these assets and all above them were made."""
    with dg.DagsterInstance.ephemeral() as instance:
        assert materialize_all(settings, instance, up_to=assets).success
    return Store(settings)


def rows(settings: FeedSettings) -> dict[str, list[dict[str, object]]]:
    store = Store(settings)
    return trials_of(settings, {name: store.find(name) for name in tuning_assets(settings)})


def test_all_models_have_the_same_number_of_trials(settings: FeedSettings) -> None:
    found = rows(settings)
    assert set(found) == set(TUNED)
    for model, trials in found.items():
        assert [trial["trial"] for trial in trials] == list(range(TRIALS)), model
        configs = [json.loads(str(trial["config"])) for trial in trials]
        assert configs[0] == getattr(settings, model).model_dump(mode="json"), "what is configured comes first"
        assert any(config != configs[0] for config in configs), model
        fixed = {name for name in configs[0] if name not in card_of(model).space}
        assert all(config[name] == configs[0][name] for config in configs for name in fixed), model


def test_trials_are_rows_of_the_warehouse(settings: FeedSettings) -> None:
    with Store(settings).warehouse.connect() as connection:
        for model in TUNED:
            assert connection.execute(f"SELECT COUNT(*) FROM {model}_tuning").fetchall() == [(TRIALS,)]


def test_the_first_trial_is_the_value_of_what_is_configured(settings: FeedSettings, tmp_path: Path) -> None:
    """The feed's train as a feed of its own, whose test split is the tuning split, gives the same figures."""
    store = Store(settings)
    aside = make(tmp_path, trials=0, models=["markov", "sknn", "ar"])
    aside.landing.mkdir(parents=True)
    train = store.find("train_split").arrow().to_pandas()
    log = train.assign(Time=train["time"] / 1e6)[["session", "item", "Time"]]
    log.columns = ["SessionId", "ItemId", "Time"]
    log.to_csv(aside.landing / "train.tsv", sep="\t", index=False, float_format="%.6f")
    metrics = (
        made(aside, "metrics")
        .find("metrics")
        .arrow()
        .to_pandas()
        .set_index(["model", "metric", "k", "tie_rule"])["value"]
    )
    for model in ("markov", "sknn", "ar"):
        assert rows(settings)[model][0]["value"] == pytest.approx(metrics[model, "mrr", 5, "conservative"]), model


@pytest.fixture
def best(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, dict[str, object]]]:
    """What the tests say is found, by model; the search itself is replaced."""
    found: dict[str, dict[str, object]] = {}

    def search(card, fit, settings, *others):  # type: ignore[no-untyped-def]
        base = settings.section(card.section)
        better = type(base).model_validate(base.model_dump() | found.get(card.name, {}))
        return [Trial(0, 0.1, base, 1.0), Trial(1, 0.2, better, 1.0), Trial(2, 0.2, base, 1.0)]

    monkeypatch.setattr("sessrec_pipeline.tuning.search.search", search)
    yield found


def test_the_best_settings_are_fitted_and_ranked(tmp_path: Path, best: dict[str, dict[str, object]]) -> None:
    best |= {"ar": {"pruning": 1}, "markov": {"alpha": 0.75}, "sknn": {"k": 2, "sample_size": 3}}
    models = ["markov", "ar", "sknn"]
    by_search = make(tmp_path / "searched", models=models)
    # What the search finds, written into the settings, must give the very same tables and rankings.
    by_hand = with_best_by_hand(make(tmp_path / "configured", trials=0, models=models), best)
    plain = make(tmp_path / "plain", trials=0, models=models)
    for settings in (by_search, by_hand, plain):
        settings.landing.mkdir(parents=True)
        write_logs(SMALL, settings.landing)
    names = ("ar", "markov_rankings", "ar_rankings", "sknn_rankings")
    stores = [made(settings, *names) for settings in (by_search, by_hand, plain)]
    for name in names:
        searched, configured, untuned = (store.find(name).node.data_version for store in stores)
        assert searched == configured != untuned, name


def with_best_by_hand(settings: FeedSettings, best: dict[str, dict[str, object]]) -> FeedSettings:
    return settings.model_copy(
        update={name: getattr(settings, name).model_copy(update=changes) for name, changes in best.items()}
    )


def test_the_configured_settings_stay_where_nothing_is_better() -> None:
    trials = [{"trial": i, "value": value, "config": "{}"} for i, value in enumerate([0.3, 0.3, 0.1])]
    assert best_of(trials)["trial"] == 0
    assert best_of([*trials, {"trial": 3, "value": 0.4, "config": "{}"}])["trial"] == 3


def test_only_sections_with_trials_are_replaced(settings: FeedSettings) -> None:
    store = Store(settings)
    trials = {name: store.find(name) for name in ("markov_tuning", "sknn_tuning")}
    chosen = with_best(settings, trials)
    assert chosen.gru4rec == settings.gru4rec and chosen.vsknn == settings.vsknn
    assert isinstance(chosen.markov, MarkovSettings) and isinstance(chosen.sknn, SKNNSettings)
    assert with_best(settings, {}) == settings


def test_an_interrupted_search_does_no_trial_twice(
    settings: FeedSettings, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows(settings)
    tried: list[str] = []
    value = TuningSplit.value

    def dying(split, card, *others):  # type: ignore[no-untyped-def]
        tried.append(card.name)
        if len(tried) == 2:
            raise KeyError("the machine went away")
        return value(split, card, *others)

    more = settings.model_copy(update={"training": TrainingSettings(tuning_trials=TRIALS + 1)})
    both = tuning_assets(settings)
    with monkeypatch.context() as patch:
        patch.setattr(TuningSplit, "value", dying)
        assert not materialize_all(more, instance, up_to=both).success
        assert materialize_all(more, instance, up_to=both).success
    after = rows(settings)
    assert sorted(tried) == sorted([*TUNED, tried[1]]), "no trial twice but the one that failed"
    assert {model: trials[:TRIALS] for model, trials in after.items()} == before
    assert {len(trials) for trials in after.values()} == {TRIALS + 1}
    leave()
    assert not list(settings.scratch.iterdir())
    assert materialize_all(settings, instance, up_to=both).success
    assert rows(settings) == before, "fewer trials are the first ones: the budget is the same for all"


def test_another_configured_section_begins_anew_for_its_model_alone(tmp_path: Path) -> None:
    settings = make(tmp_path, models=["markov", "ar"])
    write_logs(SMALL, settings.landing)
    made(settings, *tuning_assets(settings))
    before = rows(settings)
    other = settings.model_copy(update={"markov": MarkovSettings(alpha=0.5)})
    made(other, *tuning_assets(settings))
    after = rows(other)
    assert after.pop("markov") != before.pop("markov") and after == before


def test_trials_do_not_change_when_the_test_split_does(tmp_path: Path) -> None:
    models = ["markov", "sr", "sknn"]
    split = SplitSettings(rule="given", test_logs=["test.tsv"], keep_unseen_items=True)
    versions: list[str] = []

    def trials(name: str, test: list[str]) -> list[dict[str, object]]:
        settings = make(tmp_path / name, models=models, split=split)
        logs = write_logs(SMALL, settings.landing)
        heading = logs[0].read_text().splitlines()[0]
        last = max(line.split("\t")[2] for log in logs for line in log.read_text().splitlines()[1:])
        lines = [f"late{i}\t{item}\t{float(last) + 60 + i}" for i in range(9) for item in test]
        (settings.landing / "test.tsv").write_text("\n".join([heading, *lines]) + "\n")
        store = made(settings, *tuning_assets(settings), "test_split")
        versions.append(store.find("test_split").node.data_version)
        found = [store.find(asset) for asset in tuning_assets(settings)]
        assert "test_split" not in {node.asset for stored in found for node in stored.lineage.ancestors}
        return [
            {k: v for k, v in row.items() if k != "seconds"} for stored in found for row in stored.arrow().to_pylist()
        ]

    assert trials("one", ["1", "2", "3"]) == trials("other", ["7", "new", "7", "9", "1"])
    assert versions[0] != versions[1]


def graph(settings: FeedSettings) -> dict[str, set[str]]:
    nodes = build(settings).resolve_asset_graph().asset_nodes
    return {n.key.to_user_string(): {p.to_user_string() for p in n.parent_keys} for n in nodes}


def test_what_reads_tuned_settings_rests_on_the_trials(tmp_path: Path) -> None:
    on, off = graph(make(tmp_path)), graph(make(tmp_path, trials=0))
    tunings = {f"{model}_tuning" for model in TUNED}
    for name in tunings:
        assert on.pop(name) == {"tuning_train_split", "tuning_test_split"}
    assert on.pop("tuning_train_split") == {"train_split"}
    assert on.pop("tuning_test_split") == {"train_split", "tuning_train_split"}
    added = {name: parents - off[name] for name, parents in on.items() if parents != off[name]}
    studies = {name for name in on if name.startswith("study_")}
    expected = {f"{model}_checkpoint": {f"{model}_tuning"} for model in TUNED}
    tables = {"recent_popularity": "recent_popularity", "ar": "ar", "sr": "sr", "recent_sessions": "sknn"}
    expected |= {table: {f"{model}_tuning"} for table, model in tables.items()}
    assert added == expected | dict.fromkeys((*studies, "leaderboard"), tunings)
    assert not tunings & set(off)


def test_a_feed_with_nothing_to_tune_has_no_trials(tmp_path: Path) -> None:
    settings = make(tmp_path, models=["session_popularity"])
    assert tuning_assets(settings) == [] and not [name for name in graph(settings) if name.endswith("_tuning")]


def test_tuned_assets_keep_what_they_say_of_themselves(tmp_path: Path) -> None:
    on, off = (build(make(tmp_path, trials=n)).resolve_asset_graph() for n in (TRIALS, 0))
    for name in ("ar", "recent_sessions"):
        a, b = on.get(dg.AssetKey(name)), off.get(dg.AssetKey(name))
        assert (a.description, a.group_name, a.kinds, a.owners) == (b.description, b.group_name, b.kinds, b.owners)
        schema = "dagster/column_schema"
        assert a.metadata[schema] == b.metadata[schema]


def test_the_leaderboard_tells_what_was_tuned(settings: FeedSettings) -> None:
    board = {row["model"]: row for row in Store(settings).find("leaderboard").arrow().to_pylist()}
    found = rows(settings)
    for model in TUNED:
        assert board[model]["tuning_trials"] == TRIALS
        assert board[model]["tuning_seconds"] == pytest.approx(sum(float(str(t["seconds"])) for t in found[model]))
        assert board[model]["tuned"].startswith("3 trials, ") and board[model]["tuned"].endswith(", tuning split")
    assert board["markov"]["tuned_settings"] == "alpha"
    assert "layers" in board["gru4rec"]["tuned_settings"]
    for model in ("popularity", "session_popularity"):
        assert (board[model]["tuned"], board[model]["tuning_trials"]) == ("nothing to tune", 0)
    assert "3 trials, " in Store(settings).find("report").path.read_text()


def test_effort_is_told_in_words() -> None:
    def trials(count: int, seconds: float) -> dict[str, list[dict[str, object]]]:
        return {"sknn": [{"trial": i, "value": 0.1, "seconds": seconds, "config": "{}"} for i in range(count)]}

    sknn = card_of("sknn")
    assert effort(sknn, {})["tuned"] == effort(card_of("gru4rec"), {})["tuned"] == "settings as given"
    assert effort(card_of("oracle"), {})["tuned"] == "nothing to tune"
    assert effort(sknn, trials(50, 14.4))["tuned"] == "50 trials, 12 min, tuning split"
    assert effort(sknn, trials(1, 0.1))["tuned"] == "1 trial, under 1 s, tuning split"
    assert effort(sknn, trials(2, 21.0))["tuned"] == "2 trials, 42 s, tuning split"
    assert effort(sknn, trials(100, 144.0))["tuned"] == "100 trials, 4.0 h, tuning split"
    assert effort(sknn, trials(2, 1.0))["tuned_settings"] == ""
