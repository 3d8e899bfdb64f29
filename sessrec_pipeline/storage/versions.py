"""The published versions of a table or model: a file for each content, and a pointer to the current one.

    <folder>/versions/<content hash>.parquet    as it was published; never changed, and replaced only as a whole
    <folder>/current                            content hash of the current version
    <folder>/pins/<content hash>                an empty file: this version is kept, however old
    <folder>/partitions/<partition>/...         the same for each partition of a partitioned asset

Every file appears by rename, so a process that dies leaves the old current version or the new one. The same content
published again with another lineage (other code, other inputs) replaces its file: rows, name and pointer stay, and what
the file says of its origin is the newest.
"""

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sessrec_pipeline.storage.files import DamagedFileError, file_name, move, replacing

CURRENT, VERSIONS, PINS, PARTITIONS = "current", "versions", "pins", "partitions"
CONTENT_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class VersionFolder:
    """Where the versions of one artefact, a partition or an asset without partitions, are; it need not exist."""

    folder: Path
    suffix: str
    asset: str
    partition: str | None = None

    @classmethod
    def of(cls, root: Path, suffix: str, asset: str, partition: str | None) -> "VersionFolder":
        """The folder of an artefact below ``root``, the folder of its kind."""
        folder = root / file_name(asset)
        if partition is not None:
            folder = folder / PARTITIONS / file_name(partition)
        return cls(folder, suffix, asset, partition)

    @property
    def files(self) -> Path:
        """The folder of the versions themselves."""
        return self.folder / VERSIONS

    @property
    def pointer(self) -> Path:
        """The file that names the current version."""
        return self.folder / CURRENT

    def path(self, version: str) -> Path:
        """The file of a version, given by its content hash."""
        return self.files / f"{version}{self.suffix}"

    def there(self) -> list[str]:
        """Content hashes of the versions that are there, the one that was last published or restored first."""
        found = []
        for path in self.files.glob(f"*{self.suffix}"):
            with suppress(FileNotFoundError):  # deleted meanwhile, as one of too many
                if CONTENT_HASH.fullmatch(path.stem):
                    found.append((path.stat().st_mtime_ns, path.stem))
        return [version for _, version in sorted(found, reverse=True)]

    def current(self) -> str | None:
        """Content hash of the current version, None where none was made current; DamagedFileError for other text."""
        text = self._pointer()
        if text is not None and not CONTENT_HASH.fullmatch(text):
            raise DamagedFileError(self.pointer, "it names no version", "`sessrec restore` writes it again")
        return text

    def _pointer(self) -> str | None:
        try:
            return self.pointer.read_text(encoding="ascii", errors="replace").strip()
        except FileNotFoundError:
            return None

    def put(self, temporary: Path, version: str) -> Path:
        """Move a finished file in as ``version`` and make it current; its path."""
        move(temporary, self.path(version))
        self.make_current(version)
        return self.path(version)

    def make_current(self, version: str) -> None:
        """Let the pointer name ``version``."""
        if self._pointer() != version:
            with replacing(self.pointer) as temporary:
                temporary.write_text(f"{version}\n", encoding="ascii")

    def renew(self, version: str) -> None:
        """Count ``version`` as the newest, as if it had been published now."""
        os.utime(self.path(version))

    def pinned(self) -> set[str]:
        """Content hashes of the versions that are not deleted."""
        return {path.name for path in (self.folder / PINS).glob("[!.]*")}

    def pin(self, version: str) -> None:
        """Keep ``version`` from being deleted."""
        with replacing(self.folder / PINS / version):
            pass

    def unpin(self, version: str) -> None:
        """Let ``version`` be deleted when there are too many."""
        (self.folder / PINS / version).unlink(missing_ok=True)
