"""Dagster's side of the store: asset inputs are found in it, asset outputs are published to it."""

import hashlib
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Self

import dagster as dg
from dagster._core.definitions.data_version import CODE_VERSION_TAG, DATA_VERSION_TAG

from assets.retries import WAITS, tried_again
from assets.verdict import refuse_useless
from sessrec_pipeline.settings import EvaluationSettings
from sessrec_pipeline.storage.checkpoints import Checkpoint
from sessrec_pipeline.storage.history import METRICS
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.lineage import Lineage
from sessrec_pipeline.storage.pages import Page
from sessrec_pipeline.storage.store import NotMaterializedError, Publishable, Store, Stored
from sessrec_pipeline.training.freshness import SOURCES, sources

CONFIG_KEY = "sessrec/config"
"""Asset metadata: the settings that the asset reads, entered into its lineage."""

SECONDS = "seconds"
"""Name among an artefact's stats: how long its step worked after its inputs were checked, or what the step itself says.
Stats are no part of content or id, so two runs that differ in nothing but their pace give the same version."""

TOGETHER = 200
"""Tables that are entered into the catalogue in one transaction, where a step makes many."""

Attempt = tuple[str, str, int]
"""Run, step, and how often the step was begun before."""


class StoreIOManager(dg.IOManager):
    """Loads ``Stored`` artefacts (a list of them for all partitions) and publishes what assets return.

    The artefacts that a step loaded are the parents of what it publishes; the content hash becomes Dagster's
    data version. Tables are read once and compared with their own hash before a step may use them; a step whose inputs
    were replaced while it ran publishes nothing and is tried again.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._loaded: dict[Attempt, list[Lineage]] = defaultdict(list)
        self._begun: dict[Attempt, float] = {}

    def load_input(self, context: dg.InputContext) -> Stored | list[Stored]:
        """The upstream artefact, or the list of all its partitions; of landed logs those there and in the window.

        NotMaterializedError where it is not there, or a partition that is no landed log.
        """
        asset = context.asset_key.to_user_string()
        if not context.has_asset_partitions:
            found: Stored | list[Stored] = self.store.find(asset)
        elif isinstance(context.asset_partitions_def, dg.DynamicPartitionsDefinition):
            # Of the lake, not of Dagster's database, which may have been lost.
            taken = self.store.ingested()
            found = [stored for log, stored in self.store.partitions(asset).items() if log in taken]
        else:
            found = [self.store.find(asset, partition) for partition in context.asset_partition_keys]
        stored = [found] if isinstance(found, Stored) else found
        with tried_again(context.step_context.previous_attempt_count):
            for artefact in stored:
                artefact.verified()
        self._loaded[_attempt(context.step_context)] += [s.lineage for s in stored]
        self._begun[_attempt(context.step_context)] = time.perf_counter()
        return found

    def handle_output(self, context: dg.OutputContext, obj: Publishable | Iterable[tuple[str, Publishable]]) -> None:
        """Publish ``obj`` under the asset's name and tell Dagster its content hash.

        A step that makes several partitions gives them one after the other, each with its key; for Dagster they have
        one data version together, which is what Dagster keeps of a step.
        """
        step = context.step_context
        if isinstance(obj, Publishable):
            stored = self._publish(context, context.partition_key if context.has_asset_partitions else None, obj)
            version = stored.node.data_version
            context.add_output_metadata(_metadata_of(stored))
            if stored.node.asset == METRICS:
                self.store.remember(stored)
                context.add_output_metadata(_measured(stored, self.store.settings.evaluation))
        else:
            versions = []
            for partition, part in obj:
                stored = self._publish(context, partition, part)
                versions.append(stored.node.data_version)
                step.add_asset_metadata(_metadata_of(stored), context.asset_key, partition)
            version = versions[0] if len(versions) == 1 else hashlib.sha256("".join(versions).encode()).hexdigest()
        step.set_data_version(context.asset_key, dg.DataVersion(version))

    def _publish(self, context: dg.OutputContext, partition: str | None, value: Publishable) -> Stored:
        step, spec = context.step_context, context.asset_spec
        parents = self._loaded.get(_attempt(step), [])
        for parent in parents:
            if not self.store.is_current(parent.node):
                context.log.warning(f"{parent.node.asset} was replaced while this step read it; trying again")
                raise dg.RetryRequested(max_retries=len(WAITS))
        begun = self._begun.get(_attempt(step))
        if begun is not None and not isinstance(value, Page):
            value = replace(value, stats={SECONDS: time.perf_counter() - begun, **value.stats})
        if isinstance(value, Checkpoint):
            value = replace(value, stats={**value.stats, SOURCES: sources()})
        if isinstance(value, Checkpoint):
            refuse_useless(value, self.store)
        with tried_again(step.previous_attempt_count):
            return self.store.publish(
                context.asset_key.to_user_string(),
                value,
                partition=partition,
                code_version=spec.code_version or "",
                config=spec.metadata.get(CONFIG_KEY, {}),
                run_id=context.run_id,
                parents=parents,
            )


class PartitionWriter:
    """Publishes the partitions of a step that makes many, some of which may be refused, and tells Dagster of each.

    A step that returned them would say of all its partitions, or of none, that they were made. The catalogue hears of
    ``TOGETHER`` at a time.
    """

    def __init__(self, store: Store, context: dg.AssetExecutionContext) -> None:
        self.store = store
        self.context = context
        self.waiting: list[Stored] = []
        run = context.run
        self.attempts = {run.run_id, run.parent_run_id, run.root_run_id} - {None}

    def was_made(self, asset: str, partition: str) -> bool:
        """Whether an earlier try of this step, in this run or in one that it repeats, published this partition."""
        try:
            return self.store.find(asset, partition).node.run_id in self.attempts
        except NotMaterializedError:
            return False

    def publish(self, asset: str, partition: str, value: Table, **decided: Any) -> None:
        """Write a table as a partition of one of the step's assets; what was ``decided`` is kept with its settings."""
        key, context = dg.AssetKey(asset), self.context
        spec = context.assets_def.specs_by_key[key]
        stored = self.store.publish(
            asset,
            value,
            partition=partition,
            code_version=spec.code_version or "",
            config={**spec.metadata.get(CONFIG_KEY, {}), **decided},
            run_id=context.run.run_id,
            entered=False,
        )
        self.waiting.append(stored)
        tags = {DATA_VERSION_TAG: stored.node.data_version, CODE_VERSION_TAG: spec.code_version or ""}
        context.log_event(dg.AssetMaterialization(key, partition=partition, metadata=_metadata_of(stored), tags=tags))
        if len(self.waiting) >= TOGETHER:
            self._enter()

    def _enter(self) -> None:
        waiting, self.waiting = self.waiting, []
        if waiting:
            self.store.enter(waiting)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._enter()


def _metadata_of(stored: Stored) -> dict[str, Any]:
    """What Dagster shows of an artefact."""
    return {
        "path": dg.MetadataValue.path(str(stored.path)),
        "bytes": stored.path.stat().st_size,
        "content hash": stored.node.data_version,
        "lineage id": stored.node.id,
        "engine": stored.node.engine,
        **({} if stored.node.rows is None else {"dagster/row_count": stored.node.rows}),
        **{name: _as_time(name, value) for name, value in stored.stats.items()},
    }


def _measured(metrics: Stored, evaluation: EvaluationSettings) -> dict[str, float]:
    """Recall and MRR of every model at the largest cutoff, which Dagster plots over the runs."""
    k = max(evaluation.cutoffs)
    return {
        f"{row['metric']}@{k} {row['model']}": row["value"]
        for row in metrics.arrow().to_pylist()
        if row["metric"] in ("recall", "mrr") and (row["k"], row["tie_rule"]) == (k, evaluation.tie_rule)
    }


TIMES = ("first_time", "last_time", "cutoff")
"""Counts that are moments, microseconds since 1970."""
YEAR_2000 = 946_684_800_000_000


def _as_time(name: str, value: float | str) -> Any:
    """A moment as one; where times only give the order of events, they are numbers far below."""
    moment = name in TIMES and isinstance(value, int) and value >= YEAR_2000
    return dg.MetadataValue.timestamp(float(value) / 1e6) if moment else value


def _attempt(step: Any) -> Attempt:
    return step.run_id, step.step.key, step.previous_attempt_count
