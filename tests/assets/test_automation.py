"""Logs are taken when they land; downstream follows when content changed, and only then."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
import pytest

from assets.automation import landing_sensor, nightly_schedule, rebuild_sensor
from assets.graph import build
from assets.ingestion import landed_logs
from assets.processes import PROCESS_TAG
from assets.runs import execute, materialize_all, rebuild_of
from assets.staleness import out_of_date
from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.logs import landing
from sessrec_pipeline.logs.synthetic import write_logs
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings
from sessrec_pipeline.settings import AutomationSettings, Settings, SyntheticSettings
from sessrec_pipeline.storage.store import Store

pytestmark = pytest.mark.usefixtures("no_drawings")

SMALL = SyntheticSettings(sessions=120, items=60, days=2)
FEW: list[Any] = ["markov", "gru4rec"]
QUICK = GRU4RecSettings(layers=[8], n_epochs=1, n_sample=16, batch_size=16)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return feed_in(tmp_path / "home")


class Materialized(NamedTuple):
    """A feed after everything was made, and Dagster's memory of it."""

    settings: Settings
    instance: dg.DagsterInstance


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a home in which everything was made; for copies."""
    folder = tmp_path_factory.mktemp("whole")
    settings = feed_in(folder / "home")
    (folder / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(folder / "dagster")) as instance:
        assert materialize_all(settings, instance).success
    return folder


@pytest.fixture
def materialized(whole: Path, tmp_path: Path) -> Iterator[Materialized]:
    shutil.copytree(whole, tmp_path / "copy")
    with dg.DagsterInstance.local_temp(str(tmp_path / "copy" / "dagster")) as instance:
        yield Materialized(feed_in(tmp_path / "copy" / "home"), instance)


def feed_in(home: Path) -> Settings:
    settings = FeedSettings(
        home=home, models=FEW, synthetic=SMALL, gru4rec=QUICK, automation=AutomationSettings(settle_seconds=0)
    )
    if not settings.landing.is_dir():
        write_logs(SMALL, settings.landing)
    return settings


def tick(settings: Settings, instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult:
    context = dg.build_sensor_context(instance=instance, cursor=cursor, resources={"store": Store(settings)})
    result = landing_sensor(settings)(context)
    assert isinstance(result, dg.SensorResult)
    for request in result.dynamic_partitions_requests or []:
        instance.add_dynamic_partitions(str(landed_logs.name), list(request.partition_keys))
    return result


def requested(result: dg.SensorResult) -> list[str]:
    """The logs of the one run that is asked for; none where none is."""
    requests = result.run_requests or []
    assert len(requests) <= 1
    return [log for request in requests for log in request.run_config["ops"]["read_landed_log"]["config"]["logs"]]


def test_sensor_takes_each_log_once(settings: Settings, instance: dg.DagsterInstance) -> None:
    first = tick(settings, instance)
    assert requested(first) == ["demo-2026-01-05.tsv", "demo-2026-01-06.tsv"]
    assert requested(tick(settings, instance, first.cursor)) == []
    assert landed_logs.get_partition_keys(dynamic_partitions_store=instance) == requested(first)


def test_sensor_takes_a_changed_log_again_and_a_touched_one_not(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    first = tick(settings, instance)
    log = settings.landing / "demo-2026-01-06.tsv"
    log.touch()
    materialize_all(settings, instance, up_to=["sessions"])
    touched = tick(settings, instance, first.cursor)
    assert requested(touched) == []
    log.write_text(log.read_text() + "new\t1\t1767700000\n")
    changed = tick(settings, instance, touched.cursor)
    assert requested(changed) == ["demo-2026-01-06.tsv"]
    assert changed.run_requests and first.run_requests
    assert changed.run_requests[0].run_key not in {request.run_key for request in first.run_requests}


def test_sensor_without_a_cursor_asks_for_nothing_that_is_ingested(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    materialize_all(settings, instance, up_to=["sessions"])
    assert requested(tick(settings, instance)) == []


def test_sensor_leaves_unfinished_and_hostile_files_alone(settings: Settings, instance: dg.DagsterInstance) -> None:
    for name in ("a.tsv.part", ".hidden.tsv", "x.tmp", "a*b.tsv", "quote'.tsv"):
        (settings.landing / name).write_text("SessionId\tItemId\tTime\n")
    assert requested(tick(settings, instance)) == ["demo-2026-01-05.tsv", "demo-2026-01-06.tsv"]


def test_sensor_leaves_a_log_alone_until_it_stops_growing(settings: Settings, instance: dg.DagsterInstance) -> None:
    slow = settings.model_copy(update={"automation": AutomationSettings(settle_seconds=3600)})
    ready, growing = sorted(settings.landing.iterdir())
    an_hour_ago = time.time() - 4000
    os.utime(ready, (an_hour_ago, an_hour_ago))
    first = tick(slow, instance)
    assert requested(first) == [ready.name]
    with growing.open("a") as file:
        file.write("late\t1\t1767700000\n")
    second = tick(slow, instance, first.cursor)
    assert requested(second) == [], "it changed since the last look"
    third = tick(slow, instance, second.cursor)
    assert requested(third) == [growing.name], "the same at two looks, whatever its time"
    assert requested(tick(slow, instance, third.cursor)) == []


def test_a_log_dated_in_the_future_is_taken_at_the_second_look(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    """The clock that wrote it is ahead, or ours was set back."""
    slow = settings.model_copy(update={"automation": AutomationSettings(settle_seconds=10)})
    for log in settings.landing.iterdir():
        os.utime(log, (time.time() + 1e6, time.time() + 1e6))
    first = tick(slow, instance)
    assert requested(first) == []
    assert len(requested(tick(slow, instance, first.cursor))) == 2


def test_a_log_that_is_changed_and_changed_back_is_read_both_times(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    log = max(settings.landing.iterdir())
    content, keys, cursor = log.read_text(), [], None
    for version in (content, content + "new\t1\t1767700000\n", content):
        log.write_text(version)
        result = tick(settings, instance, cursor)
        assert log.name in requested(result)
        keys += [request.run_key for request in result.run_requests or []]
        cursor = result.cursor
        materialize_all_of(settings, instance, "ingest", partition_key=log.name)
    assert len(set(keys)) == 3


def test_sensor_takes_many_logs_in_one_run(settings: Settings, instance: dg.DagsterInstance) -> None:
    first = tick(settings, instance)
    rows = max(settings.landing.iterdir()).read_text().splitlines(keepends=True)
    for number in range(60):
        (settings.landing / f"{number:02}.tsv").write_text(rows[0] + rows[1 + number])
    second = tick(settings, instance, first.cursor)
    assert requested(second) == [f"{number:02}.tsv" for number in range(60)]
    (request,) = second.run_requests or ()
    result = build(settings).resolve_job_def("ingest").execute_in_process(request.run_config, instance=instance)
    assert result.success and len(Store(settings).partitions("raw_sessions")) == 60
    assert requested(tick(settings, instance, second.cursor)) == []


built: dict[str, dg.Definitions] = {}


def look(
    settings: Settings,
    instance: dg.DagsterInstance,
    cursor: str | None = None,
    definitions: dg.Definitions | None = None,
) -> tuple[set[str], str | None]:
    """One look of the rebuild sensor: the assets that it asks for in one run, and the next cursor."""
    key = settings.model_dump_json()
    built[key] = built.get(key) or build(settings)
    repository = (definitions or built[key]).get_repository_def()
    context = dg.build_sensor_context(
        instance=instance, cursor=cursor, resources={"store": Store(settings)}, repository_def=repository
    )
    answer = rebuild_sensor(settings)(context)
    if isinstance(answer, dg.SkipReason):
        return set(), context.cursor
    assert isinstance(answer, dg.SensorResult) and answer.run_requests
    (request,) = answer.run_requests
    return {key.to_user_string() for key in request.asset_selection or ()}, answer.cursor


def asked(settings: Settings, instance: dg.DagsterInstance, names: set[str]) -> dg.ExecuteInProcessResult:
    """The run that a look asked for."""
    return execute(rebuild_of(build(settings), [dg.AssetKey(name) for name in names]), instance)


def test_rebuild_follows_changed_content_only(materialized: Materialized) -> None:
    settings, instance = materialized
    assert look(settings, instance)[0] == set()
    # the same bytes again
    materialize_all_of(settings, instance, "ingest", partition_key="demo-2026-01-06.tsv")
    assert look(settings, instance)[0] == set()

    log = settings.landing / "demo-2026-01-06.tsv"
    log.write_text(log.read_text() + "new\t1\t1767700000\nnew\t2\t1767700010\n")
    materialize_all_of(settings, instance, "ingest", partition_key=log.name)
    assert {"sessions", "gru4rec_checkpoint", "report"} <= look(settings, instance)[0]


def test_changed_settings_make_their_assets_stale_and_no_others(materialized: Materialized) -> None:
    settings, instance = materialized
    other = settings.model_copy(update={"gru4rec": QUICK.model_copy(update={"learning_rate": 0.1})})
    requests, _ = look(other, instance)
    assert {"gru4rec_checkpoint", "gru4rec_rankings", "leaderboard"} <= requests
    assert requests.isdisjoint({"sessions", "markov", "markov_checkpoint", "markov_rankings"})


def test_a_new_log_is_followed_by_one_run(materialized: Materialized) -> None:
    """The daemon's loop in small: look, run what is requested, until nothing is."""
    settings, instance = materialized
    log = settings.landing / "demo-2026-01-06.tsv"
    log.write_text(log.read_text() + "".join(f"new\t{item}\t{1767700000 + item}\n" for item in (1, 2, 3)))
    materialize_all_of(settings, instance, "ingest", partition_key=log.name)
    requests, cursor = look(settings, instance)
    result = asked(settings, instance, requests)
    assert result.success
    checked = {(e.asset_key.to_user_string(), e.check_name) for e in result.get_asset_check_evaluations()}
    assert {("raw_sessions", "nothing_lost"), ("sessions", "nothing_lost")} <= checked
    for _ in range(3):
        requests, cursor = look(settings, instance, cursor)
        assert requests == set()
    log_node = next(n for n in Store(settings).find("raw_sessions", log.name).lineage.ancestors)
    assert log_node.id in {n.id for n in Store(settings).find("report").lineage.ancestors}


@pytest.mark.parametrize("job", ["ingest", "rebuild"])
def test_nothing_is_rebuilt_while_a_run_is_under_way(materialized: Materialized, job: str) -> None:
    settings, instance = materialized
    other = settings.model_copy(update={"gru4rec": QUICK.model_copy(update={"learning_rate": 0.1})})
    definition = build(settings).resolve_job_def(job)
    run = instance.create_run_for_job(definition, status=dg.DagsterRunStatus.STARTED)
    assert look(other, instance)[0] == set()
    instance.report_run_failed(run)
    dead = {PROCESS_TAG: "host:1"}  # which holds no lock
    run = instance.create_run_for_job(definition, status=dg.DagsterRunStatus.STARTED, tags=dead)
    assert look(other, instance)[0], "the process of that one has died"
    ended = instance.get_run_by_id(run.run_id)
    assert ended is not None and ended.status is dg.DagsterRunStatus.FAILURE, "and what it held is free"


def test_an_asset_that_failed_is_not_asked_for_again_until_something_changes(
    materialized: Materialized, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, instance = materialized
    log = settings.landing / "demo-2026-01-06.tsv"

    def lands(row: str) -> None:
        log.write_text(log.read_text() + row)
        materialize_all_of(settings, instance, "ingest", partition_key=log.name)

    def refuse(*_: object) -> None:
        raise ValueError("no event is left")

    lands("new\t1\t1767700000\nnew\t2\t1767700010\n")
    counts, cursor = [], None
    with monkeypatch.context() as patch:
        patch.setattr("assets.preparation.prepare_sessions", refuse)
        for _ in range(4):
            requests, cursor = look(settings, instance, cursor)
            counts.append("sessions" in requests)
            if requests:
                assert not asked(settings, instance, requests).success
    assert counts == [True, False, False, False]
    lands("other\t1\t1767700020\nother\t2\t1767700030\n")
    assert "sessions" in look(settings, instance, cursor)[0]


def test_a_model_that_failed_is_not_asked_for_again_either(
    materialized: Materialized, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not among the first of its run: what it is made from was made in the same run."""
    settings, instance = materialized
    log = settings.landing / "demo-2026-01-06.tsv"
    log.write_text(log.read_text() + "new\t1\t1767700000\nnew\t2\t1767700010\n")
    materialize_all_of(settings, instance, "ingest", partition_key=log.name)

    def refuse(*_: object, **__: object) -> None:
        raise ValueError("the loss is no number")

    monkeypatch.setattr("assets.training.train", refuse)
    requests, cursor = look(settings, instance)
    assert not asked(settings, instance, requests).success
    requests, cursor = look(settings, instance, cursor)
    assert requests == set()
    other = settings.model_copy(update={"gru4rec": QUICK.model_copy(update={"learning_rate": 0.1})})
    assert "gru4rec_checkpoint" in look(other, instance, cursor)[0]


def test_a_run_that_was_only_faster_makes_nothing_again(materialized: Materialized) -> None:
    """Times differ from run to run: rankings that took another time set off no run."""
    settings, instance = materialized
    store = Store(settings)
    before = store.find("markov_rankings")
    materialize_all_of(settings, instance, "rebuild", asset_selection=[dg.AssetKey("markov_rankings")])
    assert store.find("markov_rankings").stats["seconds"] != before.stats["seconds"]
    assert look(settings, instance)[0] == set(), "the rankings have the same version"


def test_costs_are_the_seconds_and_bytes_of_what_the_model_is_made_of(materialized: Materialized) -> None:
    store = Store(materialized.settings)
    costs = {row["model"]: row for row in store.find("costs").arrow().to_pylist()}
    assert set(costs) == {"popularity", "markov", "gru4rec", "oracle"}
    made = [store.find(name) for name in ("popularity", "markov", "markov_checkpoint")]
    rankings, own = store.find("markov_rankings"), costs["markov"]
    assert own["fit_seconds"] == pytest.approx(sum(float(stored.stats["seconds"]) for stored in made))
    assert own["bytes_on_disk"] == made[-1].path.stat().st_size
    assert own["bytes_in_memory"] == rankings.stats["bytes_held"] > 0
    assert own["predictions"] == rankings.node.rows
    assert own["predict_microseconds"] == pytest.approx(float(rankings.stats["seconds"]) / rankings.node.rows * 1e6)
    assert own["rankings"] == rankings.node.id


def materialize_all_of(settings: Settings, instance: dg.DagsterInstance, job: str, **selection: object) -> None:
    definition = build(settings).resolve_job_def(job)
    assert definition.execute_in_process(instance=instance, **selection).success  # type: ignore[arg-type]


def night(
    settings: Settings, instance: dg.DagsterInstance, definitions: dg.Definitions | None = None
) -> dg.RunRequest | dg.SkipReason:
    repository = (definitions or build(settings)).get_repository_def()
    context = dg.build_schedule_context(
        instance=instance, resources={"store": Store(settings)}, repository_def=repository
    )
    (answer,) = nightly_schedule(settings)(context)  # type: ignore[misc]
    return answer  # type: ignore[return-value]


def test_nightly_waits_for_a_first_log(settings: Settings, tmp_path: Path) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        assert isinstance(night(settings, instance), dg.SkipReason)


def nothing(materialized: Materialized) -> dg.Definitions:
    return build(materialized.settings)


def new_log(materialized: Materialized) -> dg.Definitions:
    settings, instance = materialized
    (settings.landing / "more.tsv").write_text("SessionId\tItemId\tTime\nnew\t1\t1767700000\nnew\t2\t1767700010\n")
    instance.add_dynamic_partitions(str(landed_logs.name), ["more.tsv"])
    materialize_all_of(settings, instance, "ingest", partition_key="more.tsv")
    return build(settings)


def replaced_input(materialized: Materialized) -> dg.Definitions:
    settings, instance = materialized
    log = max(settings.landing.iterdir())
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:-20]))
    materialize_all_of(settings, instance, "ingest", partition_key=log.name)
    return build(settings)


def same_bytes_again(materialized: Materialized) -> dg.Definitions:
    settings, instance = materialized
    materialize_all_of(settings, instance, "ingest", partition_key="demo-2026-01-06.tsv")
    return build(settings)


def changed_setting(materialized: Materialized) -> dg.Definitions:
    return build(materialized.settings.model_copy(update={"gru4rec": QUICK.model_copy(update={"learning_rate": 0.1})}))


def changed_code(materialized: Materialized) -> dg.Definitions:
    def change(spec: dg.AssetSpec) -> dg.AssetSpec:
        return spec.replace_attributes(code_version="another") if spec.key == dg.AssetKey("train_split") else spec

    return build(materialized.settings).map_asset_specs(func=change)


@pytest.mark.parametrize(
    ("change", "first"),
    [
        (nothing, set()),
        (same_bytes_again, set()),
        (new_log, {"sessions", "drift"}),
        (replaced_input, {"sessions", "drift"}),
        (changed_setting, {"gru4rec_checkpoint"}),
        (changed_code, {"train_split"}),
    ],
)
def test_command_sensor_and_schedule_agree_on_what_is_out_of_date(
    materialized: Materialized, change: Callable[[Materialized], dg.Definitions], first: set[str]
) -> None:
    settings, instance = materialized
    definitions = change(materialized)
    graph, store = definitions.resolve_asset_graph(), Store(settings)
    late = out_of_date(graph, store, landed_logs.get_partition_keys(dynamic_partitions_store=instance))
    assert {key.to_user_string() for key in late if not graph.get(key).parent_keys & set(late)} == first
    assert look(settings, instance, definitions=definitions)[0] == {key.to_user_string() for key in late}
    answer = night(settings, instance, definitions)
    if first:
        assert isinstance(answer, dg.RunRequest) and answer.asset_selection == late
    else:
        assert isinstance(answer, dg.SkipReason) and late == []


def test_what_the_schedule_asks_for_leaves_nothing_out_of_date(materialized: Materialized) -> None:
    settings, instance = materialized
    answer = night(settings, instance, new_log(materialized))
    assert isinstance(answer, dg.RunRequest)
    materialize_all_of(settings, instance, "rebuild", asset_selection=answer.asset_selection)
    assert isinstance(night(settings, instance), dg.SkipReason)


def test_the_schedule_names_logs_that_nobody_read(
    materialized: Materialized, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, instance = materialized
    (settings.landing / "more.tsv").write_text("SessionId\tItemId\tTime\nnew\t1\t1767700000\n")
    assert isinstance(night(settings, instance), dg.SkipReason)
    said = capsys.readouterr().err
    assert "1 logs have landed" in said and "more.tsv" in said


@pytest.mark.parametrize("running", [True, False])
def test_automation_can_be_switched_off(feed: Callable[..., Settings], running: bool) -> None:
    definitions = build(feed(automation=AutomationSettings(running=running)))
    expected = dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED
    assert {s.default_status for s in definitions.get_repository_def().sensor_defs} == {expected}


def test_a_log_that_cannot_be_read_for_a_while_is_taken_later(
    settings: Settings, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 24: one bad file stops neither the tick nor the others, and the cursor does not go past it."""
    read = landing.sha256_of

    def refuse(path: Path) -> str:
        if path.name == "bad.tsv":
            raise OSError(5, "Input/output error", str(path))
        return read(path)

    first = tick(settings, instance)
    for name in ("bad.tsv", "good.tsv"):
        (settings.landing / name).write_text("SessionId\tItemId\tTime\na\t1\t1767700000\n")
    with monkeypatch.context() as patch:
        patch.setattr(landing, "sha256_of", refuse)
        second = tick(settings, instance, first.cursor)
    assert requested(second) == ["good.tsv"]
    assert requested(tick(settings, instance, second.cursor)) == ["bad.tsv"]


# --- what is tried again ----------------------------------------------------------------------------------------------


@pytest.fixture
def shipped(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance with the configuration that every feed starts with."""
    folder = tmp_path / "dagster"
    folder.mkdir()
    text = (files("sessrec_pipeline") / "dagster.yaml").read_text(encoding="utf-8")
    (folder / "dagster.yaml").write_text(text, encoding="utf-8")
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        yield instance


def will_retry(instance: dg.DagsterInstance, run_id: str) -> str | None:
    run = instance.get_run_by_id(run_id)
    return run.tags.get("dagster/will_retry") if run else None


def test_a_run_whose_process_died_begins_again_a_few_times(settings: Settings, shipped: dg.DagsterInstance) -> None:
    job = build(settings).resolve_job_def("rebuild")
    first = shipped.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    shipped.report_run_failed(first, "process 1 died")
    assert will_retry(shipped, first.run_id) == "true"
    for number, expected in (("1", "true"), ("2", "false")):
        tags = {"dagster/retry_number": number, "dagster/root_run_id": first.run_id}
        again = shipped.create_run_for_job(
            job,
            status=dg.DagsterRunStatus.STARTED,
            tags=tags,
            parent_run_id=first.run_id,
            root_run_id=first.run_id,
        )
        shipped.report_run_failed(again, "process 2 died")
        assert will_retry(shipped, again.run_id) == expected


def test_a_run_with_a_failed_step_is_not_begun_again(settings: Settings, shipped: dg.DagsterInstance) -> None:
    name = "bad.tsv"
    (settings.landing / name).write_text("no,header\n1,2\n")
    shipped.add_dynamic_partitions(str(landed_logs.name), [name])
    result = execute(build(settings).resolve_job_def("ingest"), shipped, partition_key=name)
    assert not result.success
    assert will_retry(shipped, result.run_id) == "false"
