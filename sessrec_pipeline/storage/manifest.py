"""What must be there: the content hash of every current artefact, so that one that is gone is noticed.

And what must not come back: the sha256 of each landed file whose rows were withdrawn.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sessrec_pipeline.storage.files import DamagedFileError, move, replacing

Key = tuple[str, str | None]
"""Asset and partition."""


class Manifest:
    """A file of all current artefacts, and the one before it. Who changes it holds the store's lock."""

    def __init__(self, home: Path) -> None:
        self.path, self.before = home / "manifest.json", home / "manifest.json.before"

    def read(self) -> dict[Key, str] | None:
        """Content hash by asset and partition; where the file is damaged or gone, by the one before it, or None."""
        found = self._found()
        return None if found is None else found[0]

    def withdrawn(self) -> dict[str, str]:
        """sha256 of the landed file by the name of the log that was withdrawn."""
        found = self._found()
        return {} if found is None else found[1]

    def damage(self) -> DamagedFileError | None:
        """What is wrong with the file, where it is there: then the one before it is what is read."""
        try:
            _read(self.path)
        except FileNotFoundError:
            return None
        except DamagedFileError as error:
            return error
        return None

    def change(
        self,
        made: Mapping[Key, str],
        gone: Collection[Key] = (),
        withdrawn: Mapping[str, str | None] = MappingProxyType({}),
    ) -> None:
        """Enter artefacts that were made, and leave out those that were deleted on purpose.

        withdrawn: sha256 of the landed file by log; None for a log that is taken again.
        """
        before = self._found()
        known, out = before or ({}, {})
        now = {key: version for key, version in {**known, **made}.items() if key not in gone}
        left = {log: sha256 for log, sha256 in {**out, **withdrawn}.items() if sha256 is not None}
        if (now, left) != before or not self.path.exists() or self.damage():
            self._write(now, left)

    def _found(self) -> tuple[dict[Key, str], dict[str, str]] | None:
        for path in (self.path, self.before):
            with suppress(FileNotFoundError, DamagedFileError):
                return _read(path)
        return None

    def _write(self, artefacts: Mapping[Key, str], withdrawn: Mapping[str, str]) -> None:
        rows = [[*key, version] for key, version in sorted(artefacts.items(), key=str)]
        text = {"artefacts": rows, "withdrawn": dict(sorted(withdrawn.items()))}
        with replacing(self.path) as temporary:
            temporary.write_text(json.dumps({"sha256": _sha256(text), **text}, indent=0), encoding="utf-8")
            if self.path.exists() and not self.damage():  # else the one before it is the one to keep
                move(self.path, self.before)


def _read(path: Path) -> tuple[dict[Key, str], dict[str, str]]:
    """DamagedFileError where the text is not what was written."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        written = found.pop("sha256")
        # Earlier manifests had no other part than the artefacts.
        hashed = found if found.keys() == {"artefacts", "withdrawn"} else found["artefacts"]
        if written != _sha256(hashed):
            raise ValueError("its text differs from its own hash")
        artefacts = {(asset, partition): version for asset, partition, version in found["artefacts"]}
        return artefacts, found.get("withdrawn", {})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedFileError(path, str(error)) from error


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
