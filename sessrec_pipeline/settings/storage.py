"""What is kept of what was made."""

from typing import Annotated

from pydantic import Field

from sessrec_pipeline.settings.base import Section


class StorageSettings(Section):
    """What is kept of tables and models that were made again."""

    keep_versions: Annotated[int, Field(ge=1)] = 3
    """Versions of each table and model that are kept, the current one among them, for ``sessrec restore``. Those that
    are pinned, or that something current was made from, are kept beside them. With 1, a step whose input is replaced
    while it reads may have to begin again."""
    keep_ranks: Annotated[int, Field(ge=1)] = 30
    """Versions of each model's ranks that are kept in ``history/`` for ``sessrec compare``. The metrics of every run
    are kept in any case."""
    keep_landed: bool = False
    """Whether a compressed copy of every landed log is kept in ``kept/``, once for each content. So changed ``[logs]``
    settings, and ``sessrec withdraw --undo``, also reach logs whose files have left the landing folder."""
