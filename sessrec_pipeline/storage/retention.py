"""What may leave the lake: ingested logs that nothing needs any more.

A log's partition is removed only if all of this holds: it lies before the window of ``[sessions] window_days``, no
current artefact rests on it, none of its versions is pinned, and its file is gone from the landing folder, from where
it would be taken again. Its earlier versions go with it.
Landed files are their owner's: nothing here ever touches one.
"""

from collections.abc import Iterator

from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.store import QUARANTINE, RAW, NotMaterializedError, Store, Stored

PARTITIONED = (RAW, QUARANTINE)


def prunable(settings: Settings, store: Store) -> Iterator[tuple[str, list[Stored]]]:
    """Which of the ingested logs may go, with what would be deleted of each."""
    there = store.logs()
    taken, live = store.ingested(), store.live()
    pinned = {partition for asset, partition, _ in store.pinned() if asset in PARTITIONED}
    for log, raw in there.items():
        if log in taken or log in pinned or raw.node.id in live or (settings.landing / log).exists():
            continue
        yield log, [stored for asset in PARTITIONED if (stored := _find(store, asset, log))]


def _find(store: Store, asset: str, log: str) -> Stored | None:
    try:
        return store.find(asset, log)
    except NotMaterializedError:
        return None
