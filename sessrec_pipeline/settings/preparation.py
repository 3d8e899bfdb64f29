"""How events become sessions, and sessions train and test."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sessrec_pipeline.settings.base import Section


class SessionSettings(Section):
    """How events become sessions."""

    drop_duplicates: bool = True
    """Drop a row that equals another one in session, item, time and every extra column."""
    inactivity_gap_minutes: Annotated[float, Field(gt=0)] | None = None
    """Start a new session after so many minutes without an event."""
    drop_consecutive_repeats: bool = False
    """Drop an event on the same item as the event before it in its session."""
    min_session_length: Annotated[int, Field(ge=1)] = 2
    """Drop shorter sessions, again and again together with the next filter until nothing changes."""
    max_session_length: Annotated[int, Field(ge=2, le=1_000_000)] = 2000
    """Drop longer sessions (crawlers)."""
    min_item_support: Annotated[int, Field(ge=1)] = 1
    """Drop items with fewer events; 5 is usual for real logs."""
    window_days: Annotated[float, Field(gt=0)] | None = None
    """Take only logs whose last event lies in so many days before the last event of all; older logs stay in the lake
    and are not read, so a night's work does not grow with the years."""


class SplitSettings(Section):
    """How sessions are divided into train and test."""

    rule: Literal["ratio", "days", "given"] = "ratio"
    """ratio: the first sessions in time order train; days: sessions that start in the last days test, and train is
    cut at that moment; given: the log brings its own split, taken as it is."""
    ratio: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """Share of the sessions that train under the ratio rule."""
    days: Annotated[float, Field(gt=0)] = 1
    """Length of the test period under the days rule."""
    column: str | None = None
    """given: the extra column that says ``train`` or ``test``."""
    test_logs: list[str] = []
    """given: names of the landed logs that are the test set; all others train."""
    keep_unseen_items: bool = False
    """Keep test events on items that training never saw; they count as misses."""
    tuning_rule: Literal["ratio", "days"] | None = None
    """Rule of the split inside train on which everything is tuned; by default the same, or ratio after given."""

    @model_validator(mode="after")
    def _given_names_its_source(self) -> Self:
        if self.rule == "given" and (self.column is None) == (not self.test_logs):
            raise ValueError('rule = "given" needs either column or test_logs')
        return self

    @property
    def tuning(self) -> "SplitSettings":
        """The settings of the split inside train."""
        rule = self.tuning_rule or ("ratio" if self.rule == "given" else self.rule)
        return self.model_copy(update={"rule": rule})
