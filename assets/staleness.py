"""What is out of date: the one rule of `sessrec materialize`, the rebuild sensor and the nightly schedule.

It looks at the store alone: what an artefact was made with, against what there is now.
"""

import hashlib
import json
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

from assets.ingestion import RAW, landed_logs
from assets.io_manager import CONFIG_KEY
from assets.studies import GROUP
from sessrec_pipeline.clock import SECOND
from sessrec_pipeline.logs.ingest import AHEAD, FUTURE
from sessrec_pipeline.logs.landing import Scan
from sessrec_pipeline.storage.store import NotMaterializedError, Store, Stored
from sessrec_pipeline.storage.withdrawal import is_withdrawn, kept_logs, withdrawn_logs


def unread(graph: AssetGraph, store: Store, found: Scan, *, everything: bool = False) -> list[str]:
    """Landed logs that today's code and settings have not read as they are, but for those that are withdrawn.

    Logs of which a copy is kept are taken for landed, and those of which one is to be kept and is not are named. Those
    with times that had not come yet when they were read, and have now, are read again. With ``everything`` also those
    that are up to date.
    """
    version = graph.get(RAW).code_version
    now = time.time() * SECOND + AHEAD
    waiting, withdrawn, kept = [], set(withdrawn_logs(store)), kept_logs(store)
    for log in sorted({*found.seen, *kept}):
        if log in withdrawn and log not in found.new:
            continue
        if log not in found.new and store.has("raw_sessions", log) and store.has("quarantine", log):
            copied = log in kept or not store.settings.storage.keep_landed
            node = store.find("raw_sessions", log).node
            come = int(node.stats.get(FUTURE, sys.maxsize)) <= now
            if copied and node.code_version == version and not everything and not come:
                continue
        waiting.append(log)
    return waiting


def under_other_settings(graph: AssetGraph, store: Store, found: Scan) -> list[str]:
    """Ingested logs that other ``[logs]`` settings than today's have read, and that are not there to be read again."""
    there = {*found.seen, *kept_logs(store)}
    now = graph.get(RAW).metadata.get(CONFIG_KEY, {})
    return [
        log
        for log, stored in store.logs().items()
        if log not in there and not is_withdrawn(stored.node) and _differ(stored.node.config, now)
    ]


def _differ(one: Any, other: Any) -> bool:
    """Whether two settings say different things; what an earlier version had no word for is no difference."""
    if isinstance(one, dict) and isinstance(other, dict):
        return any(_differ(one[key], other[key]) for key in one.keys() & other.keys())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) != len(other) or any(map(_differ, one, other))
    return bool(one != other)


def out_of_date(graph: AssetGraph, store: Store, logs: Sequence[str], *, everything: bool = False) -> list[dg.AssetKey]:
    """Assets after ingestion that are missing or rest on other inputs, settings or code than now, and all below them.

    In the order of the graph; all of them if ``everything``. The studies are not among them.
    """
    current: dict[dg.AssetKey, set[str]] = {}
    late: list[dg.AssetKey] = []
    for key in graph.toposorted_asset_keys:
        node, name = graph.get(key), key.to_user_string()
        if node.group_name == GROUP:
            continue
        if node.partitions_def == landed_logs:
            current[key] = set(_ids(store, name, logs))
            continue
        inputs = {version for parent in node.parent_keys for version in current.get(parent, set())}
        moved = everything or any(parent in late for parent in node.parent_keys)
        with suppress(NotMaterializedError):
            partitions = node.partitions_def.get_partition_keys() if node.partitions_def else [None]
            found = [store.find(name, partition) for partition in partitions]
            if not moved and all(_rests_on(stored, name) == (node.code_version, inputs) for stored in found):
                current[key] = {stored.node.id for stored in found}
                continue
        late.append(key)
    together = {other for key in late for other in graph.get(key).execution_set_asset_keys}  # of one step
    return [key for key in graph.toposorted_asset_keys if key in together]


def would_rest_on(graph: AssetGraph, store: Store, late: Sequence[dg.AssetKey], logs: Sequence[str]) -> dict[str, str]:
    """Of the assets that are ``late`` those that can be made now, each with a hash of the code and inputs it would get.

    The others wait for these.
    """
    found = {}
    for key in late:
        node = graph.get(key)
        if not set(late) & node.parent_keys:
            inputs = sorted(i for parent in node.parent_keys for i in _current_ids(graph, store, parent, logs))
            found[key.to_user_string()] = hashlib.sha256(json.dumps([node.code_version, inputs]).encode()).hexdigest()
    return found


def _current_ids(graph: AssetGraph, store: Store, key: dg.AssetKey, logs: Sequence[str]) -> list[str]:
    definition, name = graph.get(key).partitions_def, key.to_user_string()
    if definition == landed_logs:
        return _ids(store, name, logs)
    partitions = definition.get_partition_keys() if definition else [None]
    return [store.find(name, partition).node.id for partition in partitions]


def _ids(store: Store, name: str, logs: Sequence[str]) -> list[str]:
    """Of the partitions that are there: those of a withdrawn log are no loss."""
    there = store.partitions(name)
    return [there[log].node.id for log in logs if log in there]


def checks_of(graph: AssetGraph, late: Sequence[dg.AssetKey]) -> set[dg.AssetCheckKey]:
    """The checks of these assets, and those of the logs where something is made from the logs: they come before it."""
    from_logs = any(RAW in graph.get(key).parent_keys for key in late)
    return set(graph.get_check_keys_for_assets({*late, *([RAW] if from_logs else [])}))


def _rests_on(stored: Stored, name: str) -> tuple[str, set[str]]:
    """The code and the inputs that an artefact was made with."""
    earlier = {n.id for n in stored.lineage.ancestors if n.asset == name}  # what a warm start began with
    return stored.node.code_version, set(stored.node.parents) - earlier
