"""What is there and what it was made from: the two differ once an input was made again, or brought back."""

from collections.abc import Iterator

import dagster as dg

from assets.ingestion import landed_logs
from sessrec_pipeline.storage.lineage import Node
from sessrec_pipeline.storage.store import NotMaterializedError, Store, Stored
from sessrec_pipeline.storage.withdrawal import withdrawn_logs


def input_of(store: Store, stored: Stored, asset: str) -> Stored:
    """The version of ``asset`` that ``stored`` was made from; the current one where it was made from none.

    NotMaterializedError where that version is gone.
    """
    made_from = next((node for node in _inputs(stored) if node.asset == asset), None)
    if made_from is None:
        return store.find(asset)
    for version in store.versions(asset):
        if version.stored.node.data_version == made_from.data_version:
            return version.stored
    raise NotMaterializedError(
        f"the {asset} that {stored.node.asset} was made from is gone; materialize {stored.node.asset} again"
    )


def superseded(store: Store) -> Iterator[tuple[str, str]]:
    """Assets that were made from another version of an input than is current now, each with that input's name."""
    current = store.current(lambda damage: None)
    contents = {(stored.node.asset, stored.node.partition): stored.node.data_version for stored in current}
    for stored in current:
        others = {
            n.asset for n in _inputs(stored) if contents.get((n.asset, n.partition)) not in (None, n.data_version)
        }
        yield from ((stored.node.asset, asset) for asset in sorted(others - {stored.node.asset}))


def not_ingested(instance: dg.DagsterInstance, store: Store) -> list[str]:
    """Logs that lie in the landing folder and were not taken."""
    known = set(landed_logs.get_partition_keys(dynamic_partitions_store=instance))
    left = known - set(store.logs()) - set(withdrawn_logs(store))
    return sorted(name for name in left if (store.settings.landing / name).exists())


def _inputs(stored: Stored) -> Iterator[Node]:
    parents = set(stored.node.parents)
    return (node for node in stored.lineage.ancestors if node.id in parents)
