"""The generator behind a synthetic feed."""

from typing import Annotated, Literal

from pydantic import Field

from sessrec_pipeline.settings.base import Section


class SyntheticSettings(Section):
    """The generator behind a synthetic feed; a feed that has one also ranks its oracle."""

    kind: Literal["demo", "null"] = "demo"
    """demo: sessions with long-range structure; null: independent draws, in which there is nothing to learn."""
    sessions: Annotated[int, Field(ge=10)] = 1000
    """Sessions to generate."""
    items: Annotated[int, Field(ge=50)] = 500
    """Items of the catalogue."""
    days: Annotated[int, Field(ge=1)] = 10
    """Daily logs over which the sessions spread."""
    seed: Annotated[int, Field(ge=0)] = 42
    """Seed of the law and of the draws."""
