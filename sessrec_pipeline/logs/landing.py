"""What lies in the landing folder, and what of it is new."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

from sessrec_pipeline.logs.gate import LogRefusedError, check_name, is_log_name, sha256_of
from sessrec_pipeline.storage.store import NotMaterializedError, Store


@dataclass(frozen=True)
class Seen:
    """A landed file as it was when it was last looked at."""

    state: tuple[int, ...]
    """Size, inode, and the times of the last change of the content and of the file, in nanoseconds: a program that
    replaces a file by one of the same size and time cannot keep the others."""
    sha256: str
    """Empty while the file is not settled: it was not read."""


@dataclass(frozen=True)
class Scan:
    """One look at the landing folder."""

    seen: dict[str, Seen]
    """Every log that can be taken, by name, and those that are still growing."""
    new: dict[str, str]
    """Logs whose content has not been ingested, and is settled: name to sha256."""
    refused: dict[str, str]
    """Names that cannot be taken, with the reason."""


def scan(landing: Path, store: Store, known: dict[str, Seen], *, settle_seconds: float = 0) -> Scan:
    """Look at ``landing``; only files whose state differs from the ``known`` one are read again.

    A file is settled when it was last written ``settle_seconds`` ago, or when its state is that of the look
    before: the second holds whatever the clocks of this and other machines say.
    """
    seen: dict[str, Seen] = {}
    new: dict[str, str] = {}
    refused: dict[str, str] = {}
    for path in sorted(landing.iterdir()) if landing.is_dir() else []:
        if not is_log_name(path.name):
            continue
        try:
            check_name(path.name)
            if path.is_symlink() or not path.is_file():
                raise LogRefusedError(f"{path.name}: not a regular file; copy the log itself into the landing folder")
        except LogRefusedError as error:
            refused[path.name] = str(error)
            continue
        status = path.stat()
        before = known.get(path.name)
        state = (status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
        same = before is not None and before.state == state
        if before and same and before.sha256:
            seen[path.name] = before
            continue
        if settle_seconds > 0 and not same and time.time() - status.st_mtime < settle_seconds:
            seen[path.name] = Seen(state, "")
            continue
        try:
            sha256 = sha256_of(path)
        except OSError as error:  # one that cannot be read does not keep the others from being taken
            refused[path.name] = f"{path.name}: cannot be read ({error.strerror}); mend that or land it again"
            continue
        seen[path.name] = Seen(state, sha256)
        if ingested_sha256(store, path.name) != seen[path.name].sha256:
            new[path.name] = seen[path.name].sha256
    return Scan(seen, new, refused)


def ingested_sha256(store: Store, name: str) -> str | None:
    """sha256 of the landed bytes behind the partition ``name`` of raw_sessions, None where there is none."""
    try:
        lineage = store.find("raw_sessions", name).lineage
    except NotMaterializedError:
        return None
    return next((n.data_version for n in lineage.ancestors if n.asset == "landing"), None)


def to_cursor(seen: dict[str, Seen]) -> str:
    """``seen`` as the text of a sensor's cursor."""
    return json.dumps({name: [*s.state, s.sha256] for name, s in seen.items()})


def from_cursor(cursor: str | None) -> dict[str, Seen]:
    """Inverse of ``to_cursor``."""
    return {name: Seen(tuple(state), sha256) for name, (*state, sha256) in json.loads(cursor or "{}").items()}
