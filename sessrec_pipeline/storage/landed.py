"""Compressed copies of landed logs by content hash, so that a log can be read again when its file has left landing.

    <home>/kept/<sha256>.zst        the bytes of a file, in zstd
    <home>/kept/<sha256>.parts      of a log that is a folder, the name and the sha256 of each part

The text of such a list is what the hash of the folder was taken of, so it is named after its own hash, too.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from sessrec_pipeline.storage.files import DamagedFileError, finish, make_folder, move, writing
from sessrec_pipeline.storage.lineage import Lineage

LANDING = "landing"
"""What landed logs are called among ancestors, and their copies in the manifest."""
SUFFIXES = FILE, PARTS = ".zst", ".parts"
PART = re.compile(r"([^\0]+)\0([0-9a-f]{64})\n")
ADVICE = "`sessrec verify --repair` sets it aside; land that log again, or bring the file back from a backup"
WITHDRAWN = "withdrawn"
"""Among a node's settings: ``sha256`` of the landed file that is left out, and by whom and why; among the counts of a
partition: how many rows it had."""


def landed_hash(lineage: Lineage) -> str | None:
    """sha256 of the landed log that a partition was read from, or that was withdrawn; None where there is none."""
    if WITHDRAWN in lineage.node.config:
        return str(lineage.node.config[WITHDRAWN]["sha256"])
    return next((node.data_version for node in lineage.ancestors if node.asset == LANDING), None)


class OtherBytesError(ValueError):
    """A landed file that is not any more what was read."""


class LandedCopies:
    """The copies of one feed's home."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, sha256: str) -> bool:
        """Whether there is a copy of the log of this hash: of a file, or of all parts of a folder."""
        if self._file(sha256).exists():
            return True
        with suppress(DamagedFileError):
            parts = self.parts(sha256)
            return bool(parts) and all(self._file(part).exists() for part in parts)
        return False

    def keep(self, sha256: str, log: Path, parts: Mapping[str, Path]) -> None:
        """Copy a log, a file or a folder of ``parts`` by name; OtherBytesError where it is not that of the hash."""
        if not log.is_dir():
            self._copy(sha256, log)
            return
        listed = {}
        for name, path in parts.items():
            with path.open("rb") as file:
                listed[name] = hashlib.file_digest(file, "sha256").hexdigest()
            self._copy(listed[name], path)
        text = "".join(f"{name}\0{part}\n" for name, part in listed.items())
        if hashlib.sha256(text.encode()).hexdigest() != sha256:
            raise OtherBytesError(log)
        with writing(self.folder, PARTS) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")
            finish(temporary)
            move(temporary, self._list(sha256))

    def _copy(self, sha256: str, path: Path) -> None:
        if self._file(sha256).exists():
            return
        digest = hashlib.sha256()
        with writing(self.folder, FILE) as temporary:
            with path.open("rb") as file, pa.CompressedOutputStream(str(temporary), "zstd") as packed:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
                    packed.write(chunk)
            if digest.hexdigest() != sha256:
                raise OtherBytesError(path)
            finish(temporary)
            state = path.stat()
            os.utime(temporary, ns=(state.st_atime_ns, state.st_mtime_ns))  # when the log was written
            move(temporary, self._file(sha256))

    def lay_out(self, sha256: str, place: Path) -> None:
        """Bring a log back as the file or folder ``place``; DamagedFileError."""
        if self._file(sha256).exists():
            self._unpack(sha256, place)
            return
        for name, part in _listed(self._list(sha256)).items():
            make_folder((place / name).parent)
            self._unpack(part, place / name)

    def _unpack(self, sha256: str, place: Path) -> None:
        path = self._file(sha256)
        with place.open("wb") as file:
            for chunk in _unpacked(path):
                file.write(chunk)
        shutil.copystat(path, place)

    def parts(self, sha256: str) -> list[str]:
        """The hashes of the parts of a log that is a folder; none of one that is a file. DamagedFileError."""
        path = self._list(sha256)
        return list(_listed(path).values()) if path.exists() else []

    def files(self) -> list[Path]:
        """All copies and lists."""
        return [path for suffix in SUFFIXES for path in sorted(self.folder.glob(f"[!.]*{suffix}"))]

    def forget(self, needed: Collection[str]) -> None:
        """Delete the copies of all logs but those of the ``needed`` hashes; DamagedFileError, before any goes."""
        parts = {part for sha256 in needed for part in self.parts(sha256)}
        for path in self.files():
            if path.stem not in needed and path.stem not in parts:
                path.unlink(missing_ok=True)

    def _file(self, sha256: str) -> Path:
        return self.folder / f"{sha256}{FILE}"

    def _list(self, sha256: str) -> Path:
        return self.folder / f"{sha256}{PARTS}"


def check(path: Path) -> None:
    """DamagedFileError where a copy, or the list of a folder's parts, is not what was written."""
    if path.suffix == PARTS:
        _listed(path)
        return
    for _ in _unpacked(path):
        pass


def _listed(path: Path) -> dict[str, str]:
    """sha256 of the parts of a folder, by name; DamagedFileError."""
    text = path.read_bytes()
    if hashlib.sha256(text).hexdigest() != path.stem:
        raise DamagedFileError(path, "its text differs from its own hash", ADVICE)
    return dict(PART.findall(text.decode()))


def _unpacked(path: Path) -> Iterator[bytes]:
    """The bytes of a copy; DamagedFileError where they have not the hash that it is named after."""
    digest = hashlib.sha256()
    try:
        with pa.OSFile(str(path)) as file, pa.CompressedInputStream(file, "zstd") as packed:
            while chunk := packed.read(1 << 20):
                digest.update(chunk)
                yield chunk
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's or the folder's doing
        raise DamagedFileError(path, f"it cannot be read ({error})", ADVICE) from error
    if digest.hexdigest() != path.stem:
        raise DamagedFileError(path, "its bytes differ from their hash", ADVICE)
