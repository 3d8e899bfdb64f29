"""What must be there: the content hash of every current artefact, so that one that is gone is noticed."""

import hashlib
import json
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from sessrec_pipeline.storage.files import DamagedFileError, move, replacing

Key = tuple[str, str | None]
"""Asset and partition."""


class Manifest:
    """A file of all current artefacts, and the one before it. Who changes it holds the store's lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.before = path.with_name(path.name + ".before")

    def read(self) -> dict[Key, str] | None:
        """Content hash by asset and partition; where the file is damaged or gone, by the one before it, or None."""
        for path in (self.path, self.before):
            with suppress(FileNotFoundError, DamagedFileError):
                return _read(path)
        return None

    def change(self, made: Mapping[Key, str], gone: Collection[Key] = ()) -> None:
        """Enter artefacts that were made, and leave out those that were deleted on purpose."""
        known = self.read() or {}
        now = {key: version for key, version in {**known, **made}.items() if key not in gone}
        if now != known or not self.path.exists():
            self._write(now)

    def _write(self, entries: Mapping[Key, str]) -> None:
        rows = [[*key, version] for key, version in sorted(entries.items(), key=str)]
        with replacing(self.path) as temporary:
            temporary.write_text(json.dumps({"sha256": _sha256(rows), "artefacts": rows}, indent=0), encoding="utf-8")
            if self.path.exists():
                move(self.path, self.before)


def _read(path: Path) -> dict[Key, str]:
    """DamagedFileError where the text is not what was written."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        rows = found["artefacts"]
        if found["sha256"] != _sha256(rows):
            raise ValueError("its text differs from its own hash")
        return {(asset, partition): version for asset, partition, version in rows}
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedFileError(path, str(error)) from error


def _sha256(rows: list[list[str | None]]) -> str:
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
