"""Code versions from the code itself: nobody has to remember to count one up."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sessrec_pipeline.settings import Settings

PACKAGE = Path(__file__).parent


def source_digest(sources: Sequence[str]) -> str:
    """12 hexadecimal digits over the text of files and folders of this package (code, SQL, templates, translations)."""
    digest = hashlib.sha256()
    for source in sources:
        path = PACKAGE / source
        inside = (p for p in path.rglob("*") if p.suffix in (".py", ".sql", ".j2", ".po"))
        files = sorted(inside) if path.is_dir() else [path]
        for file in files:
            digest.update(f"{file.relative_to(PACKAGE)}\n".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def settings_read(settings: Settings, names: Sequence[str]) -> dict[str, Any]:
    """The values of dotted settings names, as JSON types."""
    whole = settings.model_dump(mode="json", exclude={"home"})
    values: dict[str, Any] = {}
    for name in names:
        value: Any = whole
        for part in name.split("."):
            value = value[part]
        values[name] = value
    return values


def code_version(sources: Sequence[str], config: dict[str, Any]) -> str:
    """``<digest of the sources>-<digest of the settings>``."""
    settings = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    return f"{source_digest(sources)}-{settings[:8]}"
