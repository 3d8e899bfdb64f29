"""What must be there: the content hash of every current artefact, so that one that is gone is noticed.

And what must not come back: the sha256 of each landed file whose rows were withdrawn.
"""

import json
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from sessrec_pipeline.storage.files import DamagedFileError, move, replacing, sha256_of_json

Key = tuple[str, str | None]
"""Asset and partition."""


class Manifest:
    """A file of all current artefacts, and the one before it. Who changes it holds the store's lock."""

    def __init__(self, home: Path) -> None:
        self.path, self.before = home / "manifest.json", home / "manifest.json.before"

    def read(self) -> dict[Key, str] | None:
        """Content hash by asset and partition; where the file is damaged or gone, by the one before it, or None."""
        return self._found()[0]

    def withdrawn(self) -> dict[str, str]:
        """sha256 of the landed file by the name of the log that was withdrawn."""
        return self._found()[1]

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
        known, out, whole = self._found()
        now = {key: version for key, version in {**(known or {}), **made}.items() if key not in gone}
        left = {log: sha256 for log, sha256 in {**out, **withdrawn}.items() if sha256 is not None}
        if (now, left) == (known, out) and whole:
            return
        rows = [[*key, version] for key, version in sorted(now.items(), key=str)]
        text = {"artefacts": rows, "withdrawn": dict(sorted(left.items()))}
        with replacing(self.path) as temporary:
            temporary.write_text(json.dumps({"sha256": sha256_of_json(text), **text}, indent=0), encoding="utf-8")
            if whole:  # else the one before it is the one to keep
                move(self.path, self.before)

    def _found(self) -> tuple[dict[Key, str] | None, dict[str, str], bool]:
        """What the file says, or else the one before it; and whether it was the file itself."""
        for path in (self.path, self.before):
            with suppress(FileNotFoundError, DamagedFileError):
                return *_read(path), path == self.path
        return None, {}, False


def _read(path: Path) -> tuple[dict[Key, str], dict[str, str]]:
    """DamagedFileError where the text is not what was written."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        written = found.pop("sha256")
        # Earlier manifests had no other part than the artefacts.
        hashed = found if found.keys() == {"artefacts", "withdrawn"} else found["artefacts"]
        if written != sha256_of_json(hashed):
            raise ValueError("its text differs from its own hash")
        artefacts = {(asset, partition): version for asset, partition, version in found["artefacts"]}
        return artefacts, found.get("withdrawn", {})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedFileError(path, str(error)) from error
