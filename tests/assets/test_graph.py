"""The graph as Dagster sees it, and the whole of it run on a small feed."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from assets.graph import build
from assets.inputs import superseded
from assets.runs import Outcome, materialize_all, run_checks
from assets.staleness import unread
from sessrec_pipeline.feed import FeedSettings, cards_of
from sessrec_pipeline.logs.landing import scan
from sessrec_pipeline.logs.synthetic import write_logs
from sessrec_pipeline.models.base import Card
from sessrec_pipeline.models.counts.markov import MarkovSettings
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings
from sessrec_pipeline.models.registry import cards
from sessrec_pipeline.settings import SyntheticSettings
from sessrec_pipeline.storage.files import leave
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.store import Store
from sessrec_pipeline.training.fit import fit_from_tables

pytestmark = pytest.mark.usefixtures("no_drawings")

SMALL = SyntheticSettings(sessions=300, items=60, days=3)
QUICK = GRU4RecSettings(layers=[16], n_epochs=2, n_sample=32, batch_size=16)
FEW: list[Any] = ["markov", "stan", "gru4rec"]
"""A model of each kind, for what is run here; tests/cli runs all of them."""

MADE_FROM = {
    name: {table.name for table in card.tables} | ({"train_split"} if card.training else set())
    for name, card in cards().items()
}
"""What each model's checkpoint rests on."""
MODELS = [model for model in MADE_FROM if model != "oracle"]
EVERY_RANKING = {f"{model}_rankings" for model in MADE_FROM}
EVERY_CHECKPOINT = {f"{model}_checkpoint" for model in MADE_FROM}
TABLES = {table.name for card in cards().values() for table in card.tables}
GRAPH: dict[str, set[str]] = {
    **{f"{model}_checkpoint": parents for model, parents in MADE_FROM.items()},
    **{f"{model}_rankings": {f"{model}_checkpoint", "test_split"} for model in MADE_FROM},
    **{table: {"train_split"} for table in TABLES},
    "beyond_accuracy": EVERY_RANKING | {"popularity", "test_split", "train_split"},
    "comparisons": EVERY_RANKING,
    "costs": EVERY_RANKING | EVERY_CHECKPOINT | TABLES,
    "drift": {"raw_sessions"},
    "leaderboard": {"comparisons", "metrics"},
    "metrics": EVERY_RANKING,
    "protocols": EVERY_RANKING | {"test_split"},
    "quarantine": set(),
    "raw_sessions": set(),
    "report": {
        *(card.checkpoint for card in cards().values() if card.training),
        "beyond_accuracy",
        "comparisons",
        "costs",
        "drift",
        "leaderboard",
        "metrics",
        "protocols",
        "quarantine",
        "raw_sessions",
        "sessions",
        "slices",
        "test_split",
        "train_split",
    },
    "sessions": {"raw_sessions"},
    "slices": EVERY_RANKING | {"popularity", "test_split", "train_split"},
    "test_split": {"sessions", "train_split"},
    "train_split": {"sessions"},
}
FOR_TUNING = {"tuning_test_split": {"train_split", "tuning_train_split"}, "tuning_train_split": {"train_split"}}
"""Assets beside these where something is tuned."""
STUDIES = {
    "study_catalogue_size": {"popularity", "test_split", "train_split"},
    "study_markov_alpha": {"markov_checkpoint", "popularity_checkpoint", "test_split"},
    "study_null_feed": set(),
    "study_sampled_negatives": EVERY_RANKING | EVERY_CHECKPOINT | {"popularity", "test_split"},
    "study_session_length": EVERY_RANKING | {"test_split"},
    "study_sliding_windows": {"sessions"},
    "study_shuffled_sessions": {"test_split", "train_split"},
    "study_tie_rules": EVERY_RANKING | {"markov_checkpoint", "test_split"},
    "study_train_ratio": {"sessions"},
    "study_training_sessions": {"test_split", "train_split"},
    "study_unseen_items": {"sessions"},
}
"""The group that is made on request."""
STUDIES_AND_PAGE: dict[str, set[str]] = STUDIES | {"studies_report": set(STUDIES)}
PARTITIONED = {"raw_sessions", "quarantine"}
TIMED = {"costs", "report"}
"""Assets that show how long the runs took, and so differ from run to run."""


def asset_graph(settings: FeedSettings) -> dict[str, set[str]]:
    nodes = build(settings).resolve_asset_graph().asset_nodes
    return {n.key.to_user_string(): {p.to_user_string() for p in n.parent_keys} for n in nodes}


def test_graph_is_the_one_that_is_documented(feed: Callable[..., FeedSettings]) -> None:
    assert asset_graph(feed(synthetic=SMALL)) == GRAPH | STUDIES_AND_PAGE


@pytest.mark.parametrize("training", [{"tuning_trials": 2}, {"validate_epochs": True}])
def test_train_is_split_once_more_where_something_is_tuned(
    feed: Callable[..., FeedSettings], training: dict[str, Any]
) -> None:
    graph = asset_graph(feed(training=training, models=["markov", "gru4rec"]))
    assert FOR_TUNING.items() <= graph.items()
    assert FOR_TUNING.keys().isdisjoint(asset_graph(feed(models=["markov", "gru4rec"])))


def test_code_location_loads(feed: Callable[..., FeedSettings]) -> None:
    dg.Definitions.validate_loadable(build(feed(synthetic=SMALL)))


def test_a_feed_of_ones_own_has_no_oracle(feed: Callable[..., FeedSettings]) -> None:
    graph = asset_graph(feed())
    assert "oracle_rankings" not in graph
    assert graph["metrics"] == {f"{model}_rankings" for model in MODELS}


def test_a_feed_builds_the_models_that_it_names(feed: Callable[..., FeedSettings]) -> None:
    graph = asset_graph(feed(models=["vsknn"]))
    assert graph["metrics"] == {"popularity_rankings", "vsknn_rankings"}, "popularity is the catalogue"
    assert "recent_sessions" in graph
    assert {"markov", "ar", "gru4rec_checkpoint"}.isdisjoint(graph)
    assert "gru4rec_checkpoint" not in graph["report"]
    dg.Definitions.validate_loadable(build(feed(models=["vsknn"], synthetic=SMALL)))


def test_studies_are_made_on_request_alone(feed: Callable[..., FeedSettings]) -> None:
    definitions = build(feed(synthetic=SMALL))
    graph = definitions.resolve_asset_graph()
    for name in STUDIES_AND_PAGE:
        assert graph.get(dg.AssetKey(name)).group_name == "studies", name
    for job, expected in (("studies", set(STUDIES_AND_PAGE)), ("rebuild", set(GRAPH) - PARTITIONED)):
        keys = definitions.resolve_job_def(job).asset_layer.executable_asset_keys
        assert {key.to_user_string() for key in keys} == expected, job


def test_a_study_is_stale_when_what_it_works_with_changed(feed: Callable[..., FeedSettings]) -> None:
    def versions(**sections: object) -> dict[str, str | None]:
        nodes = build(feed(synthetic=SMALL, **sections)).resolve_asset_graph().asset_nodes
        return {n.key.to_user_string(): n.code_version for n in nodes if n.group_name == "studies"}

    before = versions()
    for sections in ({"studies": {"seed": 1}}, {"evaluation": {"seed": 1}}, {"markov": {"alpha": 0.5}}):
        after = versions(**sections)
        assert all(after[name] != before[name] for name in STUDIES), sections
    assert versions(split={"keep_unseen_items": True})["study_unseen_items"] != before["study_unseen_items"]
    assert versions(drift={"min_days": 3}) == before


def test_every_asset_tells_what_it_is(feed: Callable[..., FeedSettings]) -> None:
    for node in build(feed(synthetic=SMALL)).resolve_asset_graph().asset_nodes:
        key = node.key.to_user_string()
        assert node.description and len(node.description) > 40, key
        assert node.group_name in {"ingestion", "preparation", "models", "evaluation", "studies"}, key
        assert node.kinds and node.owners and node.code_version, key


def test_gpu_settings_stand_on_the_asset(feed: Callable[..., FeedSettings]) -> None:
    checkpoint = build(feed()).resolve_asset_graph().get(dg.AssetKey("gru4rec_checkpoint"))
    assert checkpoint.pools == {"gpu"}
    limits = checkpoint.assets_def.op.tags["dagster-k8s/config"]
    assert "nvidia.com/gpu" in str(limits)


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> FeedSettings:
    settings = FeedSettings(home=tmp_path_factory.mktemp("demo"), models=FEW, synthetic=SMALL, gru4rec=QUICK)
    write_logs(SMALL, settings.landing)
    return settings


def rebuilt(settings: FeedSettings) -> set[str]:
    """The assets that ``rebuild`` makes."""
    return set(asset_graph(settings)) - set(STUDIES_AND_PAGE) - PARTITIONED


@pytest.fixture(scope="module")
def outcome(demo: FeedSettings, instance: dg.DagsterInstance) -> Outcome:
    return materialize_all(demo, instance)


def hashes(settings: FeedSettings) -> dict[str, str]:
    """Content hash of every artefact on disk but for those that show times, by asset and partition."""
    store = Store(settings)
    found = {}
    for asset in (rebuilt(settings) | PARTITIONED) - TIMED:
        for name in store.partitions(asset) or [None]:
            stored = store.find(asset, name)
            found[f"{asset}[{name}]"] = stored.node.data_version
    return found


def test_the_whole_graph_runs(outcome: Outcome, demo: FeedSettings) -> None:
    logs = ["demo-2026-01-05.tsv", "demo-2026-01-06.tsv", "demo-2026-01-07.tsv"]
    assert replace(outcome, rebuilt=sorted(outcome.rebuilt)) == Outcome(logs, {}, {}, sorted(rebuilt(demo)))
    assert outcome.success
    board = Store(demo).find("leaderboard").arrow().to_pylist()
    assert {row["model"] for row in board} == {*FEW, "popularity", "oracle"}
    assert board[0]["model"] == "oracle"
    leave()
    assert not list(demo.scratch.iterdir())


def test_materializing_again_gives_the_same_content(
    outcome: Outcome, demo: FeedSettings, instance: dg.DagsterInstance
) -> None:
    before = hashes(demo)
    again = materialize_all(demo, instance, everything=True)
    assert again.success and again.rebuilt == outcome.rebuilt
    assert hashes(demo) == before


def test_what_is_up_to_date_is_not_made_again(
    outcome: Outcome, demo: FeedSettings, instance: dg.DagsterInstance
) -> None:
    assert materialize_all(demo, instance).rebuilt == []
    other = demo.model_copy(update={"markov": MarkovSettings(alpha=0.5)})
    readers = {name for name, parents in asset_graph(demo).items() if "markov_rankings" in parents}
    below = (readers - set(STUDIES_AND_PAGE)) | {"leaderboard", "report"}
    assert set(materialize_all(other, instance).rebuilt) == {"markov_checkpoint", "markov_rankings"} | below
    assert materialize_all(demo, instance).success


def test_a_feed_without_gru4rec_runs(feed: Callable[..., FeedSettings]) -> None:
    settings = feed(synthetic=SMALL, models=["markov", "stan"])
    write_logs(SMALL, settings.landing)
    with dg.DagsterInstance.ephemeral() as fresh:
        assert materialize_all(settings, fresh).success
        assert not [verdict for verdict in run_checks(settings, fresh) if verdict.red]
    board = Store(settings).find("leaderboard").arrow()
    assert sorted(board["model"].to_pylist()) == ["markov", "oracle", "popularity", "stan"]
    assert "GRU4Rec" not in Store(settings).find("report").path.read_text()


def test_logs_that_other_settings_read_are_read_again(
    outcome: Outcome, demo: FeedSettings, instance: dg.DagsterInstance
) -> None:
    store, found = Store(demo), scan(demo.landing, Store(demo), {})
    stricter = demo.model_copy(update={"logs": demo.logs.model_copy(update={"max_bad_share": 0.1})})
    assert unread(build(demo).resolve_asset_graph(), store, found) == []
    assert unread(build(stricter).resolve_asset_graph(), store, found) == outcome.landed
    assert set(materialize_all(stricter, instance).rebuilt) == rebuilt(demo)
    assert unread(build(stricter).resolve_asset_graph(), store, found) == []
    assert materialize_all(demo, instance).success


def test_content_hash_is_the_data_version(outcome: Outcome, demo: FeedSettings, instance: dg.DagsterInstance) -> None:
    for asset in ("sessions", "train_split", "gru4rec_checkpoint", "metrics"):
        event = instance.get_latest_materialization_event(dg.AssetKey(asset))
        assert event is not None and event.asset_materialization is not None
        tags = event.asset_materialization.tags or {}
        assert tags["dagster/data_version"] == Store(demo).find(asset).node.data_version


def test_the_event_log_stays_small(outcome: Outcome, demo: FeedSettings, instance: dg.DagsterInstance) -> None:
    """Fault 25: every metadata value is stored several times, for every run there ever was."""
    for asset in rebuilt(demo) | PARTITIONED:
        event = instance.get_latest_materialization_event(dg.AssetKey(asset))
        assert event is not None and event.asset_materialization is not None
        for name, value in event.asset_materialization.metadata.items():
            assert len(str(value.value)) < 50_000, (asset, name)


def test_dagster_plots_what_every_model_came_to(
    outcome: Outcome, demo: FeedSettings, instance: dg.DagsterInstance
) -> None:
    event = instance.get_latest_materialization_event(dg.AssetKey("metrics"))
    assert event is not None and event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    rows = [
        row
        for row in Store(demo).find("metrics").arrow().to_pylist()
        if row["metric"] in ("recall", "mrr") and (row["k"], row["tie_rule"]) == (20, "conservative")
    ]
    plotted = {name: value.value for name, value in metadata.items() if "@" in name}
    assert plotted == {f"{row['metric']}@20 {row['model']}": row["value"] for row in rows}
    assert len(plotted) == 2 * len(cards_of(demo)) and isinstance(metadata[next(iter(plotted))], dg.FloatMetadataValue)


def test_lineage_lists_exactly_the_landed_files(outcome: Outcome, demo: FeedSettings) -> None:
    sql = """
        SELECT o.partition_key FROM metrics AS m JOIN lineage.origin AS o ON o.id = m.rankings
        WHERE m.model = 'gru4rec' AND m.metric = 'recall' AND m.k = 20 AND m.tie_rule = 'standard'
        AND o.asset = 'landing' ORDER BY 1
    """
    store = Store(demo)
    with store.warehouse.connect() as connection:
        before = connection.execute(sql).fetchall()
    assert [name for (name,) in before] == sorted(p.name for p in demo.landing.iterdir())
    demo.warehouse.unlink()
    store.rebuild_catalogue()
    with store.warehouse.connect() as connection:
        assert connection.execute(sql).fetchall() == before


def test_all_checks_pass(outcome: Outcome, demo: FeedSettings, instance: dg.DagsterInstance) -> None:
    verdicts = run_checks(demo, instance)
    # Two epochs on 300 sessions are too few to rank the models as the default demo must, and 60 to test on.
    assert {v.check for v in verdicts if v.outcome != "passed"} - {"expected_order"} == {"enough_test_sessions"}
    assert len(verdicts) == 48
    assert all(v.expected for v in verdicts)


def test_check_that_cannot_run_says_why(outcome: Outcome, demo: FeedSettings, instance: dg.DagsterInstance) -> None:
    metrics = Store(demo).find("metrics").path
    away = metrics.rename(metrics.with_name("away"))
    try:
        verdicts = run_checks(demo, instance)
    finally:
        away.rename(metrics)
    assert len(verdicts) == 48
    stuck = [v for v in verdicts if v.outcome == "could not run"]
    checks = ["catalogue_beyond_cutoffs", "same_predictions", "values_make_sense"]
    assert [(v.asset, v.check) for v in stuck] == [("metrics", check) for check in checks]
    assert all(v.seen == "metrics is not there yet; materialize metrics first" and v.red for v in stuck)


def test_leak_turns_the_check_red(outcome: Outcome, demo: FeedSettings, instance: dg.DagsterInstance) -> None:
    store = Store(demo)
    train, test = store.find("train_split"), store.find("test_split")
    table = pa.concat_tables([train.arrow(), test.arrow()])
    try:
        sessions = store.find("sessions").lineage
        leaky = store.publish("train_split", Table(table, dict(train.stats)), parents=[sessions])
        parents = [sessions, leaky.lineage]
        # Other content: a version that is published again would still say what it was made from before.
        store.publish("test_split", Table(test.arrow().slice(1), dict(test.stats)), parents=parents)
        red = {v.check for v in run_checks(demo, instance) if v.red and v.asset == "test_split"}
        assert {"no_session_in_both", "nothing_lost"} <= red
    finally:
        store.restore("train_split", train.node.data_version)
        store.restore("test_split", test.node.data_version)


@pytest.mark.parametrize("made_again", ["sessions", "train_split", "markov_rankings", "popularity_rankings"])
def test_what_is_older_than_its_inputs_is_held_against_those_it_was_made_from(
    outcome: Outcome, demo: FeedSettings, instance: dg.DagsterInstance, made_again: str
) -> None:
    store = Store(demo)
    assert list(superseded(store)) == []
    before, verdicts = store.find(made_again), run_checks(demo, instance)
    above = {node.id: node.asset for node in before.lineage.ancestors}
    parents = [store.find(above[parent]).lineage for parent in before.node.parents if above[parent] != "raw_sessions"]
    try:
        store.publish(made_again, Table(before.arrow().slice(7), dict(before.stats)), parents=parents)
        now = run_checks(demo, instance)
        assert {v for v in now if v.asset != made_again} == {v for v in verdicts if v.asset != made_again}
        readers = {name for name, above in asset_graph(demo).items() if made_again in above} - set(STUDIES)
        assert set(superseded(store)) == {(name, made_again) for name in readers}
    finally:
        store.restore(made_again, before.node.data_version)
    assert list(superseded(store)) == []


def test_other_settings_turn_no_check_red(outcome: Outcome, demo: FeedSettings, instance: dg.DagsterInstance) -> None:
    evaluation = demo.evaluation.model_copy(update={"cutoffs": [3, 10]})
    logs = demo.logs.model_copy(update={"earliest_year": 2050})
    other = demo.model_copy(update={"evaluation": evaluation, "logs": logs})
    assert [v for v in run_checks(other, instance) if v.red] == []


def test_a_model_that_fails_takes_down_itself_alone(
    feed: Callable[..., FeedSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = feed(synthetic=SMALL, models=["markov", "stan"])
    write_logs(SMALL, settings.landing)
    store, told = Store(settings), list[str]()

    def broken(card: Card[Any], *arguments: Any) -> Any:
        if card.name == "stan":
            raise ValueError("no similarity is left")
        return fit_from_tables(card, *arguments)

    with dg.DagsterInstance.ephemeral() as fresh:
        with monkeypatch.context() as patch:
            patch.setattr("assets.models.fit_from_tables", broken)
            outcome = materialize_all(settings, fresh, report=told.append)
        assert (outcome.without, outcome.success) == (["stan"], False)
        assert list(outcome.failed) == ["stan_checkpoint"], "the cause, not what followed from it"
        assert "(ValueError: no similarity is left)" in outcome.failed["stan_checkpoint"]
        assert told == ["going on without stan: the others are compared with each other"]
        assert set(store.find("leaderboard").arrow()["model"].to_pylist()) == {"markov", "popularity", "oracle"}
        assert store.has("report")
        assert materialize_all(settings, fresh).success
        assert "stan" in store.find("leaderboard").arrow()["model"].to_pylist()


def test_refused_log_does_not_stop_the_others(feed: Callable[..., FeedSettings], instance: dg.DagsterInstance) -> None:
    settings = feed(synthetic=SMALL, models=["markov"])
    write_logs(SMALL, settings.landing)
    (settings.landing / "broken.tsv").write_text("SessionId\tItem\n1\t2\n")
    with dg.DagsterInstance.ephemeral() as fresh:
        outcome = materialize_all(settings, fresh)
    assert list(outcome.refused) == ["broken.tsv"]
    assert "'ItemId' is missing" in outcome.refused["broken.tsv"]
    assert outcome.success
