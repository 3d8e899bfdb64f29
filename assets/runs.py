"""The whole graph in this process: what ``sessrec demo``, ``sessrec materialize`` and CI jobs run.

In-process runs cost a third of the CPU of a process per step, and show their progress in the terminal.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.utils import make_new_run_id

from assets.automation import REBUILD, ingest_job, reading, studies_job
from assets.checks import asset_checks
from assets.countdown import Countdown, last_time
from assets.graph import build
from assets.ingestion import REFUSED, landed_logs
from assets.instance import SPOILT
from assets.logger import reason
from assets.processes import PROCESS_TAG, UNFINISHED, end_dead_runs, own_run
from assets.staleness import checks_of, out_of_date, under_other_settings, unread
from assets.studies import GROUP, PAGE
from sessrec_pipeline.failures import sentence_of
from sessrec_pipeline.feed import cards_of
from sessrec_pipeline.logs.landing import scan
from sessrec_pipeline.monitoring.verdicts import Outcome as CheckOutcome
from sessrec_pipeline.monitoring.verdicts import Verdict
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.stopping import at_stop
from sessrec_pipeline.storage.retention import prunable
from sessrec_pipeline.storage.store import GoneError, NotMaterializedError, Store
from sessrec_pipeline.storage.withdrawal import kept_logs
from sessrec_pipeline.studies.study import Study
from sessrec_pipeline.text import did_you_mean

TO_THE_TERMINAL: dict[str, Any] = {"loggers": {"console": {}}}
"""Run config that puts short progress lines in the place of Dagster's engine log."""
RUNS_ASKED = 20
"""Failed runs, the latest ones, that are asked why they failed."""


class UnknownAssetError(LookupError):
    """The feed has no asset of this name; the text says which it has."""


@dataclass(frozen=True)
class Outcome:
    """What became of a run over everything."""

    landed: list[str] = field(default_factory=list)
    """Logs that can be taken from the landing folder, or were ingested before."""
    refused: dict[str, str] = field(default_factory=dict)
    """Files and logs that were not taken, with the reason; the others went on without them."""
    failed: dict[str, str] = field(default_factory=dict)
    """Steps after ingestion that failed, with the reason; what rests on them was not made."""
    rebuilt: list[str] = field(default_factory=list)
    """Assets that were made."""
    without: list[str] = field(default_factory=list)
    """Models that failed and whose place is empty: what compares models was made over the others."""

    @property
    def success(self) -> bool:
        """Whether everything after ingestion is there and up to date, and no blocking check failed."""
        return bool(self.landed) and not self.failed


def materialize_all(
    settings: Settings,
    instance: dg.DagsterInstance,
    *,
    up_to: Sequence[str] = (),
    everything: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Take every log that landed or changed since it was ingested, then rebuild what is not up to date.

    ``up_to`` names the assets that are wanted, by default all of them: what they do not rest on stays as it is.
    UnknownAssetError where the feed has no such asset. ``everything`` rebuilds also what is up to date.
    """
    for line in end_dead_runs(instance):
        report(line)
    definitions = build(settings)
    graph = definitions.resolve_asset_graph()
    wanted = _above(graph, up_to)
    store = Store(settings)
    found = scan(settings.landing, store, {})
    refused = dict(found.refused)
    landed = sorted({*found.seen, *store.partitions("raw_sessions"), *kept_logs(store)})
    if not landed:
        return Outcome(refused=refused)
    instance.add_dynamic_partitions(str(landed_logs.name), landed)
    not_taken, failed = ingest(definitions, unread(graph, store, found, everything=everything), instance)
    refused |= not_taken
    if failed:  # nothing is made of some of the logs
        return Outcome(landed, refused, failed)
    try:
        logs = list(store.ingested())
        refused |= _unreachable(under_other_settings(graph, store, found))
    except GoneError as error:  # nothing is made of the others as if that one had never been
        return Outcome(landed, refused, {"ingestion": str(error)})
    if not logs:
        return Outcome(landed, refused, {"ingestion": "no log could be taken"})
    late = [key for key in out_of_date(graph, store, logs, everything=everything) if key in wanted]
    if not late:
        report("everything is up to date")
        return Outcome(landed, refused)
    failed = _failures(execute(rebuild_of(definitions, late), instance))
    made = [key.to_user_string() for key in late]
    lost = _fallen(settings, graph, store, logs) if failed else []
    if lost:
        report(f"going on without {', '.join(lost)}: the others are compared with each other")
        others = [name for name in settings.models if name not in lost]
        definitions = build(settings.model_copy(update={"models": others}), store)
        graph = definitions.resolve_asset_graph()
        wanted &= graph.materializable_asset_keys
        late = [key for key in out_of_date(graph, store, logs) if key in wanted]
        again = _failures(execute(rebuild_of(definitions, late), instance)) if late else {}
        if again:
            failed, lost = failed | again, []
    return Outcome(landed, refused, failed, made, lost)


def _unreachable(logs: Sequence[str]) -> dict[str, str]:
    if not logs:
        return {}
    first, more = logs[0], f" and {len(logs) - 1:,} more logs were" if len(logs) > 1 else " was"
    return {
        first: f"{first}{more} read under other [logs] settings, and today's cannot reach them, for their files are "
        "not in landing: land them again, or take them out with `sessrec withdraw`; [storage] keep_landed = true keeps "
        "copies of those that land from now on"
    }


def _fallen(settings: Settings, graph: AssetGraph, store: Store, logs: Sequence[str]) -> list[str]:
    """The models that have no ranking of today; none where that is true of one that every feed must have."""
    late = {key.to_user_string() for key in out_of_date(graph, store, logs)}
    lost = [card.name for card in cards_of(settings) if card.rankings in late]
    return lost if set(lost) <= set(settings.models) - {"popularity"} else []


def _above(graph: AssetGraph, assets: Sequence[str]) -> set[dg.AssetKey]:
    """These assets and all that they rest on; all assets where none is named."""
    known = {key.to_user_string() for key in graph.materializable_asset_keys if graph.get(key).group_name != GROUP}
    if unknown := [name for name in assets if name not in known]:
        meant = did_you_mean(unknown[0], known)
        raise UnknownAssetError(f"no asset {unknown[0]!r}{meant}; this feed has {', '.join(sorted(known))}")
    named = dg.AssetSelection.assets(*assets).upstream().required_multi_asset_neighbors()
    return set((named if assets else dg.AssetSelection.all()).resolve(graph))


def rebuild_of(definitions: dg.Definitions, late: Sequence[dg.AssetKey]) -> dg.JobDefinition:
    """The job that makes these assets, with their checks."""
    checks = checks_of(definitions.resolve_asset_graph(), late)
    rebuild = definitions.resolve_job_def(REBUILD)
    return rebuild.get_subset(asset_selection=set(late), asset_check_selection=checks)


def ingest(
    definitions: dg.Definitions, logs: Sequence[str], instance: dg.DagsterInstance, **how: str | bool
) -> tuple[dict[str, str], dict[str, str]]:
    """Read landed logs, whose partitions are there, in one run, or withdraw them.

    Those that could not be taken, with the reason; and why the run did not come to its end.
    """
    if not logs:
        return {}, {}
    result = execute(definitions.resolve_job_def(ingest_job.name), instance, config=reading(logs, **how))
    for event in result.get_step_failure_events():
        data = event.step_failure_data.user_failure_data
        if data and REFUSED in data.metadata:
            return dict(cast(Any, data.metadata[REFUSED].value)), {}
    return {}, _failures(result)


def withdraw(
    settings: Settings, instance: dg.DagsterInstance, logs: Sequence[str], *, why: str = "", undo: bool = False
) -> dict[str, str]:
    """Take the rows of ingested logs out of what is made next, or ``undo`` that; logs of which it failed, and why."""
    instance.add_dynamic_partitions(str(landed_logs.name), list(logs))  # a home may have come without Dagster's folder
    how: dict[str, str | bool] = {} if undo else {"withdraw": True, "why": why}
    refused, failed = ingest(build(settings), logs, instance, **how)
    return refused | failed


def stale(settings: Settings, asset: str) -> str | None:
    """The first of ``asset`` and what it rests on that is there and not up to date with today's settings and code."""
    graph, store = build(settings).resolve_asset_graph(), Store(settings)
    logs, wanted = list(store.ingested()), _above(graph, [asset])
    late = [key.to_user_string() for key in out_of_date(graph, store, logs) if key in wanted]
    return next((name for name in late if store.has(name)), None)


def failed_last(settings: Settings, instance: dg.DagsterInstance) -> dict[str, str]:
    """Assets that are missing or out of date, and could not be made when that was last tried: why, by asset."""
    failures: dict[str, dg.EventLogEntry] = {}
    with suppress(*SPOILT):  # rows of Dagster's that nobody can read any more
        for record in instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]), limit=RUNS_ASKED):
            for entry in instance.all_logs(record.dagster_run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
                failures.setdefault(str(entry.step_key), entry)
    store = Store(settings)
    failures = {name: entry for name, entry in failures.items() if not _made_after(store, name, entry.timestamp)}
    if not failures:  # as nearly always, and the graph takes longer than this
        return {}
    try:
        late = out_of_date(build(settings).resolve_asset_graph(), store, list(store.ingested()))
    except (GoneError, NotMaterializedError):  # the checks of the logs say so
        return {}
    names = {key.to_user_string() for key in late}
    return {name: reason(entry.get_dagster_event()) for name, entry in failures.items() if name in names}


def _made_after(store: Store, name: str, moment: float) -> bool:
    if not store.has(name):
        return False
    return datetime.fromisoformat(store.find(name).node.created_at).timestamp() > moment


def run_studies(
    settings: Settings,
    instance: dg.DagsterInstance,
    studies: Sequence[Study],
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, str]:
    """Make the studies and their page anew; why a step failed, by step. What is there of the others stays.

    ``report`` is told which study begins, and how much time is left.
    """
    names = [study.asset for study in studies]
    countdown = Countdown(names, last_time(instance, names), report)
    job = build(settings).resolve_job_def(studies_job.name)
    selection = [dg.AssetKey(name) for name in [*names, PAGE]]
    return _failures(execute(job, instance, countdown, asset_selection=selection))


def run_checks(settings: Settings, instance: dg.DagsterInstance) -> list[Verdict]:
    """What all asset checks say of what is there, by asset and name; those that could not run say why.

    The very functions of the job ``checks``, called one after the other: a Dagster run around them would take longer
    than they do. The UI shows what they found, as results that belong to no run.
    """
    resources = {"settings": settings, "store": Store(settings)}
    verdicts = []
    for checks in asset_checks(settings):
        found, why = _run_check(checks, resources, instance)
        for spec in checks.check_specs:
            asset, expected = spec.asset_key.to_user_string(), spec.description or ""
            evaluation = found.get(spec.key)
            if evaluation is None:
                verdicts.append(Verdict(asset, spec.name, "could not run", expected, why))
                continue
            instance.report_runless_asset_event(evaluation)
            severe = evaluation.severity is dg.AssetCheckSeverity.ERROR
            outcome: CheckOutcome = "passed" if evaluation.passed else "FAILED" if severe else "warning"
            verdicts.append(Verdict(asset, spec.name, outcome, expected, _seen(evaluation)))
    return sorted(verdicts, key=lambda v: (v.asset, v.check))


def _run_check(
    checks: dg.AssetChecksDefinition, resources: Mapping[str, Any], instance: dg.DagsterInstance
) -> tuple[dict[dg.AssetCheckKey, dg.AssetCheckEvaluation], str]:
    """What the checks of one definition found, and why the others of it found nothing."""
    found: dict[dg.AssetCheckKey, dg.AssetCheckEvaluation] = {}
    specs = {(spec.asset_key, spec.name): spec for spec in checks.check_specs}
    try:
        answer: Any = checks(dg.build_asset_check_context(resources, instance=instance))
        results: Iterable[dg.AssetCheckResult] = [answer] if isinstance(answer, dg.AssetCheckResult) else answer
        for result in results:
            spec = specs[cast(dg.AssetKey, result.asset_key), str(result.check_name)]
            found[spec.key] = dg.AssetCheckEvaluation(
                asset_key=spec.asset_key,
                check_name=spec.name,
                passed=result.passed,
                metadata=result.metadata,
                severity=result.severity,
                blocking=spec.blocking,
            )
    except Exception as error:  # whatever it is, it is the answer
        return found, sentence_of(error)
    return found, "the check gave no result"


def _seen(evaluation: dg.AssetCheckEvaluation) -> str:
    """The sentence that the check gives itself, or else its numbers; pictures are left out."""
    if "seen" in evaluation.metadata:
        return str(evaluation.metadata["seen"].value)
    values = {
        name: value.value
        for name, value in evaluation.metadata.items()
        if not isinstance(value, dg.MarkdownMetadataValue)
    }
    return ", ".join(f"{k}={_spelled(v)}" for k, v in values.items())


def _spelled(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def fail_launched_runs(instance: dg.DagsterInstance) -> None:
    """Mark the runs that the UI and the daemon launched as failed, once their processes are gone.

    The next daemon takes them up again (``run_retries``), and what was queued goes on by itself.
    """
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)):
        if PROCESS_TAG not in run.tags:
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            instance.report_run_failed(run, "sessrec dev was stopped")


def execute(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    on_event: Callable[[dg.EventLogEntry], None] = lambda entry: None,
    config: Mapping[str, Any] | None = None,
    **selection: Any,
) -> dg.ExecuteInProcessResult:
    """Run a job in this process, with progress on the terminal, tagged so that ``end_dead_runs`` knows it."""
    run_id = make_new_run_id()
    instance.add_event_listener(run_id, on_event)
    with own_run(instance, run_id) as tags, at_stop(lambda: _cancel(instance, run_id)):
        return job.execute_in_process(
            {**TO_THE_TERMINAL, **(config or {})},
            instance=instance,
            raise_on_error=False,
            run_id=run_id,
            tags=tags,
            **selection,
        )


def _cancel(instance: dg.DagsterInstance, run_id: str) -> None:
    """Mark a run of this process, which ends now, as canceled, and free what it held."""
    run = instance.get_run_by_id(run_id)
    if run is not None and not run.is_finished:
        instance.event_log_storage.free_concurrency_slots_for_run(run_id)
        instance.report_run_canceled(run, "sessrec was stopped")


def _failures(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """Why each failed step failed, and what each blocking check saw that did not pass."""
    reasons = {}
    for event in result.all_events:
        if event.event_type is dg.DagsterEventType.STEP_FAILURE:
            error = event.step_failure_data.error
            if error is None or error.cls_name != "DagsterAssetCheckFailedError":
                reasons[str(event.step_key)] = reason(event)
    if not result.success:
        for check in result.get_asset_check_evaluations():
            if not check.passed and check.blocking and check.severity is dg.AssetCheckSeverity.ERROR:
                asset = check.asset_key.to_user_string()
                reasons[asset] = f"check {check.check_name} did not pass: {_seen(check)}"
    return reasons if reasons or result.success else {"run": _why(result)}


def _why(result: dg.ExecuteInProcessResult) -> str:
    """Why a run failed of which no step did."""
    ends = [e for e in result.all_events if e.event_type is dg.DagsterEventType.RUN_FAILURE]
    error = ends[-1].job_failure_data.error if ends else None
    return error.message.strip().partition(": ")[2] if error else "failed"


def prune(settings: Settings, store: Store, instance: dg.DagsterInstance) -> list[str]:
    """Delete what ``prunable`` names, and the logs' partitions; their names."""
    logs = list(prunable(settings, store))
    for log, artefacts in logs:
        for artefact in artefacts:
            store.remove(artefact.node.asset, log)
        instance.delete_dynamic_partition("landed_logs", log)
    store.forget_landed()
    return [log for log, _ in logs]
