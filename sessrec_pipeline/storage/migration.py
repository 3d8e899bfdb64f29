"""From the layout of one file for each artefact to versions (``layout``): files are renamed, none is copied.

It may die at any moment and be run again: a file that was not moved yet is where it was, and the home stays refused
until all are moved. The pointer is written before its file is moved, so a file that was moved is current.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.files import DamagedFileError, file_name, make_folder, move, sweep
from sessrec_pipeline.storage.layout import LAYOUT, check_layout, layout_of, write_layout
from sessrec_pipeline.storage.owners import locked
from sessrec_pipeline.storage.store import LOCK, LOCK_SECONDS, VERSIONED, Stored
from sessrec_pipeline.storage.versions import VersionFolder


def migrate(settings: Settings, report: Callable[[str], None]) -> int:
    """Bring a home to today's layout and ``report`` what became of its files; how many were moved.

    Each table and model is compared with its own hash. A damaged one is set aside in ``<home>/damaged``, and what
    sessrec did not write stays where it is. LayoutError for the home of a later version of sessrec.
    """
    if layout_of(settings) is not None:
        check_layout(settings)
        report(f"{settings.home} has layout {LAYOUT} already: there is nothing to do")
        return 0
    moved = 0
    with locked(settings.home / LOCK, LOCK_SECONDS):
        sweep(settings.home)
        for root, path in list(_old_files(settings)):
            try:
                moved += _moved(root, path)
            except DamagedFileError as error:
                aside = settings.home / "damaged" / path.relative_to(settings.home)
                make_folder(aside.parent)
                move(path, aside)
                report(f"set aside as {aside}: {error}")
        write_layout(settings)
    for _, path in _old_files(settings):
        report(f"left where it is: {path} was not written by sessrec")
    report(f"{settings.home} has layout {LAYOUT} now: {moved} tables and models were verified and moved")
    return moved


def _old_files(settings: Settings) -> Iterator[tuple[Path, Path]]:
    """The folder of its kind and the path of each file of layout 1; files of layout 2 lie deeper."""
    for root, suffix in ((settings.lake, ".parquet"), (settings.checkpoints, ".safetensors")):
        for pattern in (f"[!.]*{suffix}", f"*/[!.]*{suffix}"):
            yield from ((root, path) for path in sorted(root.glob(pattern)) if path.is_file())


def _moved(root: Path, path: Path) -> bool:
    """Verify a file and move it into its versions; False where it is none of ours. DamagedFileError."""
    lineage = VERSIONED[path.suffix](path)
    if lineage is None:
        return False
    node = lineage.node
    names = [node.asset] if node.partition is None else [node.asset, node.partition]
    if path.relative_to(root) != Path(*map(file_name, names)).with_name(f"{file_name(names[-1])}{path.suffix}"):
        return False  # a copy that somebody made
    Stored(path, lineage).verified()
    folder = VersionFolder.of(root, path.suffix, node.asset, node.partition)
    make_folder(folder.files)
    folder.make_current(node.data_version)
    move(path, folder.path(node.data_version))
    return True
