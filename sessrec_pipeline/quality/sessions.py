"""Sessions that are none: ids that were used again, users, catch-alls; and filters that take much."""

from sessrec_pipeline.clock import HOUR, lasting
from sessrec_pipeline.quality.rule import Evidence, Finding, part, shown

PAUSE = 12 * HOUR
"""Nobody is still in the same visit after so long a pause."""
FEWEST_SESSIONS = 50
FEWEST_EVENTS, TENTH = 500, 0.1
MANY_TIMES = 10
ITEM_SHARE = 0.3
FEW = 100
"""Of fewer events no share means anything."""


def pauses(evidence: Evidence, threshold: float) -> Finding:
    """Sessions that pause for 12 hours or more."""
    total, count, longest, session = evidence.row(
        "SELECT COUNT(*), COUNT(*) FILTER (pause >= $pause), MAX(pause), ARG_MAX(session, pause) FROM ("
        "SELECT session, COALESCE(MAX(time - before), 0) AS pause FROM ("
        "SELECT session, time, LAG(time) OVER (PARTITION BY session ORDER BY position) AS before FROM sessions) "
        "GROUP BY session)",
        pause=PAUSE,
    )
    return Finding(
        count > max(threshold * total, 1),
        f"{part(count, total, 'sessions')} pause for 12 hours or more"
        + (f", the longest for {lasting(longest)}" if count else ""),
        [shown(session)] if count else [],
        "their ids are those of users, or were used again; [sessions] inactivity_gap_minutes = 30 cuts them where a "
        'visit ends, and [logs] session_scope = "log" parts those of different files',
    )


def catch_all(evidence: Evidence, threshold: float) -> Finding:
    """The largest session's share of all events, and the largest item's."""
    total, sessions, items = evidence.row(
        "SELECT COUNT(*), COUNT(DISTINCT session), COUNT(DISTINCT item) FROM sessions"
    )
    (session, most), (item, on_item) = (
        evidence.row(f"SELECT {kind}, COUNT(*) AS n FROM sessions GROUP BY {kind} ORDER BY n DESC, {kind} LIMIT 1")
        for kind in ("session", "item")
    )
    if on_item > max(ITEM_SHARE, 3 / items) * total:
        return Finding(
            True,
            f"{part(on_item, total)} are on one item, {shown(item)}",
            advice="if it is no item (a start page, a placeholder), leave its rows out with [logs] keep",
        )
    long = most > FEWEST_EVENTS or most > TENTH * total  # a person can have 3 % of a small log
    return Finding(
        sessions >= FEWEST_SESSIONS and long and most > max(threshold, MANY_TIMES / sessions) * total,
        f"{part(most, total)} belong to the largest session, {shown(session)}",
        advice="if it stands for all visitors without an id, leave its rows out with [logs] keep; [sessions] "
        "max_session_length drops longer sessions, inactivity_gap_minutes cuts them",
    )


def one_event(evidence: Evidence, threshold: float) -> Finding:
    """Sessions of one event, before any filter."""
    key = "log, session" if evidence.settings.logs.session_scope == "log" else "session"
    total, count, example = evidence.row(
        "SELECT COUNT(*), COUNT(*) FILTER (n = 1), MIN(session) FILTER (n = 1) FROM "
        f"(SELECT ANY_VALUE(session) AS session, COUNT(*) AS n FROM events GROUP BY {key})"
    )
    return Finding(
        total >= FEWEST_SESSIONS and count > threshold * total,
        f"{part(count, total, 'sessions')} have one event alone",
        [shown(example)] if count else [],
        "they have nothing to predict and are left out ([sessions] min_session_length); is the column "
        f"{evidence.settings.logs.session!r} ([logs] session) the id of a visit, and not of a request?",
    )


def duplicates(evidence: Evidence, threshold: float) -> Finding:
    """Exact copies of rows."""
    return _dropped(
        evidence,
        threshold,
        "duplicates",
        "are exact copies of another row and dropped",
        "logs that were sent twice, or a clock or ids too coarse to tell events apart; [sessions] drop_duplicates = "
        "false keeps them",
    )


def too_long(evidence: Evidence, threshold: float) -> Finding:
    """Events of sessions beyond ``max_session_length``."""
    longest = evidence.settings.sessions.max_session_length
    return _dropped(
        evidence,
        threshold,
        "sessions too long",
        f"are dropped with sessions of more than {longest:,} events",
        "[sessions] max_session_length keeps longer ones, inactivity_gap_minutes cuts them",
    )


def _dropped(evidence: Evidence, threshold: float, reason: str, seen: str, advice: str) -> Finding:
    dropped, total = evidence.count("sessions", f"dropped: {reason}"), evidence.count("sessions", "events_in")
    return Finding(total >= FEW and dropped > threshold * total, f"{part(dropped, total)} {seen}", advice=advice)
