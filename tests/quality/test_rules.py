"""Each rule on data that break it and on data that do not: every fault is of a kind, not of one file."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from sessrec_pipeline.clock import DAY, HOUR, lasting
from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.quality import RULES, Evidence, Finding, examine, examine_log
from sessrec_pipeline.quality.clocks import stray_end
from sessrec_pipeline.quality.ids import fold
from sessrec_pipeline.quality.rule import part, percent

MINUTE = HOUR // 60
START = 19_723 * DAY
"""2024-01-01."""
Row = tuple[str, str, int]
"""Session, item, time; a log's rows in its order."""


@dataclass
class Healthy:
    """A shop's log: 300 sessions of four events in ten days, every one at a time of its own."""

    sessions: int = 300
    rows: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(0)
        for n in range(self.sessions):
            start = START + n * 10 * DAY // self.sessions + int(rng.integers(MINUTE))
            for k in range(4):
                self.rows.append((f"s{n:03}", f"i{(n * 7 + k * k) % 50}", start + k * 20_000_000 + n))


@pytest.fixture
def findings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., dict[str, Finding]]]:
    """``findings(rows)``: what the rules that are broken find in a log, by name."""
    with duckdb.connect() as connection:

        def find(rows: Sequence[Row], names: Sequence[str] = (), **sections: Any) -> dict[str, Finding]:
            settings = FeedSettings(home=tmp_path_factory.mktemp("home"), **sections)
            columns = dict(zip(("session", "item", "time"), zip(*rows, strict=True), strict=True))
            table = pa.table({"log": list(names) or ["a"] * len(rows), "line": range(2, len(rows) + 2), **columns})
            for kind in (
                "VIEW IF EXISTS events",
                "TABLE IF EXISTS ids",
                "TABLE IF EXISTS items",
                "TABLE IF EXISTS sessions",
            ):
                connection.execute(f"DROP {kind}")
            connection.register("events", table)
            found = {rule.name: finding for rule, finding in examine_log(Evidence(connection, settings))}
            assert set(found) == {rule.name for rule in RULES if rule.asset != "test_split"}
            return {name: finding for name, finding in found.items() if finding.broken}

        yield find


Find = Callable[..., dict[str, Finding]]


def test_names_are_told_apart_within_an_asset() -> None:
    names = [(rule.asset, rule.name) for rule in RULES]
    assert len(set(names)) == len(names)


def test_a_healthy_log_breaks_no_rule(findings: Find) -> None:
    assert findings(Healthy().rows) == {}


@pytest.mark.parametrize("rows", [Healthy().rows[:1], Healthy().rows[:20], [("s", "a", START)] * 3])
def test_of_a_few_rows_nothing_is_said(findings: Find, rows: list[Row]) -> None:
    assert findings(rows) == {}


# --- ids -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["4.46E+07", "4,46E+07", "1e+16", "8.90123E+12"])
def test_scientific_notation_is_named(findings: Find, text: str) -> None:
    rows = [(s, text if n % 10 == 0 else i, t) for n, (s, i, t) in enumerate(Healthy().rows)]
    found = findings(rows)["ids_are_exact"]
    assert found.seen == "120 of 1,200 events (10.0 %) have the item id in scientific notation"
    assert list(found.examples) == [repr(text)] and "'ItemId'" in found.advice
    swapped = findings([(i, s, t) for s, i, t in rows])["ids_are_exact"]
    assert "the session id" in swapped.seen and "'SessionId'" in swapped.advice


@pytest.mark.parametrize("text", ["15E2", "1e5", "3E-12", "E+07", "4.46", "12+7", "a1E+07"])
def test_product_codes_are_not_scientific_notation(findings: Find, text: str) -> None:
    assert "ids_are_exact" not in findings(
        [(s, text if n % 10 == 0 else i, t) for n, (s, i, t) in enumerate(Healthy().rows)]
    )


@pytest.mark.parametrize(
    "text", ["(not set)", "null", "NULL", "None", "NaN", "N/A", "undefined", "-", "Unknown", "<null>"]
)
@pytest.mark.parametrize("column", [0, 1])
def test_words_for_nothing_are_named(findings: Find, text: str, column: int) -> None:
    rows = [(text, i, t) if column == 0 else (s, text, t) for s, i, t in Healthy().rows[:48]] + Healthy().rows[48:]
    found = findings(rows)["ids_name_something"]
    kind = ("session", "item")[column]
    assert found.seen == f"48 of 1,200 events (4.0 %) have a word for nothing as {kind} id"
    assert found.examples == [repr(text)]
    assert f'column = "{("SessionId", "ItemId")[column]}", not_one_of = ["{text}"]' in found.advice


def test_zero_is_nothing_where_ids_are_not_numbered(findings: Find) -> None:
    rows = [(s, "0" if n % 5 == 0 else i, t) for n, (s, i, t) in enumerate(Healthy().rows)]
    assert findings(rows)["ids_name_something"].examples == ["'0'"]
    numbered = [(s, i.removeprefix("i"), t) for s, i, t in Healthy().rows]
    assert findings([(s, "0" if n % 5 == 0 else i, t) for n, (s, i, t) in enumerate(numbered)]) == {}


@pytest.mark.parametrize(
    "other",
    [
        str.upper,
        lambda text: text + "\N{ZERO WIDTH SPACE}",
        lambda text: text[:1] + "\N{SOFT HYPHEN}" + text[1:],
        lambda text: "\ufeff" + text,
        lambda text: text + "\xa0",
        lambda text: "".join(chr(ord(c) + 0xFEE0) for c in text),  # full width
        *(lambda text, c=c: text[:1] + c + text[1:] for c in "\u034f\u180b\u3164\ufe0f\U000e0100"),
        *(lambda text, c=c: f"{c[0]}{text}{c[1:]}" for c in ("{}", '""', "+", "'")),
    ],
)
def test_ids_that_look_alike_are_named(findings: Find, other: Callable[[str], str]) -> None:
    rows = [(s, other(i) if n % 4 == 0 else i, t) for n, (s, i, t) in enumerate(Healthy().rows)]
    found = findings(rows)["ids_differ_visibly"]
    assert " of 1,200 events (" in found.seen and "item ids" in found.seen
    assert " and " in found.examples[0] and found.examples[0].isascii()
    assert "ids_differ_visibly" in findings([(i, s, t) for s, i, t in rows]), "of sessions, too"


@pytest.mark.parametrize("other", [lambda text: f"{text}.0", lambda text: f"000{text}"])
def test_numbers_that_are_one_number_are_named(findings: Find, other: Callable[[str], str]) -> None:
    rows = [(s, other(i[1:]) if n % 4 == 0 else i[1:], t) for n, (s, i, t) in enumerate(Healthy().rows)]
    assert "ids_differ_visibly" in findings(rows)


def test_capitals_of_codes_are_meant(findings: Find) -> None:
    codes = ["aB3xK", "Ab3xK", "xK9pQ", "Xk9Pq", "zzTop", "ZzToP", "q7RsT", "Q7rSt"]
    assert findings([(s, codes[n % len(codes)], t) for n, (s, _, t) in enumerate(Healthy().rows)]) == {}


def test_characters_that_could_not_be_read_are_named(findings: Find) -> None:
    rows = [(s, f"caf\ufffd {i}" if n % 10 == 0 else i, t) for n, (s, i, t) in enumerate(Healthy().rows)]
    found = findings(rows)["ids_are_readable"]
    assert found.seen == "120 of 1,200 events (10.0 %) have a character that could not be read (U+FFFD) in the item id"


def test_ids_that_differ_are_not_folded(findings: Find) -> None:
    words = ["café", "cafe", "A-1", "A1", "\N{CYRILLIC CAPITAL LETTER A}1", "10", "100", "1.5", "1.50", "ab cd", "abcd"]
    assert len({fold(word) for word in words}) == len(words)
    assert findings([(s, words[n % len(words)], t) for n, (s, _, t) in enumerate(Healthy().rows)]) == {}


def excel(number: int) -> str:
    """A whole number as a spreadsheet keeps it."""
    return str(number // 10 ** (len(str(number)) - 15)) + "0" * (len(str(number)) - 15)


@pytest.mark.parametrize(("first", "step"), [(8_672_365_521_191_823_456, 1_234), (3_000_000_000_000_001, 7)])
def test_long_numbers_that_were_rounded_are_named(findings: Find, first: int, step: int) -> None:
    exact = [(s, str(first + int(i[1:]) * step), t) for s, i, t in Healthy().rows]
    assert findings(exact) == {}
    found = findings([(s, excel(int(i)), t) for s, i, t in exact])["ids_are_exact"]
    assert found.seen == (
        "1,200 of 1,200 events (100.0 %) have an item id of more than 15 digits that are zeros from the 16th on"
    )
    assert "'ItemId'" in found.advice and found.examples[0].endswith("0'")
    swapped = findings([(i, s, t) for s, i, t in [(s, excel(int(i)), t) for s, i, t in exact]])["ids_are_exact"]
    assert "have a session id of more than 15 digits" in swapped.seen


def test_one_log_that_was_rounded_among_others_is_named(findings: Find) -> None:
    exact = [(s, str(8_672_365_521_191_823_456 + int(i[1:]) * 97_531), t) for s, i, t in Healthy().rows]
    names = ["a" if n < 900 else "b" for n in range(1_200)]
    found = findings([(s, i if n < 900 else excel(int(i)), t) for n, (s, i, t) in enumerate(exact)], names)
    assert found["ids_are_exact"].seen.startswith("300 of 1,200 events (25.0 %) have an item id of more than 15 digits")


def test_long_numbers_that_always_ended_in_zeros_are_exact(findings: Find) -> None:
    """Times as ids, in nanoseconds of a clock of milliseconds or seconds."""
    for unit in (1_000_000, 1_000_000_000):
        times = {
            i: str(1_700_000_000_000_000_000 + n * 7 * unit) for n, i in enumerate({i for _, i, _ in Healthy().rows})
        }
        assert findings([(s, times[i], t) for s, i, t in Healthy().rows]) == {}


@pytest.mark.parametrize("separator", [".", ",", "'", "\u00a0", "\u202f", " "])
def test_thousands_with_a_separator_are_named(findings: Find, separator: str) -> None:
    ids = [f"{n}{separator}{k}" for n, k in ((12, "000"), (1, "234"), (2, "345"), (1, f"234{separator}567"))] + [
        "5",
        "12",
    ]
    found = findings([(s, ids[n % 6], t) for n, (s, _, t) in enumerate(Healthy().rows)])["ids_have_no_separators"]
    assert found.seen.startswith(
        "800 of 1,200 events (66.7 %) have an item id with a separator before each three digits"
    )
    assert "'ItemId'" in found.advice


@pytest.mark.parametrize("text", ["1.10", "12.00", "v1.000", "0.123", "1.2345", "1.000.", "1000", "12.000.00"])
def test_other_points_are_no_separators(findings: Find, text: str) -> None:
    assert "ids_have_no_separators" not in findings(
        [(s, text if n % 10 == 0 else i, t) for n, (s, i, t) in enumerate(Healthy().rows)]
    )


@pytest.mark.parametrize("wrong", [{"d4"}, {"d0", "d4", "d8"}])
def test_logs_with_session_and_item_swapped_are_named(findings: Find, wrong: set[str]) -> None:
    names = [f"d{n // 134}" for n in range(1_200)]
    rows = [(i, s, t) if d in wrong else (s, i, t) for d, (s, i, t) in zip(names, Healthy().rows, strict=True)]
    found = findings(rows, names)["columns_are_not_swapped"]
    assert f"in '{min(wrong)}'" in found.seen and "session ids (100.0 %)" in found.seen
    assert "'SessionId' and 'ItemId'" in found.advice and "sessrec withdraw" in found.advice


def test_small_numbers_for_sessions_and_items_are_not_swapped(findings: Find) -> None:
    names = [f"d{n // 134}" for n in range(1_200)]
    assert findings([(s[1:].lstrip("0") or "0", i[1:], t) for s, i, t in Healthy().rows], names) == {}


# --- clocks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("days", "sessions"), [(203, 1), (30, 2), (4, 3)])
def test_sessions_of_a_clock_that_is_ahead_are_named(findings: Find, days: int, sessions: int) -> None:
    rows = Healthy().rows + [(f"z{n}", "i1", START + (10 + days) * DAY + n * 50 * DAY) for n in range(sessions)]
    found = findings(rows)["no_stray_times"]
    assert found.seen.startswith(f"{sessions} of {300 + sessions} sessions") and " after all others" in found.seen
    assert found.examples[0].startswith("'z0' (2024-") and "[sessions] window_days" in found.advice


def test_sessions_of_a_clock_that_is_behind_are_named(findings: Find) -> None:
    found = findings([("z", "i1", START - 400 * DAY), ("z", "i2", START - 400 * DAY + 1), *Healthy().rows])
    assert found["no_stray_times"].seen.startswith("1 of 301 sessions (0.3 %) begin 400 days before all others")


@pytest.mark.parametrize(("hours", "events"), [(924 * 24, 1), (36, 1), (36, 3)])
def test_events_of_a_clock_that_is_ahead_inside_an_early_session_are_named(
    findings: Find, hours: int, events: int
) -> None:
    end = max(t for *_, t in Healthy().rows)
    rows = [(s, i, end + hours * HOUR + n if 5 <= n < 5 + events else t) for n, (s, i, t) in enumerate(Healthy().rows)]
    found = findings(rows)["no_stray_times"]
    assert found.seen.startswith(f"{events} of 1,200 events (") and " after all others" in found.seen
    assert found.examples[0].startswith("'s001' (2024-01-01") and "[split] rule, days" in found.advice


def test_the_whole_span_of_stray_sessions_is_told(findings: Find) -> None:
    early = [("y", "i1", START - 72 * DAY), ("z", "i1", START - 3 * DAY)]
    found = findings([(s, i, t) for s, i, t in early for _ in range(2)] + Healthy().rows)["no_stray_times"]
    assert found.seen.startswith(
        "2 of 302 sessions (0.7 %) begin 3 days to 72 days before all others, until 2023-12-29"
    )


@pytest.mark.parametrize("days", [366, -365])
def test_a_whole_log_with_a_wrong_year_is_named(findings: Find, days: int) -> None:
    rows = [(s, i, t + days * DAY * (n >= 1080)) for n, (s, i, t) in enumerate(Healthy().rows)]
    found = findings(rows)["no_stray_times"]
    assert found.seen.startswith("30 of 300 sessions (10.0 %) begin ")


def test_a_shop_that_was_closed_has_no_stray_times(findings: Find) -> None:
    """Gaps as long as others, and a gap with much after it."""
    week = [(s, i, t + (t - START) // (2 * DAY) * 5 * DAY) for s, i, t in Healthy().rows]
    half = [(s, i, t + 300 * DAY * (t > START + 5 * DAY)) for s, i, t in Healthy().rows]
    for rows in (week, half):
        assert findings(rows) == {}


def test_stray_end_by_hand() -> None:
    hours = np.array([0, 1, 3, 100, 130])
    stray = stray_end(hours, np.array([200, 200, 200, 3, 2]))
    assert stray is not None and (stray.sessions, stray.before, stray.start) == (5, 3 * HOUR, 100 * HOUR)
    assert stray.gap == 97 * HOUR
    assert stray_end(hours, np.array([200, 200, 200, 30, 20])) is None, "many"
    assert stray_end(np.array([0, 1, 3, 20, 21]), np.array([200, 200, 200, 3, 2])) is None, "soon"
    assert stray_end(np.array([0, 50, 100, 240]), np.array([200, 200, 200, 3])) is None, "gaps are usual"
    assert stray_end(hours[:0], hours[:0]) is None


@pytest.mark.parametrize("back", [HOUR, 5 * MINUTE])
def test_a_clock_that_was_set_back_is_named(findings: Find, back: int) -> None:
    rows = Healthy().rows
    late = [(f"x{n}", f"i{k}", START + 5 * DAY + k * MINUTE - back * (k > 2)) for n in range(8) for k in range(6)]
    found = findings(rows + late)["times_go_forward"]
    assert found.seen.startswith("8 of 940 steps (0.9 %) to the next row of a session go back in time, by ")
    assert "8 of them within an hour of 2024-01-06 00:00 UTC" in found.seen and "[logs] time_zone" in found.advice


def test_a_log_that_is_in_no_order_is_only_put_in_order(findings: Find) -> None:
    shuffled = np.random.default_rng(1).permutation(len(Healthy().rows))
    assert findings([Healthy().rows[n] for n in shuffled]) == {}
    assert findings(Healthy().rows[::-1]) == {}


def test_two_clocks_are_named(findings: Find) -> None:
    """Every other row of a session is an hour behind: local times and times of UTC in one log."""
    rows = [(s, i, t - HOUR * (n % 2)) for n, (s, i, t) in enumerate(Healthy().rows)]
    found = findings(rows)["times_go_forward"]
    assert found.seen.startswith("600 of 900 steps (66.7 %)") and "600 of them by whole or half hours" in found.seen
    assert "two clocks" in found.advice


def test_equal_times_in_a_log_with_its_newest_row_first_are_named(findings: Find) -> None:
    rows = [(s, i, t - 20_000_000 * (n % 4 == 1)) for n, (s, i, t) in enumerate(Healthy().rows)][::-1]
    found = findings(rows)["times_go_forward"]
    assert found.seen.startswith("the log has its newest row first, and 300 of 900 steps (33.3 %) are between rows")
    assert "times_go_forward" not in findings(rows[::-1])


def test_months_for_minutes_are_named(findings: Find) -> None:
    rows = [(s, i, t - t % HOUR + MINUTE + t % MINUTE) for s, i, t in Healthy().rows]
    assert findings(rows)["times_have_all_parts"].seen == "1,200 of 1,200 events (100.0 %) are in minute 01 of the hour"


def test_a_clock_of_twelve_hours_is_named(findings: Find) -> None:
    rows = [(s, i, t - t % DAY + (t % DAY + 11 * HOUR) % (12 * HOUR) + HOUR) for s, i, t in Healthy().rows]
    found = findings(rows)["times_have_all_parts"]
    assert found.seen == "1,200 events stand in 12 hours of the day, and none between 13:00 and 24:00 UTC"
    morning = [(s, i, t - t % DAY + t % DAY // 3) for s, i, t in Healthy().rows]
    assert "times_have_all_parts" not in findings(morning)


@pytest.mark.parametrize("time", [lambda t: START, lambda t: t - t % DAY, lambda t: t - t % DAY + 5 * HOUR])
def test_dates_without_a_clock_are_named(findings: Find, time: Callable[[int], int]) -> None:
    found = findings([(s, i, time(t)) for s, i, t in Healthy().rows])
    assert found["times_have_a_clock"].seen.startswith("300 of 300 sessions (100.0 %) start at the same time")
    assert "[logs] time" in found["times_have_a_clock"].advice


def test_baskets_are_named(findings: Find) -> None:
    starts: dict[str, int] = {}
    found = findings([(s, i, starts.setdefault(s, t)) for s, i, t in Healthy().rows])
    assert set(found) == {"order_is_known"}
    assert found["order_is_known"].seen.startswith("900 of 900 steps (100.0 %) inside sessions")


def test_of_times_that_only_order_no_clock_is_asked(findings: Find) -> None:
    rows = [(s, i, START) for s, i, _ in Healthy().rows]
    assert set(findings(rows)) >= {"times_have_a_clock", "order_is_known"}
    assert findings(rows, logs={"time_unit": "order"}) == {}


# --- sessions --------------------------------------------------------------------------------------------------------


def test_ids_that_are_used_again_are_named(findings: Find) -> None:
    again = [(s, i, t + 150 * DAY) for s, i, t in Healthy().rows]
    found = findings(Healthy().rows + again)["sessions_are_visits"]
    assert found.seen.startswith("300 of 300 sessions (100.0 %) pause for 12 hours or more, or last for a day or more")
    assert found.seen.endswith(", the longest for 150 days")
    assert "inactivity_gap_minutes" in found.advice and "session_scope" in found.advice


def test_users_that_come_back_are_named(findings: Find) -> None:
    found = findings([(f"u{int(s[1:]) % 30}", i, t) for s, i, t in Healthy().rows])
    assert "sessions_are_visits" in found


@pytest.mark.parametrize("share", [0.12, 0.4])
def test_a_session_for_all_is_named(findings: Find, share: float) -> None:
    many = int(share * 1200)
    rows = [("visitor", i, t) if n % 1200 < many else (s, i, t) for n, (s, i, t) in enumerate(Healthy().rows)]
    assert f"{many} of 1,200 events" in findings(rows)["no_catch_all"].seen


def test_several_sessions_for_all_are_named(findings: Find) -> None:
    healthy = Healthy().rows
    some = [(f"guest-{n // 10 % 5}" if n % 10 < 4 else s, i, t) for n, (s, i, t) in enumerate(healthy)]
    found = findings(some)["no_catch_all"]
    assert (
        found.seen == "480 of 1,200 events (40.0 %) belong to the 5 largest sessions" and "'guest-0'" in found.sentence
    )
    many = Healthy(5_000).rows
    daily = [(f"anon-{n % 6}" if n % 100 < 18 else s, i, t) for n, (s, i, t) in enumerate(many)]
    assert "3,600 of 20,000 events (18.0 %)" in findings(daily)["no_catch_all"].seen
    assert "no_catch_all" not in findings(many)


def test_ids_that_are_used_all_the_time_are_named(findings: Find) -> None:
    rows = [(f"s{n % 33}", f"i{n % 50}", START + n * 6 * MINUTE) for n in range(5_000)]
    assert "last for a day or more" in findings(rows)["sessions_are_visits"].seen


def test_a_log_without_events_breaks_no_rule(tmp_path: Path) -> None:
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE events (log TEXT, line BIGINT, session TEXT, item TEXT, time BIGINT)")
        found = list(examine("raw_sessions", Evidence(connection, FeedSettings(home=tmp_path))))
    assert {finding.seen for _, finding in found} == {"there are no events"} and not any(f.broken for _, f in found)


@pytest.mark.parametrize("word", ["\\N", "NaT", "n.a.", "not_set", "guest", "[object Object]", "#NULL!", "f" * 32])
def test_more_words_for_nothing_are_known(findings: Find, word: str) -> None:
    rows = [(s, word if n % 20 == 0 else i, t) for n, (s, i, t) in enumerate(Healthy().rows)]
    assert "60 of 1,200 events (5.0 %)" in findings(rows)["ids_name_something"].seen


def test_an_item_for_all_is_named(findings: Find) -> None:
    found = findings([(s, "home" if n % 2 else i, t) for n, (s, i, t) in enumerate(Healthy().rows)])
    assert found["no_catch_all"].seen == "600 of 1,200 events (50.0 %) are on one item, 'home'"


@pytest.mark.parametrize("items", [1, 2, 3])
def test_an_item_for_all_is_named_in_any_catalogue(findings: Find, items: int) -> None:
    found = findings([(s, f"i{n % items}", t) for n, (s, _, t) in enumerate(Healthy().rows)])["no_catch_all"]
    assert found.seen == f"{1200 // items:,} of 1,200 events ({100 / items:.1f} %) are on one item, 'i0'"


def test_of_too_few_events_it_is_said_that_they_say_nothing(tmp_path: Path) -> None:
    """A rule that its sentence contradicts does not just pass."""
    with duckdb.connect() as connection:
        rows = [("s", "a", START + n * MINUTE) for n in range(50)]
        columns = dict(zip(("session", "item", "time"), zip(*rows, strict=True), strict=True))
        connection.register("events", pa.table({"log": ["a"] * 50, "line": range(50), **columns}))
        found = {r.name: f for r, f in examine_log(Evidence(connection, FeedSettings(home=tmp_path)))}
    assert not any(finding.broken for finding in found.values())
    assert found["no_catch_all"].sentence == "50 of 50 events (100.0 %) are on one item, 'a'; of so few it says nothing"


def test_ids_of_requests_are_named(findings: Find) -> None:
    rows = [(f"r{n}" if n > 40 else s, i, t) for n, (s, i, t) in enumerate(Healthy().rows)]
    found = findings(rows)["few_single_events"]
    assert "have one event alone" in found.seen and "[sessions] min_session_length" in found.advice


def test_ids_of_one_log_alone_are_counted_by_log(findings: Find) -> None:
    rows = [(str(n % 60), f"i{n}", START + n * 7 * MINUTE) for n in range(600)]
    names = [str(n // 60) for n in range(600)]
    assert "few_single_events" not in findings(rows, names)
    assert "few_single_events" in findings(rows, names, logs={"session_scope": "log"})


def test_copies_are_named(findings: Find) -> None:
    found = findings(Healthy().rows + Healthy().rows[:300])["few_duplicates"]
    assert found.seen == "300 of 1,500 events (20.0 %) are exact copies of another row and dropped"


def test_clicks_that_are_logged_twice_are_named(findings: Find) -> None:
    twice = [row for s, i, t in Healthy().rows for row in ((s, i, t), (s, i, t + 1_000_000))]
    found = findings(twice)["few_repeats_at_once"]
    assert found.seen == "1,200 of 2,100 steps (57.1 %) repeat an item within 2 seconds"
    assert "drop_consecutive_repeats" in found.advice
    later = [row for s, i, t in Healthy().rows for row in ((s, i, t), (s, i, t + 5_000_000))]
    assert "few_repeats_at_once" not in findings(later)


def test_sessions_that_are_cut_off_are_named(findings: Find) -> None:
    robot = [("bot", f"i{n % 50}", START + n * 10 * MINUTE) for n in range(400)]
    found = findings(Healthy().rows + robot, sessions={"max_session_length": 200})
    assert "400 of 1,600 events (25.0 %)" in found["few_too_long"].seen


# --- splits ----------------------------------------------------------------------------------------------------------


def of_split(
    train: Sequence[Row], test: Sequence[Row], settings: FeedSettings, stats: dict[str, int] | None = None
) -> dict[str, Finding]:
    """What the rules about a split find."""
    with duckdb.connect() as connection:
        for name, rows in (("train", train), ("test", test)):
            starts: dict[str, int] = {}
            for session, _, time in rows:
                starts[session] = min(time, starts.get(session, time))
            session, item, time = zip(*rows, strict=True)
            columns = {"session": session, "item": item, "time": time, "session_start": [starts[s] for s in session]}
            connection.register(name, pa.table(columns))
        evidence = Evidence(connection, settings, {"test": dict(stats or {})})
        return {rule.name: finding for rule, finding in examine("test_split", evidence)}


@pytest.fixture
def parts() -> tuple[list[Row], list[Row]]:
    """A healthy split: 480 sessions train, 120 test."""
    rows = Healthy(600).rows
    return rows[: 480 * 4], rows[480 * 4 :]


def test_a_healthy_split_breaks_no_rule(feed: Callable[..., FeedSettings], parts: tuple[list[Row], list[Row]]) -> None:
    assert not any(finding.broken for finding in of_split(*parts, feed()).values())


def test_training_that_knows_the_future_is_named(
    feed: Callable[..., FeedSettings], parts: tuple[list[Row], list[Row]]
) -> None:
    train, test = parts
    later = [(s, i, t + 9 * DAY if n % 20 == 0 else t) for n, (s, i, t) in enumerate(train)]
    found = of_split(later, test, feed())["no_future_in_train"]
    assert (found.broken, found.worthless) == (True, False), "the ratio rule cuts between sessions"
    assert found.seen.startswith("96 of 1,920 training events (5.0 %) are not before the first test event")
    assert 'rule = "days"' in found.advice
    one = [*train[:-1], (*train[-1][:2], test[0][2])]
    assert not of_split(one, test, feed())["no_future_in_train"].broken
    by_days = of_split(one, test, feed("days", split={"rule": "days"}))["no_future_in_train"]
    assert (by_days.broken, by_days.worthless) == (True, True)


@pytest.mark.parametrize(
    ("sessions", "words"), [(99, "few, so that intervals are wide"), (9, "too few for any interval")]
)
def test_a_small_test_is_named(
    feed: Callable[..., FeedSettings], parts: tuple[list[Row], list[Row]], sessions: int, words: str
) -> None:
    train, test = parts
    found = of_split(train, test[: sessions * 4], feed())["enough_test_sessions"]
    assert found.broken and not found.worthless and words in found.advice
    assert found.seen == f"{sessions} test sessions with {sessions * 3} predictions"


def test_a_cut_that_time_does_not_make_is_named(
    feed: Callable[..., FeedSettings], parts: tuple[list[Row], list[Row]]
) -> None:
    train, test = ([(s, i, START) for s, i, _ in rows] for rows in parts)
    found = of_split(train, test, feed())["cut_in_time"]
    assert found.broken and found.seen.startswith("600 of 600 sessions (100.0 %) start in the very moment of the cut")


def test_targets_that_are_dropped_are_named(
    feed: Callable[..., FeedSettings], parts: tuple[list[Row], list[Row]]
) -> None:
    counts = {"events_in": 1000, "unseen items": 410, "dropped: unseen items": 410}
    found = of_split(*parts, feed(), counts)["targets_are_known"]
    assert found.broken and "keep_unseen_items" in found.advice
    assert found.seen == "410 of 1,000 test events (41.0 %) are dropped, for training never saw their items"
    assert not of_split(*parts, feed("few"), counts | {"dropped: unseen items": 90, "unseen items": 90})[
        "targets_are_known"
    ].broken
    kept = of_split(*parts, feed("kept"), counts | {"dropped: unseen items": 0})["targets_are_known"]
    assert not kept.broken and "kept" in kept.seen


# --- words -----------------------------------------------------------------------------------------------------------


def test_numbers_are_words() -> None:
    assert [percent(share) for share in (0, 0.0001, 0.4, 1)] == ["0.0 %", "< 0.1 %", "40.0 %", "100.0 %"]
    assert part(1234, 4000) == "1,234 of 4,000 events (30.9 %)"
    assert [lasting(n) for n in (1_000_000, 90 * 1_000_000, HOUR, 150 * DAY, 2 * DAY + 4 * HOUR)] == [
        "1 second", "90 seconds", "60 minutes", "150 days", "2.17 days",
    ]  # fmt: skip


def test_a_sentence_has_examples_and_advice_where_the_rule_is_broken() -> None:
    finding = Finding(True, "3 of 4 events", ["'a'", "'b'", "'c'", "'d'"], "fix it")
    assert finding.sentence == "3 of 4 events, such as 'a', 'b', 'c': fix it"
    assert Finding(False, "0 of 4 events", ["'a'"], "fix it").sentence == "0 of 4 events"
