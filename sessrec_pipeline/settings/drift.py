"""When a day counts as drifted."""

from typing import Annotated

from pydantic import Field

from sessrec_pipeline.settings.base import Section


class DriftSettings(Section):
    """When a day counts as drifted. Each day (UTC) is compared with the weeks before it.

    A threshold that is not set is learned: the 99th percentile of the measure's values in the reference weeks, and at
    least a floor above their median (``monitoring/drift.py``).
    """

    reference_weeks: Annotated[int, Field(ge=1)] = 4
    """Weeks before a day that it is compared with."""
    min_days: Annotated[int, Field(ge=2, le=7)] = 7
    """A day is judged once so many days with events lie before it, and so many values to learn a threshold from."""
    history_days: Annotated[int, Field(ge=1)] = 84
    """Days in the table, the last ones of the feed; older logs are read as far as these days need them."""
    check_days: Annotated[int, Field(ge=1)] = 1
    """The checks look at so many of the last judged days; raise it where several days land at once."""
    new_item_share: Annotated[float, Field(ge=0, le=1)] | None = None
    """Threshold of the share of the day's events on items without an event in the reference weeks."""
    psi: Annotated[float, Field(ge=0)] | None = None
    """Threshold of the population stability index of item popularity, over items known in the reference weeks."""
    js_distance: Annotated[float, Field(ge=0, le=1)] | None = None
    """Threshold of the Jensen-Shannon distance of item popularity, over the same items."""
    mean_session_length: Annotated[float, Field(ge=0, le=1)] | None = None
    """Threshold of the change of events per session; 0.5 is half or twice as many."""
    single_event_sessions: Annotated[float, Field(ge=0, le=1)] | None = None
    """Threshold of the change of the share of sessions with one event: 0.1 is ten percentage points."""
    events: Annotated[float, Field(ge=0, le=1)] | None = None
    """Threshold of the change of events a day, against the same weekdays; 0.5 is half or twice as many."""
    sessions: Annotated[float, Field(ge=0, le=1)] | None = None
    """Threshold of the change of sessions that start on a day, likewise."""
