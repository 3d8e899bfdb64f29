"""Pages for people: one self-contained HTML file each, with its lineage in a JSON element."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from sessrec_pipeline.storage.files import DamagedFileError, undamaged
from sessrec_pipeline.storage.lineage import METADATA_KEY, Lineage

OPENING = f'<script type="application/json" id="{METADATA_KEY}">'
CLOSING = "</script>\n"


@dataclass(frozen=True)
class Page:
    """What a report asset returns: a whole HTML document, up to and with ``</html>``."""

    html: str
    origins: tuple[Lineage, ...] = ()
    """Lineages beyond the upstream assets' that the IO manager loaded."""

    def content_hash(self) -> str:
        """sha256 of the text."""
        return hashlib.sha256(self.html.encode()).hexdigest()


def write_page(path: Path, page: Page, lineage: Lineage) -> None:
    """Write ``page`` to ``path``."""
    # "<" is escaped so that no value can close the element; JSON reads it back as it was.
    text = lineage.to_json().replace("<", "\\u003c")
    path.write_bytes(f"{page.html}\n{OPENING}{text}{CLOSING}".encode())


def read_lineage(path: Path) -> Lineage | None:
    """The lineage in the page, None where there is none; DamagedFileError where page or lineage were changed."""
    with undamaged(path):
        # The last one: ours, whatever the page says.
        html, found, text = path.read_bytes().decode(errors="surrogateescape").rpartition(f"\n{OPENING}")
        if not found:
            return None
        lineage = Lineage.from_json(text.removesuffix(CLOSING))
        digest = hashlib.sha256(html.encode(errors="surrogateescape")).hexdigest()
    if digest != lineage.node.data_version:
        raise DamagedFileError(path, "the page differs from its own hash")
    return lineage
