"""What every asset says about itself beside its function."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

ENGINE = ("engine.py", "engine_spark.py")
"""Sources of every asset that runs SQL through ``open_engine``."""
SOURCES_KEY = "sessrec/sources"
"""Asset metadata: modules, or folders of them, whose text is the asset's code version."""
READS_KEY = "sessrec/settings"
"""Asset metadata: dotted names of the settings that the asset reads."""


def stage(
    group: str,
    kinds: Sequence[str],
    *,
    sources: Sequence[str],
    reads: Sequence[str] = (),
    columns: Mapping[str, tuple[str, str]] | None = None,
) -> dict[str, Any]:
    """Keyword arguments of ``@dg.asset`` or ``dg.AssetSpec``.

    ``sources`` and ``reads`` become the code version, so an asset is stale when its own code or settings changed and
    at no other time. ``columns`` maps a column's name to its type and description.
    """
    metadata: dict[str, Any] = {SOURCES_KEY: list(sources), READS_KEY: list(reads)}
    if columns is not None:
        metadata["dagster/column_schema"] = dg.TableSchema(
            [dg.TableColumn(name, kind, description=text) for name, (kind, text) in columns.items()]
        )
    return {"group_name": group, "kinds": set(kinds), "owners": ["team:recommendations"], "metadata": metadata}


EVENT = {
    "session": ("string", "Session id, as the log names it (with the log's name or a part number where settings say)"),
    "session_number": ("int64", "Sessions numbered from 0 by their first event"),
    "position": ("int64", "Events numbered from 0 inside their session"),
    "item": ("string", "Item id, as the log names it"),
    "time": ("int64", "Microseconds since 1970-01-01 UTC"),
    "session_start": ("int64", "Time of the session's first event in the sessions table"),
}
"""Columns of sessions and of every split."""
