"""When an event was, by numbers, formats and the clock of a zone."""

import io
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sessrec_pipeline.engine import DuckDBEngine
from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.logs.gate import LogRefusedError
from sessrec_pipeline.logs.ingest import Ingested, ingest_landed
from sessrec_pipeline.logs.times import DAY, Change, clock_of
from sessrec_pipeline.quality import Evidence, examine_log

Feed = Callable[..., FeedSettings]

T = 1_700_000_000
HEADER = "SessionId;ItemId;Time\n"


def ingested(settings: FeedSettings, content: str | bytes, name: str = "a.csv") -> Ingested:
    (settings.landing / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return ingest_landed(settings, name, lambda _: None)


def csv(feed: Feed, *rows: tuple[str, str] | str, **logs: Any) -> Ingested:
    """Rows of session and time, or of a time alone; the items are 0, 1, ..."""
    pairs = [row if isinstance(row, tuple) else ("s", row) for row in rows]
    lines = "".join(f"{session};{n};{time}\n" for n, (session, time) in enumerate(pairs))
    settings = feed(logs={"format": "csv", "delimiter": ";", "max_bad_share": 1, **logs})
    return ingested(settings, HEADER + lines)


def moments(done: Ingested) -> list[str]:
    times = done.events.arrow()["time"].to_pylist()
    return [datetime.fromtimestamp(time / 1e6, UTC).isoformat().removesuffix("+00:00") for time in times]


def reasons(done: Ingested) -> list[str]:
    found: list[str] = done.quarantine.arrow()["reason"].to_pylist()
    return found


# --- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "text", "time"),
    [
        ("ns", f"{T}123456789", T * 10**6 + 123_456),
        ("ns", f"{T}123456999.9", T * 10**6 + 123_456),  # never rounded into the future
        ("ns", "1.700000000E+18", T * 10**6),
        ("s", f"{T},5", T * 10**6 + 500_000),
        ("ms", f"{T}000,25", T * 10**6 + 250),
        ("s", f"{T},123456", T * 10**6 + 123_456),
        ("s", "1.7E9", T * 10**6),
    ],
)
def test_units_and_decimal_commas(feed: Feed, unit: str, text: str, time: int) -> None:
    assert csv(feed, text, time_unit=unit).events.arrow()["time"].to_pylist() == [time]


def test_thousands_are_no_decimals(feed: Feed) -> None:
    assert reasons(csv(feed, "1,700,000,000")) == ["time_unreadable"]


def test_times_that_a_spreadsheet_rounded_are_refused(feed: Feed) -> None:
    with pytest.raises(LogRefusedError, match=r"column 'Time' holds times that are rounded.*2 of 2 \(1.70407E\+12\)"):
        csv(feed, "1.70407E+12", "1.70408E+12", time_unit="ms")
    exact = csv(lambda **sections: feed("exact", **sections), "1.704070001E+09", "1.7E+09", time_unit="s")
    assert moments(exact) == ["2024-01-01T00:46:41", "2023-11-14T22:13:20"]


# --- formats ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("time_format", "text", "moment"),
    [
        ("%d/%m/%Y %H:%M:%S", "01/03/2024 12:03:15", "2024-03-01T12:03:15"),
        ("%d/%m/%Y %H:%M:%S", "1/3/2024 12:03:15.5", "2024-03-01T12:03:15.500000"),
        ("%d/%m/%Y %H:%M:%S", " 01/03/2024 12:03:15,25 ", "2024-03-01T12:03:15.250000"),
        ("%d.%m.%Y %H:%M:%S.%f", "01.03.2024 12:03:15", "2024-03-01T12:03:15"),
        ("%m/%d/%Y %H:%M", "12/1/2010 8:26", "2010-12-01T08:26:00"),
        ("%m/%d/%y %I:%M %p", "3/1/24 12:03 am", "2024-03-01T00:03:00"),
        ("%m/%d/%Y %I:%M:%S %p", "3/1/2024 1:03:15 PM", "2024-03-01T13:03:15"),
        ("%d/%b/%Y:%H:%M:%S %z", "01/Mar/2024:12:03:15 -0700", "2024-03-01T19:03:15"),
        ("%a %b %d %H:%M:%S UTC %Y", "Fri Mar  1 12:03:15 UTC 2024", "2024-03-01T12:03:15"),
        ("%Y%m%d%H%M%S", "20240301120315", "2024-03-01T12:03:15"),
        ("%Y-%j", "2024-061", "2024-03-01T00:00:00"),
    ],
)
def test_time_formats(feed: Feed, time_format: str, text: str, moment: str) -> None:
    assert moments(csv(feed, text, time_format=time_format)) == [moment]


def test_what_a_format_does_not_fit_is_unreadable(feed: Feed) -> None:
    done = csv(feed, "13/13/2024 12:00", "31/02/2024 12:00", "2024-03-01 12:00", "", time_format="%d/%m/%Y %H:%M")
    assert reasons(done) == ["time_unreadable"] * 4


def test_formats_are_local_times_of_the_zone(feed: Feed) -> None:
    done = csv(feed, "01/07/2024 12:00", "01/01/2024 12:00", time_format="%d/%m/%Y %H:%M", time_zone="Europe/Berlin")
    assert moments(done) == ["2024-07-01T10:00:00", "2024-01-01T11:00:00"]


def test_iso_fractions_may_have_a_comma(feed: Feed) -> None:
    done = csv(feed, "2024-03-01 12:03:15,250", "2024-03-01T12:03:15,25Z", time_unit="iso8601")
    assert moments(done) == ["2024-03-01T12:03:15.250000"] * 2


# --- zones -----------------------------------------------------------------------------------------------------------


def test_only_times_without_a_zone_are_local(feed: Feed) -> None:
    texts = ["2024-07-01 12:00:00", "2024-07-01T12:00", "2024-07-01 12:00:00Z", "2024-07-01 12:00:00+05:30"]
    texts += [
        "2024-07-01 12:00:00 UTC",
        "2024-07-01 12:00:00 America/New_York",
        "2024-07-01",
        "2024-07-01 12:00:00 CEST",
    ]
    texts += ["2024-07-01 12:00:00 CET"]
    hours = ["10:00", "10:00", "12:00", "06:30", "12:00", "16:00", "22:00", "10:00", "11:00"]
    done = csv(feed, *texts, time_unit="iso8601", time_zone="Europe/Berlin")
    assert [moment[11:16] for moment in moments(done)] == hours


@pytest.mark.parametrize("name", ["IST", "CST", "BST", "PST", "EDT", "ist"])
def test_letters_that_mean_several_zones_are_not_guessed(feed: Feed, name: str) -> None:
    done = csv(feed, f"2024-07-01 12:00:00 {name}", "2024-07-01 12:00:00", time_unit="iso8601")
    assert reasons(done) == ["time_zone_unclear"]
    with pytest.raises(LogRefusedError, match=r"time_zone_unclear: 1\).*set \[logs\] time_zone to the place"):
        csv(
            lambda **sections: feed("strict", **sections),
            f"2024-07-01 12:00:00 {name}",
            time_unit="iso8601",
            max_bad_share=0.5,
        )


def test_the_place_says_what_its_letters_mean(feed: Feed) -> None:
    chicago = csv(
        feed,
        *("2024-11-03 01:30:00 CDT", "2024-11-03 01:30:00 CST", "2024-11-03 01:30:00 IST"),
        time_unit="iso8601",
        time_zone="America/Chicago",
    )
    assert moments(chicago) == ["2024-11-03T06:30:00", "2024-11-03T07:30:00"]
    assert reasons(chicago) == ["time_zone_unclear"]


def test_the_hour_that_is_there_twice_follows_the_file(feed: Feed) -> None:
    """27 October 2024, Berlin: 03:00 CEST is 02:00 CET."""
    rows = [
        *(("across", t) for t in ("01:59", "02:50", "02:58", "02:10", "02:55", "03:05")),
        *(("first", t) for t in ("02:10", "02:50")),
        *(("other days", t) for t in ("03:10", "01:10", "02:50", "02:10")),  # not in order anyway
        ("late", "02:30"),
    ]
    texts = [(session, f"2024-10-27 {time}:00") for session, time in rows]
    done = csv(feed, *texts, time_unit="iso8601", time_zone="Europe/Berlin")
    assert [moment[11:16] for moment in moments(done)] == [
        *("23:59", "00:50", "00:58", "01:10", "01:55", "02:05"),
        *("00:10", "00:50"),
        *("02:10", "23:10", "00:50", "00:10"),
        "00:30",
    ]
    assert done.events.stats["in_doubled_hours"] == 9
    assert done.events.stats["in_skipped_hours"] == 0


def test_the_hour_that_is_there_twice_in_a_log_with_its_newest_row_first(feed: Feed) -> None:
    times = ("03:05", "02:55", "02:10", "02:58", "02:50", "01:59")
    texts = [("across", f"2024-10-27 {time}:00") for time in times]
    done = csv(feed, *texts, time_unit="iso8601", time_zone="Europe/Berlin")
    expected = ["02:05", "01:55", "01:10", "00:58", "00:50", "23:59"]
    assert [moment[11:16] for moment in moments(done)] == expected


def berlin_night(minutes: int = 2) -> list[tuple[str, str, int]]:
    """Session, local time and UTC second: a session every few minutes, of four events in 20 minutes, all in order."""
    start = int(datetime(2024, 10, 26, 20, tzinfo=UTC).timestamp())
    events = sorted(
        (start + n * minutes * 60 + k * 290 + n % 7, f"s{n}") for n in range(600 // minutes) for k in range(4)
    )
    place = ZoneInfo("Europe/Berlin")
    return [(s, datetime.fromtimestamp(t, place).strftime("%Y-%m-%d %H:%M:%S"), t) for t, s in events]


@pytest.mark.parametrize("order", ["by time", "newest first", "by session"])
def test_the_order_of_the_file_says_which_of_two_hours_it_is(feed: Feed, order: str) -> None:
    """Most sessions lie in the second hour alone, and say nothing by themselves."""
    rows = berlin_night()
    if order == "by session":
        rows.sort(key=lambda row: (int(row[0][1:]), row[2]))
    rows = rows[::-1] if order == "newest first" else rows
    done = csv(feed, *[(s, text) for s, text, _ in rows], time_unit="iso8601", time_zone="Europe/Berlin")
    assert [t // 10**6 for t in done.events.arrow()["time"].to_pylist()] == [t for *_, t in rows]
    assert done.events.stats["in_doubled_hours"] > 200
    assert done.events.stats["unsure_in_doubled_hours"] == 0


def test_where_nothing_says_which_of_two_hours_it_is_they_are_counted(feed: Feed) -> None:
    rows = sorted(berlin_night(), key=lambda row: row[1])  # by the text of the time
    done = csv(feed, *[(s, text) for s, text, _ in rows], time_unit="iso8601", time_zone="Europe/Berlin")
    unsure = int(done.events.stats["unsure_in_doubled_hours"])
    assert unsure == done.events.stats["in_doubled_hours"] > 200
    settings = feed("judged", logs={"time_unit": "iso8601", "time_zone": "Europe/Berlin"})
    with duckdb.connect() as connection:
        connection.register("events", done.events.arrow())
        evidence = Evidence(connection, settings, {"events": done.events.stats})
        found = {rule.name: finding for rule, finding in examine_log(evidence)}["local_times_are_one"]
    assert found.broken and found.seen.startswith(f"{unsure} of {len(rows):,} events (")


def test_a_running_number_is_whole(feed: Feed) -> None:
    done = csv(feed, "1", "2.0", "3.5", "45292.25", time_unit="order")
    assert [moment[-6:] for moment in moments(done)] == ["000001", "000002"]
    assert reasons(done) == ["time_unreadable"] * 2


def test_an_hour_that_is_skipped_is_counted(feed: Feed) -> None:
    texts = ["2024-03-31 01:59:59", "2024-03-31 02:30:00", "2024-03-31 03:00:00"]
    done = csv(feed, *texts, time_unit="iso8601", time_zone="Europe/Berlin")
    assert [moment[11:] for moment in moments(done)] == ["00:59:59", "01:30:00", "01:00:00"]
    assert done.events.stats["in_skipped_hours"] == 1


def test_half_an_hour_is_doubled_too(feed: Feed) -> None:
    """Lord Howe Island sets its clock back by 30 minutes, at 02:00 on 7 April 2024."""
    texts = ["2024-04-07 01:40:00", "2024-04-07 01:55:00", "2024-04-07 01:35:00"]
    done = csv(feed, *texts, time_unit="iso8601", time_zone="Australia/Lord_Howe")
    assert [moment[11:16] for moment in moments(done)] == ["14:40", "14:55", "15:05"]


def test_timestamps_of_parquet_without_a_zone_are_local(feed: Feed) -> None:
    settings = feed(logs={"format": "parquet", "time_zone": "Europe/Berlin"})
    noon = datetime(2024, 7, 1, 12, tzinfo=UTC)
    for n, (kind, hour) in enumerate(
        ((pa.timestamp("us"), 10), (pa.timestamp("ns"), 10), (pa.timestamp("ms", "UTC"), 12), (pa.date32(), 22))
    ):
        times = pa.array([noon.replace(tzinfo=None) if kind != pa.timestamp("ms", "UTC") else noon], kind)
        buffer = io.BytesIO()
        pq.write_table(pa.table({"SessionId": [1], "ItemId": [1], "Time": times}), buffer)
        (moment,) = moments(ingested(settings, buffer.getvalue(), f"{n}.parquet"))
        assert int(moment[11:13]) == hour


FIRST = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp()) * 10**6
LAST = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 10**6


def test_changes_of_a_clock_are_found_to_the_second() -> None:
    clock = clock_of("Europe/Berlin", LAST - 366 * DAY, LAST)
    hour = 3_600 * 10**6
    spring, autumn = (
        int(datetime(2025, month, day, 1, tzinfo=UTC).timestamp()) * 10**6 for month, day in ((3, 30), (10, 26))
    )
    assert clock.changes == [Change(spring, hour, 2 * hour), Change(autumn, 2 * hour, hour)]
    assert clock.abbreviations == {"CET": hour, "CEST": 2 * hour}


@given(
    st.lists(st.integers(FIRST // 10**6, LAST // 10**6), min_size=1, max_size=20),
    st.sampled_from(
        ["America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca", "UTC"]
    ),
)
@hypothesis_settings(max_examples=30, deadline=None)
def test_local_times_are_those_of_the_zone(
    tmp_path_factory: pytest.TempPathFactory, seconds: list[int], zone: str
) -> None:
    """Against the standard library, whose ``fold=0`` is the first of two hours, and the clock before a skipped one."""
    place = ZoneInfo(zone)
    local = [datetime.fromtimestamp(second, UTC).replace(tzinfo=None) for second in seconds]
    expected = [int(time.replace(tzinfo=place).timestamp()) for time in local]
    clock = clock_of(zone, FIRST - DAY, LAST + DAY)
    with DuckDBEngine(FeedSettings(home=tmp_path_factory.mktemp("home"))) as engine:
        found = [engine.scalar(f"SELECT {clock.to_utc('wall')} FROM (SELECT {s * 10**6} AS wall)") for s in seconds]
    assert found == [second * 10**6 for second in expected]
