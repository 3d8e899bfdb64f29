"""Whether ``[sessions] window_days`` takes what it is meant to take."""

from collections.abc import Sequence

from sessrec_pipeline.clock import DAY, lasting
from sessrec_pipeline.quality.rule import part
from sessrec_pipeline.storage.store import Stored


def check_window(window_days: float, taken: Sequence[Stored], logs: Sequence[Stored]) -> None:
    """ValueError where the window drops most of the feed because a few logs lie long after all others.

    taken: the logs in the window; logs: all that are ingested. The window counts back from the last event of all, which
    one clock that is ahead moves.
    """
    window = int(window_days * DAY)
    inside = {log.node.id for log in taken}
    left = [log for log in logs if log.node.id not in inside]
    taken = [log for log in taken if "last_time" in log.stats]
    if not left or not taken:
        return
    earliest = min(taken, key=lambda log: int(log.stats["first_time"]))
    before = max(int(log.stats["last_time"]) for log in left)
    span = before - min(int(log.stats["first_time"]) for log in left)
    gap = int(earliest.stats["first_time"]) - before
    rows, total = (sum(log.node.rows or 0 for log in some) for some in (taken, [*taken, *left]))
    if rows >= total / 2:
        return
    would = f"[sessions] window_days = {window_days:g} would take {part(rows, total)} alone"
    last = max(taken, key=lambda log: int(log.stats["last_time"]))
    ahead = int(last.stats["last_time"]) - before
    if ahead > window and all(int(log.stats["first_time"]) <= before for log in taken):
        raise ValueError(
            f"{would}, of logs that begin before the others end: the last event of {last.node.partition} comes "
            f"{lasting(ahead)} after those, and moves the window; fix its clock, take the row out, or set another "
            "window_days"
        )
    if gap > max(window, span / 4):
        raise ValueError(
            f"{would}, which come {lasting(gap)} after all others ({earliest.node.partition}): a clock that is ahead "
            "moves the window; fix or take out these logs, or set another window_days"
        )
