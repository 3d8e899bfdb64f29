"""Dagster's side of the store: asset inputs are found in it, asset outputs are published to it."""

import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg

from sessrec_pipeline.retries import WAITS, tried_again
from sessrec_pipeline.storage.lineage import Lineage
from sessrec_pipeline.storage.pages import Page
from sessrec_pipeline.storage.store import NotMaterializedError, Publishable, Store, Stored

CONFIG_KEY = "sessrec/config"
"""Asset metadata: the settings that the asset reads, entered into its lineage."""

SECONDS = "seconds"
"""Name among an artefact's stats: how long its step worked after its inputs were checked, or what the step itself says.
Stats are no part of content or id, so two runs that differ in nothing but their pace give the same version."""

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
        self._verified: dict[Path, tuple[int, int, int]] = {}

    def load_input(self, context: dg.InputContext) -> Stored | list[Stored]:
        """The upstream artefact; for a partitioned one all partitions that have been ingested and are in the window."""
        asset = context.asset_key.to_user_string()
        if context.has_asset_partitions:
            stored: list[Stored] = []
            for partition in sorted(context.asset_partition_keys):
                try:
                    stored.append(self.store.find(asset, partition))
                except NotMaterializedError:
                    # Refused or still under way: the others go on without it, and people read why in its own run.
                    context.log.warning(f"{asset}[{partition}] is not ingested; going on without it")
            stored = self.store.in_window(stored)
            found: Stored | list[Stored] = stored
        else:
            found = self.store.find(asset)
            stored = [found]
        with tried_again(context.step_context.previous_attempt_count):
            self._verify(stored)
        self._loaded[_attempt(context.step_context)] += [s.lineage for s in stored]
        self._begun[_attempt(context.step_context)] = time.perf_counter()
        return found

    def _verify(self, stored: list[Stored]) -> None:
        for artefact in stored:
            status = artefact.path.stat()
            version = (status.st_ino, status.st_size, status.st_mtime_ns)
            if self._verified.get(artefact.path) != version:
                artefact.verified()
                self._verified[artefact.path] = version

    def handle_output(self, context: dg.OutputContext, obj: Publishable) -> None:
        """Publish ``obj`` under the asset's name and tell Dagster its content hash."""
        step = context.step_context
        spec = context.asset_spec
        parents = self._loaded.get(_attempt(step), [])
        for parent in parents:
            if not self.store.is_current(parent.node):
                context.log.warning(f"{parent.node.asset} was replaced while this step read it; trying again")
                raise dg.RetryRequested(max_retries=len(WAITS))
        begun = self._begun.get(_attempt(step))
        if begun is not None and not isinstance(obj, Page):
            obj = replace(obj, stats={SECONDS: time.perf_counter() - begun, **obj.stats})
        with tried_again(step.previous_attempt_count):
            stored = self.store.publish(
                context.asset_key.to_user_string(),
                obj,
                partition=context.partition_key if context.has_partition_key else None,
                code_version=spec.code_version or "",
                config=spec.metadata.get(CONFIG_KEY, {}),
                run_id=context.run_id,
                parents=parents,
            )
        step.set_data_version(context.asset_key, dg.DataVersion(stored.node.data_version))
        context.add_output_metadata(
            {
                "path": dg.MetadataValue.path(str(stored.path)),
                "bytes": stored.path.stat().st_size,
                "content hash": stored.node.data_version,
                "lineage id": stored.node.id,
                "engine": stored.node.engine,
                **({} if stored.node.rows is None else {"dagster/row_count": stored.node.rows}),
                **stored.stats,
            }
        )


def _attempt(step: Any) -> Attempt:
    return step.run_id, step.step.key, step.previous_attempt_count
