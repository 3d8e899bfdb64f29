"""How far a run over several studies has come, and about how long the rest will take."""

from collections.abc import Callable, Sequence

import dagster as dg

ENDS = (dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.STEP_FAILURE)


class Countdown:
    """Hears the events of a run; says at the start of each of its ``steps`` which one it is, and the time left.

    ``before``: seconds that steps took the last time. Of others it expects what those of this run took on average.
    """

    def __init__(self, steps: Sequence[str], before: dict[str, float], report: Callable[[str], None]) -> None:
        self.steps, self.before, self.report = steps, before, report
        self.begun: dict[str, float] = {}
        self.taken: dict[str, float] = {}

    def __call__(self, entry: dg.EventLogEntry) -> None:
        """Take note of an event."""
        step, event = entry.step_key, entry.dagster_event
        if event is None or step is None or step not in self.steps:
            return
        if event.event_type in ENDS:
            self.taken[step] = entry.timestamp - self.begun[step]
        if event.event_type is dg.DagsterEventType.STEP_START and step not in self.begun:  # else it is tried again
            self.begun[step] = entry.timestamp
            seconds = self.left()
            time = "" if seconds is None else f", about {lasting(seconds)} left"
            self.report(f"{len(self.begun)} of {len(self.steps)}: {step}{time}")

    def left(self) -> float | None:
        """Seconds until all steps are done; None while nothing is known of any."""
        known = [step for step in self.taken if self.before.get(step)]
        pace = sum(self.taken[s] for s in known) / sum(self.before[s] for s in known) if known else 1.0
        expected = {step: seconds * pace for step, seconds in self.before.items()} | self.taken
        if not expected:
            return None
        mean = sum(expected.values()) / len(expected)
        return sum(expected.get(step, mean) for step in self.steps if step not in self.taken)


def lasting(seconds: float) -> str:
    """A length of time in words."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def last_time(instance: dg.DagsterInstance, assets: Sequence[str]) -> dict[str, float]:
    """Seconds that the steps of these assets took when they were last made; those never made are left out."""
    took: dict[str, float] = {}
    for asset in assets:
        made = instance.get_latest_materialization_event(dg.AssetKey(asset))
        stats = instance.get_run_step_stats(made.run_id, [asset]) if made else []
        took |= {s.step_key: s.end_time - s.start_time for s in stats if s.start_time and s.end_time}
    return took
