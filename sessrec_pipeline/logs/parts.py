"""A landed log on the disk: one file, or a folder of Parquet parts, Hive style too."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

LEFT_ALONE = (".part", ".partial", ".tmp", ".inprogress", ".filepart", ".crdownload", "._copying_", ".crc")
"""Ends of names, in small letters."""
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""What stands in a path for null."""


@dataclass(frozen=True)
class Part:
    """One file of a landed log."""

    path: Path
    name: str
    """Inside the log's folder; of a log that is one file, the log's."""
    place: str
    """In messages: the log's name, or that and its own."""
    values: dict[str, str | None]
    """Columns that the path says: ``date=2024-01-11/part-0.parquet`` has the column date."""


def is_log_name(name: str) -> bool:
    """Whether a file or folder of this name is taken at all.

    Left alone are what programs hide (``.name``, and ``_name``: _SUCCESS, _metadata, _temporary, ...), check sums, and
    what is still being written. A partition folder is none of these, whatever its column is called (``_day=1``).
    """
    hidden = name.startswith(".") or (name.startswith("_") and "=" not in name)
    return not hidden and not name.lower().endswith(LEFT_ALONE)


def parts_of(path: Path) -> list[Part]:
    """The files of a log, ordered by name."""
    if not path.is_dir():
        return [Part(path, path.name, path.name, {})]
    names = {file: str(file.relative_to(path)) for file in _files(path)}
    return [Part(file, name, f"{path.name}/{name}", _values(path, file)) for file, name in names.items()]


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if is_log_name(path.name):
            if path.is_dir() and not path.is_symlink():
                yield from _files(path)
            else:
                yield path


def _values(folder: Path, file: Path) -> dict[str, str | None]:
    names = [folder.name, *file.relative_to(folder).parent.parts]
    pairs = [name.split("=", 1) for name in names if "=" in name]
    return {unquote(key): None if value == NO_VALUE else unquote(value) for key, value in pairs}


def state_of(path: Path) -> tuple[int, ...]:
    """What differs once a file of a log was written to, replaced or renamed, also by one of the same size and time.

    Size, inode and the times of the last change of the content and of the file, in nanoseconds, of one part after the
    other. FileNotFoundError where a part is gone.
    """
    states = [part.path.stat() for part in parts_of(path)]
    return tuple(n for s in states for n in (s.st_size, s.st_ino, s.st_mtime_ns, s.st_ctime_ns))


def written_at(state: tuple[int, ...]) -> float:
    """When any file of a log was last written to, seconds since 1970, by its ``state_of``."""
    return max(state[2::4], default=0) / 1e9


def sha256_of(path: Path) -> str:
    """sha256 of a file's bytes; of a folder, of the names and bytes of its parts."""
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    for part in parts_of(path):
        digest.update(f"{part.name}\0{sha256_of(part.path)}\n".encode())
    return digest.hexdigest()
