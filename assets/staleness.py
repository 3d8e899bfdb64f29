"""What is out of date: the one rule of `sessrec materialize`, `sessrec search` and the nightly schedule.

It looks at the store alone: what an artefact was made with, against what there is now. The rebuild sensor asks
Dagster's event log the same question through ``automation.rebuild_when_changed``; a test holds the two together.
"""

from collections.abc import Sequence
from contextlib import suppress

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

from assets.ingestion import landed_logs
from assets.studies import GROUP
from sessrec_pipeline.logs.landing import Scan
from sessrec_pipeline.storage.store import NotMaterializedError, Store, Stored


def unread(graph: AssetGraph, store: Store, found: Scan) -> list[str]:
    """Landed logs that today's code and settings have not read as they are."""
    version = graph.get(dg.AssetKey("raw_sessions")).code_version
    return [
        log for log in found.seen
        if log in found.new or store.find("raw_sessions", log).node.code_version != version
    ]  # fmt: skip


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
            current[key] = {store.find(name, log).node.id for log in logs}
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


def _rests_on(stored: Stored, name: str) -> tuple[str, set[str]]:
    """The code and the inputs that an artefact was made with."""
    earlier = {n.id for n in stored.lineage.ancestors if n.asset == name}  # what a warm start began with
    return stored.node.code_version, set(stored.node.parents) - earlier
