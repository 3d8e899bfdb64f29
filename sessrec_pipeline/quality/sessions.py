"""Sessions that are none: ids that were used again, users, catch-alls; and filters that take much."""

from sessrec_pipeline.clock import DAY, HOUR, SECOND
from sessrec_pipeline.quality.rule import Evidence, Finding, duration, in_session, part, shown
from sessrec_pipeline.text import N_, Said

PAUSE, DURATION = 12 * HOUR, DAY
"""Nobody is still in the same visit after so long a pause, or so long."""
FEWEST_SESSIONS = 50
LARGE, MANY_TIMES = 500, 10
"""A session of more events, and of so many times the mean, is a large one."""
MOST_OF_ONE, MOST_OF_FIVE = 0.1, 0.3
"""A person can have 3 % of a small log."""
ITEM_SHARE = 0.3
AT_ONCE = 2 * SECOND
FEW = 100
"""Of fewer events no share means anything."""


def pauses(evidence: Evidence, threshold: float) -> Finding:
    """Sessions that pause for 12 hours or more, or last for a day or more."""
    total, count, longest, session = evidence.row(
        "SELECT COUNT(*), COUNT(*) FILTER (pause >= $pause OR lasted >= $lasted), MAX(lasted), "
        "ARG_MIN(session, (-lasted, session)) FROM ("
        "SELECT session, COALESCE(MAX(time - before), 0) AS pause, MAX(time) - MIN(time) AS lasted FROM ("
        "SELECT session, time, LAG(time) OVER (PARTITION BY session ORDER BY position) AS before FROM sessions) "
        "GROUP BY session)",
        pause=PAUSE,
        lasted=DURATION,
    )
    template = (
        N_("{part} pause for 12 hours or more, or last for a day or more, the longest for {time}")
        if count
        else N_("{part} pause for 12 hours or more, or last for a day or more")
    )
    return Finding(
        count > max(threshold * total, 1),
        Said(template, part=part(count, total, N_("sessions")), time=duration(longest)),
        [shown(session)] if count else [],
        Said(
            N_(
                "their ids are those of users, or were used again; [sessions] inactivity_gap_minutes = 30 cuts them "
                'where a visit ends, and [logs] session_scope = "log" parts those of different files'
            )
        ),
    )


def catch_all(evidence: Evidence, threshold: float) -> Finding:
    """The share of all events that the largest sessions have, and the largest item's."""
    total, sessions = evidence.row("SELECT COUNT(*), COUNT(DISTINCT session) FROM sessions")
    item, on_item = evidence.row("SELECT item, COUNT(*) AS n FROM sessions GROUP BY item ORDER BY n DESC, item LIMIT 1")
    on_one = Finding(
        total >= FEW,
        Said(N_("{part} are on one item, {item}"), part=part(on_item, total), item=shown(item)),
        advice=Said(N_("if it is no item (a start page, a placeholder), leave its rows out with [logs] keep")),
        too_few=True,
    )
    if on_one.broken and on_item > ITEM_SHARE * total:
        return on_one
    sizes = evidence.rows(
        "SELECT session, COUNT(*) AS n FROM sessions GROUP BY session ORDER BY n DESC, session LIMIT $most",
        most=max(5, total // LARGE),  # there are no more that are large
    )
    much = MANY_TIMES * total / sessions
    large = [(session, n) for session, n in sizes if n > max(LARGE, much)]
    one, five = ([(session, n) for session, n in sizes[:first] if n > much] for first in (1, 5))
    for found, most in ((one, MOST_OF_ONE), (five, MOST_OF_FIVE), (large, threshold)):
        count = sum(n for _, n in found)
        if count > most * total:
            enough = sessions >= FEWEST_SESSIONS
            seen = (
                Said(
                    N_("{part} belong to the largest session, {session}"),
                    part=part(count, total),
                    session=shown(found[0][0]),
                )
                if len(found) == 1
                else Said(N_("{part} belong to the {n} largest sessions"), part=part(count, total), n=f"{len(found):,}")
            )
            return Finding(
                enough,
                seen,
                [shown(session) for session, _ in found] if len(found) > 1 else [],
                Said(
                    N_(
                        "if that stands for all visitors without an id, leave its rows out with [logs] keep; "
                        "[sessions] max_session_length drops longer sessions, inactivity_gap_minutes cuts them"
                    )
                ),
                too_few=True,
            )
    if on_item > ITEM_SHARE * total:
        return on_one
    return Finding(False, f"{part(sizes[0][1], total)} belong to the largest session, {shown(sizes[0][0])}")


def one_event(evidence: Evidence, threshold: float) -> Finding:
    """Sessions of one event, before any filter."""
    key = "log, session" if evidence.settings.logs.session_scope == "log" else "session"
    total, count, example = evidence.row(
        "SELECT COUNT(*), COUNT(*) FILTER (n = 1), MIN(session) FILTER (n = 1) FROM "
        f"(SELECT ANY_VALUE(session) AS session, COUNT(*) AS n FROM events GROUP BY {key})"
    )
    return Finding(
        total >= FEWEST_SESSIONS and count > threshold * total,
        Said(N_("{part} have one event alone"), part=part(count, total, N_("sessions"))),
        [shown(example)] if count else [],
        Said(
            N_(
                "they have nothing to predict and are left out ([sessions] min_session_length); is the column {column} "
                "([logs] session) the id of a visit, and not of a request?"
            ),
            column=repr(evidence.settings.logs.session),
        ),
        too_few=count > threshold * total,
    )


def duplicates(evidence: Evidence, threshold: float) -> Finding:
    """Exact copies of rows."""
    return _dropped(
        evidence,
        threshold,
        "duplicates",
        N_("{part} are exact copies of another row and dropped"),
        Said(
            N_(
                "logs that were sent twice, or a clock or ids too coarse to tell events apart; [sessions] "
                "drop_duplicates = false keeps them"
            )
        ),
    )


def repeats_at_once(evidence: Evidence, threshold: float) -> Finding:
    """Steps to the same item within two seconds."""
    steps, at_once, session = evidence.row(
        "SELECT COUNT(*), COUNT(*) FILTER (again), MIN(session) FILTER (again) FROM ("
        "SELECT session, item = LAG(item) OVER past AND time - LAG(time) OVER past <= $at_once AS again FROM sessions "
        "WINDOW past AS (PARTITION BY session ORDER BY position)) WHERE again IS NOT NULL",
        at_once=AT_ONCE,
    )
    return Finding(
        steps >= FEW and at_once > threshold * steps,
        Said(N_("{part} repeat an item within 2 seconds"), part=part(at_once, steps, N_("steps"))),
        [in_session(session)] if at_once else [],
        Said(
            N_(
                "clicks are logged twice, or an order has a line for each piece, and a model that repeats the last "
                "item is rewarded for it; [sessions] drop_consecutive_repeats = true takes such events for one"
            )
        ),
        too_few=at_once > threshold * steps,
    )


def too_long(evidence: Evidence, threshold: float) -> Finding:
    """Events of sessions beyond ``max_session_length``."""
    longest = evidence.settings.sessions.max_session_length
    return _dropped(
        evidence,
        threshold,
        "sessions too long",
        N_("{part} are dropped with sessions of more than {longest} events"),
        Said(N_("[sessions] max_session_length keeps longer ones, inactivity_gap_minutes cuts them")),
        longest=f"{longest:,}",
    )


def _dropped(evidence: Evidence, threshold: float, reason: str, seen: str, advice: str, **more: str) -> Finding:
    dropped, total = evidence.count("sessions", f"dropped: {reason}"), evidence.count("sessions", "events_in")
    said = Said(seen, part=part(dropped, total), **more)
    over = dropped > threshold * total
    return Finding(total >= FEW and over, said, advice=advice, too_few=over)
