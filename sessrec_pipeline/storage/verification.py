"""Whether all that a home holds is what was written, and all that must be there is there. Nothing is changed."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from sessrec_pipeline.storage import landed
from sessrec_pipeline.storage.files import DamagedFileError
from sessrec_pipeline.storage.landed import LANDING
from sessrec_pipeline.storage.layout import is_spoilt
from sessrec_pipeline.storage.owners import BusyError
from sessrec_pipeline.storage.store import RAW, Store, Stored
from sessrec_pipeline.storage.warehouse import seen
from sessrec_pipeline.storage.withdrawal import is_withdrawn


def damaged_files(store: Store, progress: Callable[[int, int], None]) -> Iterator[DamagedFileError]:
    """What is wrong with the files of lake, checkpoints, history and pages, of which every byte is read.

    progress: called with the bytes done and all bytes.
    """
    settings = store.settings
    files = [*settings.lake.rglob("[!.]*.parquet"), *settings.checkpoints.rglob("[!.]*.safetensors")]
    files += [*store.history.folder.rglob("[!.]*.parquet"), *settings.reports.rglob("[!.]*.html")]
    files += store.landed.files()
    sizes = [path.stat().st_size for path in files]
    done = 0
    for path, size in zip(files, sizes, strict=True):
        try:
            check_file(store, path)
        except DamagedFileError as error:
            if path.exists():  # else it was deleted meanwhile, as one of too many
                yield error
        done += size
        progress(done, sum(sizes))


def problems(store: Store, progress: Callable[[int, int], None]) -> Iterator[str]:
    """What is wrong with a home, a sentence each; progress as for ``damaged_files``."""
    yield from map(str, damaged_files(store, progress))
    current: dict[tuple[str, str | None], Stored] = {}
    for stored in store.current(lambda damage: None):  # it was told of
        current[stored.node.asset, stored.node.partition] = stored
    if damage := store.manifest.damage():
        yield str(damage)
    if is_spoilt(store.settings):
        yield str(
            DamagedFileError(store.home / "layout", "it does not say today's layout", "the next command writes it")
        )
    yield from gone(store, current)
    yield from _of_warehouse(store, current)


def gone(store: Store, current: Mapping[tuple[str, str | None], Stored]) -> Iterator[str]:
    """What the manifest names and is not among the current artefacts, by asset and partition."""
    expected = store.manifest.read()
    if expected is None:
        yield f"{store.manifest.path} is not there, so nobody knows whether something is gone"
    for (asset, partition), version in sorted((expected or {}).items(), key=str):
        if asset == LANDING:
            raw = current.get((RAW, partition))
            wanted = store.settings.storage.keep_landed and raw is not None and not is_withdrawn(raw.node)
            if wanted and not store.landed.has(version):
                yield (
                    f"the copy of the landed log {partition} is gone: land it again, bring it back with `sessrec "
                    "restore --backup DIR --missing`, or do without copies ([storage] keep_landed = false)"
                )
            continue
        name = asset if partition is None else f"{asset}[{partition}]"
        there = current.get((asset, partition))
        if there is None:
            yield f"{name} was published and is gone"
        elif there.node.data_version != version:
            yield f"{name} is version {there.node.data_version[:12]}, and {version[:12]} was published last"


def check_file(store: Store, path: Path) -> None:
    """DamagedFileError where a table, a model, a page or the copy of a landed log is not what was written, or where."""
    if path.is_relative_to(store.landed.folder):
        landed.check(path)
    elif path.is_relative_to(store.history.folder):
        Stored(path, store.history.read_lineage(path)).verified()
    elif (stored := store.at(path)) is not None:
        stored.verified()


def _of_warehouse(store: Store, current: dict[tuple[str, str | None], Stored]) -> Iterator[str]:
    if not store.warehouse.path.exists():
        yield f"{store.warehouse.path} is not there; the next command makes it anew from the lake's files"
        return
    try:
        with store.warehouse.reading() as connection:
            entered = {(asset, partition): node for asset, partition, node in seen(connection)}
    except (DamagedFileError, BusyError) as error:
        yield str(error)
        return
    for key in sorted(current.keys() | entered.keys(), key=str):
        if entered.get(key) != (current[key].node.id if key in current else None):
            name = key[0] if key[1] is None else f"{key[0]}[{key[1]}]"
            yield f"{store.warehouse.path} knows another version of {name} than the lake has"
