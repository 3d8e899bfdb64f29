"""Logs that were taken out again.

Their partitions get a version without rows, whose node says which file is not to be taken again, who decided so and
why. So all that was made from a log is out of date as after any other change, and the lineage of what is made without
it has the decision in the place of the log.
"""

import pyarrow.parquet as pq

from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.landed import LANDING, WITHDRAWN, landed_hash
from sessrec_pipeline.storage.lineage import Node
from sessrec_pipeline.storage.store import RAW, NotMaterializedError, Store, Stored


def is_withdrawn(node: Node) -> bool:
    """Whether a partition is empty because its log was withdrawn."""
    return WITHDRAWN in node.config


def emptied(stored: Stored) -> Table:
    """A partition without its rows."""
    counts = dict.fromkeys(("rows_in", "events", "left_out", "quarantined"), 0)
    rows = stored.stats[WITHDRAWN] if is_withdrawn(stored.node) else stored.node.rows or 0
    return Table(pq.read_schema(stored.path).empty_table(), {**counts, WITHDRAWN: rows})


def landed_sha256(store: Store, log: str) -> str | None:
    """sha256 of the file that a partition of raw_sessions was read from, or is withdrawn; None where there is none."""
    try:
        return landed_hash(store.find(RAW, log).lineage)
    except NotMaterializedError:
        return store.manifest.withdrawn().get(log)


def kept_logs(store: Store) -> dict[str, str]:
    """Logs of which there is a copy of what landed (``landed``), also such whose rows are gone: by name its sha256."""
    if not store.landed.folder.is_dir():  # as in most homes, where the rest would be read for nothing
        return {}
    there, expected = store.partitions(RAW), store.manifest.read() or {}
    found = {log: expected.get((LANDING, log)) for log in store.gone_logs(there)}
    found |= {log: landed_hash(stored.lineage) for log, stored in there.items()}
    return {log: sha256 for log, sha256 in found.items() if sha256 is not None and store.landed.has(sha256)}


def withdrawn_logs(store: Store) -> list[str]:
    """Names of the logs that are withdrawn, also where the partition that says so is lost."""
    there = store.partitions(RAW)
    lost = [log for log in store.manifest.withdrawn() if log not in there]
    return [log for log, stored in there.items() if is_withdrawn(stored.node)] + lost
