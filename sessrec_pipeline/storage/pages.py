"""Pages for people: one self-contained HTML file each, with its lineage in a JSON element."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from sessrec_pipeline.storage.lineage import METADATA_KEY, Lineage


@dataclass(frozen=True)
class Page:
    """What a report asset returns: a whole HTML document, up to and with ``</html>``."""

    html: str

    def content_hash(self) -> str:
        """sha256 of the text."""
        return hashlib.sha256(self.html.encode()).hexdigest()


def write_page(path: Path, page: Page, lineage: Lineage) -> None:
    """Write ``page`` to ``path``."""
    # "<" is escaped so that no value can close the element; JSON reads it back as it was.
    text = lineage.to_json().replace("<", "\\u003c")
    path.write_text(
        f'{page.html}\n<script type="application/json" id="{METADATA_KEY}">{text}</script>\n', encoding="utf-8"
    )


def read_lineage(path: Path) -> Lineage | None:
    """The lineage in the page, None where there is none."""
    found = re.search(
        rf'<script type="application/json" id="{re.escape(METADATA_KEY)}">(.*?)</script>',
        path.read_text(encoding="utf-8"),
        re.DOTALL,
    )
    return None if found is None else Lineage.from_json(json.dumps(json.loads(found.group(1))))
