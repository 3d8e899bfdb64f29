"""Splits whose test says little, or whose training knows what comes."""

from sessrec_pipeline.clock import moment
from sessrec_pipeline.quality.rule import Evidence, Finding, part
from sessrec_pipeline.text import N_, Said

LATE = 0.01
"""Share of training events after the first test event above which a split between sessions is warned of."""
LEAST_SESSIONS = 10
"""From fewer sessions there is no interval and no p-value: what resampling them gives is far too narrow."""


def late_training(evidence: Evidence, threshold: float) -> Finding:
    """Training events at or after the start of the first test session; under the days rule there are none."""
    late, total, start = evidence.row(
        "SELECT COUNT(*) FILTER (time >= start), COUNT(*), ANY_VALUE(start) FROM train, "
        "(SELECT MIN(time) AS start FROM test)"
    )
    by_days = evidence.settings.split.rule == "days"
    return Finding(
        late > (0 if by_days else threshold * total),
        Said(
            N_("{part} are not before the first test event, {moment} UTC"),
            part=part(late, total, N_("training events")),
            moment=moment(start),
        ),
        advice=Said(
            N_('train is not what rule = "days" promises; make the split again')
            if by_days
            else N_(
                'models know what happened while they are tested; [split] rule = "days" ends training when the test '
                "begins, and [sessions] inactivity_gap_minutes cuts sessions that go on for long"
            )
        ),
        worthless=by_days,
    )


def few_sessions(evidence: Evidence, threshold: float) -> Finding:
    """How many sessions test."""
    sessions, predictions = evidence.row("SELECT COUNT(DISTINCT session), COUNT(*) - COUNT(DISTINCT session) FROM test")
    one = sessions == 1
    return Finding(
        sessions < threshold,
        Said(
            N_("{n} test session with {m} predictions") if one else N_("{n} test sessions with {m} predictions"),
            n=f"{sessions:,}",
            m=f"{predictions:,}",
        ),
        advice=Said(
            N_("too few for any interval or verdict; land more logs, or test on more of them ([split] ratio or days)")
            if sessions < LEAST_SESSIONS
            else N_("few, so that intervals are wide; land more logs, or test on more of them ([split] ratio or days)")
        ),
    )


def same_moment(evidence: Evidence, threshold: float) -> Finding:
    """Sessions that start in the very moment of the cut, on both sides of it."""
    total, trains, tests, start = evidence.row(
        "WITH cut AS (SELECT MIN(session_start) AS start FROM test), "
        "all_starts AS ("
        "SELECT 'train' AS part, session, ANY_VALUE(session_start) AS starts FROM train GROUP BY session UNION ALL "
        "SELECT 'test', session, ANY_VALUE(session_start) FROM test GROUP BY session) "
        "SELECT COUNT(*), COUNT(*) FILTER (part = 'train' AND starts = start), "
        "COUNT(*) FILTER (part = 'test' AND starts = start), ANY_VALUE(start) FROM all_starts, cut"
    )
    undecided = trains + tests if trains else 0
    template = (
        N_("{part} start in the very moment of the cut between train and test, {moment} UTC")
        if undecided
        else N_("{part} start in the very moment of the cut between train and test")
    )
    return Finding(
        undecided > max(threshold * total, 2),
        Said(template, part=part(undecided, total, N_("sessions")), moment=moment(start)),
        advice=Said(
            N_(
                "the text of their ids says which of them test, for time does not; name the column that has the time "
                'of the event ([logs] time), or bring a split of your own ([split] rule = "given")'
            )
        ),
    )


def unseen_items(evidence: Evidence, threshold: float) -> Finding:
    """Test events that are dropped because training never saw their items."""
    dropped, total = (evidence.count("test", name) for name in ("dropped: unseen items", "events_in"))
    unseen = evidence.count("test", "unseen items")
    if unseen > dropped:  # kept by setting
        return Finding(False, f"{part(unseen, total, 'test events')} are on items that training never saw, and kept")
    return Finding(
        dropped > threshold * total,
        Said(
            N_("{part} are dropped, for training never saw their items"), part=part(dropped, total, N_("test events"))
        ),
        advice=Said(
            N_(
                "the figures are about the others; [split] keep_unseen_items = true counts them as misses, and a "
                "shorter test period ([split] days) has fewer of them"
            )
        ),
    )
