"""What lies in the landing folder, and what of it is new."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

from sessrec_pipeline.logs.gate import LogRefusedError, check_name
from sessrec_pipeline.logs.parts import is_log_name, parts_of, sha256_of, state_of, written_at
from sessrec_pipeline.storage.store import Store
from sessrec_pipeline.storage.withdrawal import landed_sha256


@dataclass(frozen=True)
class Seen:
    """A landed log as it was when it was last looked at."""

    state: tuple[int, ...]
    """``state_of`` it: a program that replaces a file by one of the same size and time cannot keep all of that."""
    sha256: str
    """Empty while the log is not settled: it was not read."""
    read_at: float = 0
    """When it was read, seconds since 1970."""


@dataclass(frozen=True)
class Scan:
    """One look at the landing folder."""

    seen: dict[str, Seen]
    """Every log that can be taken, by name, and those that are still growing."""
    new: dict[str, str]
    """Logs whose content has not been ingested or withdrawn, and is settled: name to sha256."""
    refused: dict[str, str]
    """Names that cannot be taken, with the reason."""


def scan(
    landing: Path,
    store: Store,
    known: dict[str, Seen],
    *,
    settle_seconds: float = 0,
    reread_seconds: float | None = None,
) -> Scan:
    """Look at ``landing``; only logs whose state differs from the ``known`` one are read again.

    A file is settled when it was last written ``settle_seconds`` ago, or when its state is that of the look
    before: the second holds whatever the clocks of this and other machines say. Where the state tells nothing, as on
    some network drives, the content does: of logs that were read ``reread_seconds`` ago, one is read again at a look.
    """
    due = min(known, key=lambda name: known[name].read_at, default=None) if reread_seconds is not None else None
    if due is not None and time.time() - known[due].read_at < (reread_seconds or 0):
        due = None
    seen: dict[str, Seen] = {}
    new: dict[str, str] = {}
    refused: dict[str, str] = {}
    for path in sorted(landing.iterdir()) if landing.is_dir() else []:
        if not is_log_name(path.name):
            continue
        try:
            check_name(path.name)
            _check_kind(path)
            state = state_of(path)
        except LogRefusedError as error:
            refused[path.name] = str(error)
            continue
        except FileNotFoundError:  # it went away meanwhile
            continue
        before = known.get(path.name)
        same = before is not None and before.state == state
        if before and same and before.sha256 and path.name != due:
            seen[path.name] = before
            continue
        if settle_seconds > 0 and not same and time.time() - written_at(state) < settle_seconds:
            seen[path.name] = Seen(state, "")
            continue
        try:
            sha256 = sha256_of(path)
        except OSError as error:  # one that cannot be read does not keep the others from being taken
            refused[path.name] = f"{path.name}: cannot be read ({error.strerror}); fix that or land it again"
            continue
        seen[path.name] = Seen(state, sha256, time.time())
        if before and before.sha256 == sha256 and same:
            continue
        if landed_sha256(store, path.name) != sha256:
            new[path.name] = sha256
    return Scan(seen, new, refused)


def _check_kind(path: Path) -> None:
    if path.is_symlink() or not (path.is_file() or path.is_dir()):
        raise LogRefusedError(f"{path.name}: not a regular file; copy the log itself into the landing folder")
    if path.is_dir() and not any(part.path.suffix == ".parquet" for part in parts_of(path)):
        raise LogRefusedError(
            f"{path.name}: a folder, which is a log only where it holds Parquet parts (*.parquet); land the files in "
            "it one by one, in the landing folder itself"
        )


def to_cursor(seen: dict[str, Seen]) -> str:
    """``seen`` as the text of a sensor's cursor."""
    return json.dumps({name: [s.state, s.sha256, s.read_at] for name, s in seen.items()})


def from_cursor(cursor: str | None) -> dict[str, Seen]:
    """Inverse of ``to_cursor``; a cursor of another version says nothing."""
    found = json.loads(cursor or "{}")
    return {
        name: Seen(tuple(entry[0]), *entry[1:])
        for name, entry in found.items()
        if len(entry) == 3 and isinstance(entry[0], list)
    }
