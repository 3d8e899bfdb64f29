"""What every asset says about itself beside its function."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import dagster as dg

READS_KEY = "sessrec/settings"
"""Asset metadata: dotted names of the settings that the asset reads."""
F = TypeVar("F", bound=Callable[..., Any])


def stage(
    group: str,
    kinds: Sequence[str],
    *,
    reads: Sequence[str] = (),
    columns: Mapping[str, tuple[str, str]] | None = None,
) -> dict[str, Any]:
    """Keyword arguments of ``@dg.asset`` or ``dg.AssetSpec``.

    ``reads`` becomes part of the code version, so an asset is stale when its settings changed. ``columns`` maps a
    column's name to its type and description.
    """
    metadata: dict[str, Any] = {READS_KEY: list(reads)}
    if columns is not None:
        metadata["dagster/column_schema"] = dg.TableSchema(
            [dg.TableColumn(name, kind, description=text) for name, (kind, text) in columns.items()]
        )
    return {"group_name": group, "kinds": set(kinds), "owners": ["team:recommendations"], "metadata": metadata}


def uses(*functions: Callable[..., Any] | str) -> Callable[[F], F]:
    """Say which functions an asset's body calls that its text does not name, such as those of a model's card.

    They count in its code version. Of a module that is not to be imported here, the text ``module:name``.
    """

    def mark(body: F) -> F:
        body.uses = functions  # type: ignore[attr-defined]
        return body

    return mark


def uses_of(asset: dg.AssetsDefinition) -> tuple[Callable[..., Any] | str, ...]:
    """What ``uses`` said of an asset's body."""
    body = asset.op.compute_fn
    return getattr(getattr(body, "decorated_fn", body), "uses", ())


EVENT = {
    "session": ("string", "Session id, as the log names it (with the log's name or a part number where settings say)"),
    "session_number": ("int64", "Sessions numbered from 0 by their first event"),
    "position": ("int64", "Events numbered from 0 inside their session"),
    "item": ("string", "Item id, as the log names it"),
    "time": ("int64", "Microseconds since 1970-01-01 UTC"),
    "session_start": ("int64", "Time of the session's first event in the sessions table"),
}
"""Columns of sessions and of every split."""
