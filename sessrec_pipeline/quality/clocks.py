"""Times that no clock of a shop has given: stray, gone back, or the same for all."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sessrec_pipeline.clock import DAY, HOUR, moment
from sessrec_pipeline.quality.rule import Evidence, Finding, duration, in_session, part, shown
from sessrec_pipeline.text import N_, Said

MINUTE = HOUR // 60
UNSURE_HOUR = "unsure_in_doubled_hours"
"""Among a log's counts: events of which nobody knows whether they are in the first or the second of two hours."""
FEWEST_EVENTS, FEWEST_SECONDS, HALF_A_DAY = 200, 20, 11
"""Of fewer events, seconds or hours of the day no part of a clock is missed."""
FEWEST_SESSIONS = 20
"""With fewer, what most of them have in common says nothing."""
STRAY_SHARE, STRAY_GAP = (0.01, 0.2), (DAY, 30 * DAY)
"""A few sessions stray where they begin a day from all others; a whole log, with a wrong year, stands apart by more."""
AHEAD = N_(
    "a clock that is ahead chooses the test period of the days rule ([split] rule, days), the window "
    "([sessions] window_days) and the last days of the drift; fix or take out their logs, or leave them if "
    "only the logs between are missing"
)
LONGER = 3
"""A gap is one that stray sessions leave where it is so many times the longest between all the others."""


@dataclass(frozen=True)
class Stray:
    """The last sessions, or events, where they are few and begin long after all others."""

    start: int
    """When they begin, and when the others last began: microseconds, to the hour."""
    before: int
    last: int
    """When the last of them begins."""
    sessions: int

    @property
    def gap(self) -> int:
        """Microseconds."""
        return self.start - self.before


def stray_end(hours: NDArray[np.int64], sessions: NDArray[np.int64]) -> Stray | None:
    """The last sessions (or events) where a clock that is ahead may have given their times.

    hours: in which sessions start, since 1970, rising. sessions: how many start in each. They are stray where they are
    1 % of all at most (or fewer than 10 and 5 %) and begin a day or more after all others, or 20 % and 30 days; and
    three times later than the longest time that is between any of these.
    """
    total = int(sessions.sum())
    after = total - np.cumsum(sessions)  # sessions that start later than this hour
    gaps = np.diff(hours)
    for share, gap in zip(STRAY_SHARE, STRAY_GAP, strict=True):
        most = max(share * total, min(9, 0.05 * total))
        first = int(np.searchsorted(-after, -most))  # the last hour that cannot be stray, whatever comes then
        usual = int(gaps[_core_begins(sessions, most) : first].max(initial=0))
        found = np.flatnonzero(gaps[first:] >= max(gap // HOUR, LONGER * usual))
        if len(found):
            last = first + int(found[0])
            return Stray(int(hours[last + 1]) * HOUR, int(hours[last]) * HOUR, int(hours[-1]) * HOUR, int(after[last]))
    return None


def _core_begins(sessions: NDArray[np.int64], most: float) -> int:
    """The first hour that is not among those of stray sessions at the beginning, if there are such."""
    return int(np.searchsorted(np.cumsum(sessions), most, side="right"))


def strays(evidence: Evidence, threshold: float) -> Finding:
    """Sessions that begin long after all others, or long before, and events that come long after."""
    found = evidence.rows(
        f"SELECT session_start // {HOUR} AS hour, COUNT(*) FROM sessions WHERE position = 0 GROUP BY hour ORDER BY hour"
    )
    hours, counts = np.array(found, dtype=np.int64).reshape(-1, 2).T
    late, early = stray_end(hours, counts), stray_end(-hours[::-1], counts[::-1])
    total = int(counts.sum())
    if late is not None:
        place = Said(N_("after all others, from {moment} UTC on"), moment=moment(late.start))
        stray, condition, advice = late, f"session_start >= {late.start}", AHEAD
    elif (events := _stray_events(evidence)) is not None:
        return events
    elif early is not None:
        first = HOUR - early.start
        place = Said(N_("before all others, until {moment} UTC"), moment=moment(first))
        stray, condition = early, f"session_start < {first}"
        advice = N_("a clock that is behind makes the logs look longer than they are; fix or take out their logs")
    else:
        span = duration(int(hours[-1] - hours[0]) * HOUR)
        return Finding(False, f"{total:,} sessions begin within {span}, and none apart from the others")
    examples = evidence.rows(
        f"SELECT session, session_start FROM sessions WHERE position = 0 AND {condition} "
        "ORDER BY session_start, session LIMIT 3"
    )
    farthest = stray.last - stray.before
    return Finding(
        stray.sessions > threshold * total,
        Said(
            N_("{part} begin {time} {place}"),
            part=part(stray.sessions, total, N_("sessions")),
            time=duration(stray.gap)
            if farthest == stray.gap
            else Said(N_("{least} to {most}"), least=duration(stray.gap), most=duration(farthest)),
            place=place,
        ),
        [f"{shown(session)} ({moment(start)})" for session, start in examples],
        Said(advice),
    )


def _stray_events(evidence: Evidence) -> Finding | None:
    """The last events, where they come long after all others in sessions that begin among these."""
    found = evidence.rows(f"SELECT time // {HOUR} AS hour, COUNT(*) FROM sessions GROUP BY hour ORDER BY hour")
    hours, counts = np.array(found, dtype=np.int64).reshape(-1, 2).T
    late = stray_end(hours, counts)
    if late is None:
        return None
    examples = evidence.rows(
        "SELECT session, ANY_VALUE(session_start), MAX(time) FROM sessions WHERE time >= $start GROUP BY session "
        "ORDER BY MAX(time) DESC, session LIMIT 3",
        start=late.start,
    )
    return Finding(
        True,
        Said(
            N_("{part} come {time} after all others, in sessions that begin among these"),
            part=part(late.sessions, int(counts.sum())),
            time=duration(late.gap),
        ),
        [
            Said(N_("{session} ({start} to {end})"), session=shown(s), start=moment(a), end=moment(z))
            for s, a, z in examples
        ],
        Said(AHEAD),
    )


def one_time_of_day(evidence: Evidence, threshold: float) -> Finding:
    """Sessions that start at the commonest time of day: midnight, where dates have no clock; all, in an export."""
    clock, count, sessions, earliest, latest = evidence.row(
        "WITH starts AS (SELECT MIN(time) AS start FROM events GROUP BY session), "
        f"clocks AS (SELECT start % {DAY} AS clock, COUNT(*) AS n FROM starts GROUP BY clock) "
        "SELECT ARG_MAX(clock, (n, -clock)), MAX(n), SUM(n), (SELECT MIN(time) FROM events), "
        "(SELECT MAX(time) FROM events) FROM clocks"
    )
    template, time = (
        (N_("{part} start at the same time, {time} UTC"), moment(earliest))
        if earliest == latest
        else (N_("{part} start at the same time of day, {time} UTC"), moment(clock)[11:])
    )
    return Finding(
        sessions >= FEWEST_SESSIONS and count > threshold * sessions,
        Said(template, part=part(count, sessions, N_("sessions")), time=time),
        advice=Said(
            N_(
                "these are dates without a clock, or the time of an export: what came first is not known; name the "
                "column that has the time of the event ([logs] time, time_offset), or one with a running number "
                '([logs] time_unit = "order")'
            )
        ),
        too_few=count > threshold * sessions,
    )


def part_of_the_clock(evidence: Evidence, threshold: float) -> Finding:
    """Events in the commonest minute of the hour, or of a clock whose afternoon is missing."""
    total, seconds, minute, same, hours, afternoon = evidence.row(
        f"WITH clocks AS (SELECT time % {DAY} // {HOUR} AS hour, time % {HOUR} // {MINUTE} AS minute, "
        f"time % {MINUTE} AS second FROM events), "
        "minutes AS (SELECT minute, COUNT(*) AS n FROM clocks GROUP BY minute) "
        "SELECT COUNT(*), COUNT(DISTINCT second), (SELECT ARG_MAX(minute, (n, -minute)) FROM minutes), "
        "(SELECT MAX(n) FROM minutes), COUNT(DISTINCT hour), COUNT(*) FILTER (hour >= 13) FROM clocks"
    )
    if total >= FEWEST_EVENTS and not afternoon and hours >= HALF_A_DAY:
        return Finding(
            True,
            Said(
                N_("{n} events stand in {hours} hours of the day, and none between 13:00 and 24:00 UTC"),
                n=f"{total:,}",
                hours=hours,
            ),
            advice=Said(
                N_(
                    "a program has written a clock of 12 hours without AM and PM (hh for HH): half of the times are "
                    "wrong by 12 hours; export the log again"
                )
            ),
        )
    return Finding(
        total >= FEWEST_EVENTS and seconds >= FEWEST_SECONDS and same > threshold * total,
        Said(N_("{part} are in minute {minute} of the hour"), part=part(same, total), minute=f"{minute:02}"),
        advice=Said(
            N_(
                "a program has written the month where minutes belong (MM for mm): what came first within the hour is "
                "not known; export the log again"
            )
        ),
    )


def goes_back(evidence: Evidence, threshold: float) -> Finding:
    """Events whose time is before that of the row before them in their session, in a log that is otherwise in order."""
    hours = evidence.rows(
        "SELECT COUNT(*), COUNT(*) FILTER (time < before) AS back, MAX(before - time), "
        f"ARG_MIN(session, (time - before, session)), before // {HOUR} AS hour, COUNT(*) FILTER (time = before), "
        f"COUNT(*) FILTER (before - time >= {OFFSET - OFF_BY} AND "
        f"ABS((before - time + {OFFSET // 2}) % {OFFSET} - {OFFSET // 2}) <= {OFF_BY}) FROM ("
        "SELECT session, time, LAG(time) OVER (PARTITION BY log, session ORDER BY line) AS before FROM events) "
        "WHERE before IS NOT NULL GROUP BY hour ORDER BY hour"
    )
    steps, back, same, by_offset = (sum(row[n] for row in hours) for n in (0, 1, 5, 6))
    if not back:
        return Finding(False, f"no step to the next row of a session goes back in time, of {steps:,}")
    longest = max(hours, key=lambda row: row[2])
    seen = Said(
        N_("{part} to the next row of a session go back in time, by {time} at most"),
        part=part(back, steps, N_("steps")),
        time=duration(longest[2]),
    )
    if by_offset >= max(FEWEST_BY_OFFSET, BY_OFFSET * back) and by_offset > threshold * steps:
        return Finding(
            True,
            Said(N_("{seen}, {n} of them by whole or half hours"), seen=seen, n=f"{by_offset:,}"),
            [in_session(longest[3])],
            Said(
                N_(
                    "two clocks have written these times, such as one of UTC and a local one; write all of them with "
                    "their zone, or in one"
                )
            ),
        )
    if back > NEWEST_FIRST * (steps - same) and same > threshold * steps:
        return Finding(
            True,
            Said(
                N_("the log has its newest row first, and {part} are between rows of the same time"),
                part=part(same, steps, N_("steps")),
            ),
            advice=Said(N_("these come into the wrong order; sort the log by time, its oldest row first")),
        )
    if back > UNORDERED * steps:
        return Finding(False, "the rows of a session do not stand in the order of their times, and are put into it")
    most = max(hours, key=lambda row: row[1])
    at_once = most[1] >= max(FEWEST_AT_ONCE, AT_ONCE * back, IN_THAT_HOUR * most[0])
    if at_once:
        hour = moment(most[4] * HOUR)[:16]
        seen = Said(N_("{seen}, {n} of them within an hour of {hour} UTC"), seen=seen, n=f"{most[1]:,}", hour=hour)
    return Finding(
        at_once or back > threshold * steps,
        seen,
        [in_session(most[3])],
        Said(
            N_(
                "a clock was set back (the end of summer time, where times are local: [logs] time_zone) or rows were "
                "written late; the events are put into the order of their times, which may not be that in which they "
                "came"
            )
        ),
    )


def doubled_hours(evidence: Evidence, threshold: float) -> Finding:
    """Events in an hour that the clock of ``[logs] time_zone`` showed twice, of which nothing says in which."""
    count = evidence.count("events", UNSURE_HOUR)
    (total,) = evidence.row("SELECT COUNT(*) FROM events")
    return Finding(
        count > threshold * total,
        Said(
            N_("{part} lie in an hour that the clock showed twice, and nothing says in which of the two"),
            part=part(count, total),
        ),
        advice=Said(
            N_(
                "they are taken for the first one, and may be an hour early; write times with their offset, in UTC, or "
                "the rows in the order in which they came"
            )
        ),
    )


UNORDERED, NEWEST_FIRST = 0.2, 0.95
"""Where more steps go back, the log was not written in order of time at all; or in the reverse one."""
OFFSET, OFF_BY = 30 * MINUTE, 5 * MINUTE
"""Zones differ by multiples of half an hour, and events of a session follow each other within minutes."""
BY_OFFSET, FEWEST_BY_OFFSET = 0.8, 10
"""Two clocks wrote a log where so many of the steps back, a share and a number, are by about their difference."""
AT_ONCE, FEWEST_AT_ONCE, IN_THAT_HOUR = 0.5, 3, 0.01
"""A clock was set back where half of the steps back, and three at least, lie within one hour, of whose steps they are
1 % or more."""


def same_time_steps(evidence: Evidence, threshold: float) -> Finding:
    """Steps inside sessions between two events of one time."""
    steps, same, sessions, session = evidence.row(
        "SELECT COUNT(*), COUNT(*) FILTER (time = before), COUNT(DISTINCT session), "
        "MIN(session) FILTER (time = before) FROM ("
        "SELECT session, time, LAG(time) OVER (PARTITION BY session ORDER BY position) AS before FROM sessions) "
        "WHERE before IS NOT NULL"
    )
    return Finding(
        sessions >= FEWEST_SESSIONS and same > threshold * steps,
        Said(N_("{part} inside sessions are between events of the same time"), part=part(same, steps, N_("steps"))),
        [in_session(session)] if same else [],
        Said(
            N_(
                "their order is that of the rows in the file, as in baskets, and models of order (Markov, SR, GRU4Rec) "
                "learn it: believe them only if the file has the order in which the items were chosen"
            )
        ),
        too_few=same > threshold * steps,
    )
