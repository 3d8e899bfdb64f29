import gzip
import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.logs.gate import LogRefusedError
from sessrec_pipeline.logs.ingest import Ingested, ingest_each, ingest_landed
from sessrec_pipeline.settings import LogSettings
from sessrec_pipeline.storage.files import leave
from sessrec_pipeline.storage.lake import Stats, Table
from sessrec_pipeline.storage.store import Store

Feed = Callable[..., FeedSettings]
Row = dict[str, Any]

T = 1_700_000_000
NOW = T + 1_000_000
HEADER = "SessionId\tItemId\tTime\n"


@dataclass(frozen=True)
class Result:
    events: list[Row]
    bad: list[Row]
    stats: Stats

    @property
    def reasons(self) -> list[tuple[int, str]]:
        return [(row["line"], row["reason"]) for row in self.bad]

    def column(self, name: str) -> list[Any]:
        return [row[name] for row in self.events]


def ingest(settings: FeedSettings, content: str | bytes, name: str = "a.tsv") -> Result:
    """Land the content and ingest it at NOW; rows in = events + left out + quarantined, whatever it is."""
    (settings.landing / name).write_bytes(content.encode() if isinstance(content, str) else content)
    done = ingest_landed(settings, name, lambda _: None, now=lambda: NOW)
    result = Result(done.events.arrow().to_pylist(), done.quarantine.arrow().to_pylist(), done.events.stats)
    assert result.stats["events"] == len(result.events)
    assert result.stats["quarantined"] == len(result.bad)
    assert result.stats["rows_in"] == len(result.events) + int(result.stats["left_out"]) + len(result.bad)
    return result


def read_whole(table: Table) -> tuple[pa.Schema, list[Row], Stats]:
    rows = table.arrow()
    return rows.schema, rows.to_pylist(), table.stats


def json_line(session: Any, item: Any, time: Any) -> str:
    return json.dumps({"SessionId": session, "ItemId": item, "Time": time})


def lenient(feed: Feed, **logs: Any) -> FeedSettings:
    """FeedSettings that quarantine however much is bad."""
    return feed(logs={"max_bad_share": 1, **logs})


def parquet(**columns: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def refusal(settings: FeedSettings, content: str | bytes, name: str = "a.tsv") -> str:
    with pytest.raises(LogRefusedError) as caught:
        ingest(settings, content, name)
    leave()
    assert list(settings.scratch.iterdir()) == []
    return str(caught.value)


# Formats.


@pytest.mark.parametrize(
    ("logs", "name", "content"),
    [
        ({}, "a.tsv", f"{HEADER}1\ta\t{T}\n2\tb\t{T}.5\n"),
        ({}, "a.tsv", f"{HEADER}1\ta\t{T}\n2\tb\t{T}.5"),
        ({}, "a.tsv", f"\ufeff{HEADER}1\ta\t{T}\n2\tb\t{T}.5\n".replace("\n", "\r\n")),
        ({}, "a.tsv", f"{HEADER} 1 \ta  \t {T} \n2\tb \t{T}.5\n"),
        ({}, "a.tsv.gz", gzip.compress(f"{HEADER}1\ta\t{T}\n2\tb\t{T}.5\n".encode(), mtime=0)),
        (
            {},
            "a.tsv.gz",
            gzip.compress(f"{HEADER}1\ta\t{T}\n".encode(), mtime=0) + gzip.compress(f"2\tb\t{T}.5\n".encode(), mtime=0),
        ),
        ({"format": "csv"}, "a.csv", f"SessionId,ItemId,Time\n1,a,{T}\n2,b,{T}.5\n"),
        ({"format": "csv"}, "a.csv", f'"Time","SessionId","ItemId"\n"{T}","1","a"\n{T}.5,"2",b\n'),
        ({"format": "csv", "delimiter": ";"}, "a.csv", f"SessionId;ItemId;Time\n1;a;{T}\n2;b;{T}.5\n"),
        ({"columns": ["Time", "ItemId", "x", "SessionId"]}, "a", f"{T}\ta\t?\t1\n{T}.5\tb\t?\t2\n"),
        ({"columns": ["SessionId", "ItemId", "Time"]}, "a", f"\ufeff1\ta\t{T}\n2\tb\t{T}.5\n"),
        ({"session": "s", "item": "SELECT", "time": 't"; --'}, "a.tsv", f's\tSELECT\tt"; --\n1\ta\t{T}\n2\tb\t{T}.5\n'),
        (
            {},
            "a.tsv.zst",
            bytes(pa.compress(f"{HEADER}1\ta\t{T}\n2\tb\t{T}.5\n".encode(), codec="zstd", asbytes=True)),
        ),
        ({"format": "csv", "delimiter": "§"}, "a.csv", f"SessionId§ItemId§Time\n1§a§{T}\n2§b§{T}.5\n"),
        ({"delimiter": "\x01"}, "a", f"SessionId\x01ItemId\x01Time\n1\x01a\x01{T}\n2\x01b\x01{T}.5\n"),
        ({"format": "jsonl"}, "a.jsonl", f"{json_line(1, 'a', T)}\n{json_line('2', 'b', T + 0.5)}\n"),
        ({"format": "jsonl"}, "a.jsonl", f"{json_line(1, 'a', f' {T} ')}\r\n{json_line('2', 'b', f'{T}.5')}"),
        (
            {"format": "jsonl", "events": "clicks", "item": "SessionId", "time_unit": "ms"},
            "a.jsonl",
            f'{{"SessionId": 1, "clicks": [{{"SessionId": "a", "Time": {T}000}}]}}\n'
            f'{{"clicks": [{{"Time": {T}500, "SessionId": "b"}}], "SessionId": "2"}}\n',
        ),
        (
            {"format": "jsonl", "item": "a/b~c", "session": "*", "time": '$."t"'},
            "a.jsonl",
            "".join(
                json.dumps({"*": s, "a/b~c": i, '$."t"': t}) + "\n" for s, i, t in ((1, "a", T), (2, "b", T + 0.5))
            ),
        ),
        (
            {"format": "csv", "time": "Day", "time_unit": "iso8601", "time_offset": "ms"},
            "a.csv",
            "SessionId,ItemId,Day,ms\n1,a,2023-11-14,80000000\n2,b,2023-11-13,166400500\n",
        ),
        (
            {"format": "parquet"},
            "a.parquet",
            parquet(SessionId=[1, 2], ItemId=["a", "b"], Time=[float(T), T + 0.5]),
        ),
    ],
)
def test_formats_read_the_same_events(feed: Feed, logs: dict[str, Any], name: str, content: str | bytes) -> None:
    result = ingest(feed(logs=logs), content, name)
    read = [(row["log"], row["session"], row["item"], row["time"]) for row in result.events]
    assert read == [(name, "1", "a", T * 1_000_000), (name, "2", "b", T * 1_000_000 + 500_000)]
    first = 1 if "columns" in logs or name.endswith((".parquet", ".jsonl")) else 2
    assert result.column("line") == [first, first + 1]
    assert result.bad == []


@pytest.mark.parametrize(
    ("unit", "text", "time"),
    [
        ("s", str(T), T * 1_000_000),
        ("s", f"{T}.123456", T * 1_000_000 + 123_456),
        ("s", f"{T}.1234567", T * 1_000_000 + 123_457),
        ("s", "1.7e9", T * 1_000_000),
        ("s", "946684800", 946_684_800_000_000),
        ("ms", f"{T}123", T * 1_000_000 + 123_000),
        ("ms", f"{T}123.456", T * 1_000_000 + 123_456),
        ("us", f"{T}123456", T * 1_000_000 + 123_456),
        ("iso8601", "2023-11-14T22:13:20Z", T * 1_000_000),
        ("iso8601", "2023-11-14T22:13:20.123456Z", T * 1_000_000 + 123_456),
        ("iso8601", "2023-11-14 22:13:20", T * 1_000_000),
        ("iso8601", "2023-11-14 22:13:20 UTC", T * 1_000_000),
        ("iso8601", "2023-11-15T00:13:20+02:00", T * 1_000_000),
        ("iso8601", "2023-11-14T17:13:20-0500", T * 1_000_000),
        ("iso8601", "2023-11-14", (T - 80_000) * 1_000_000),
    ],
)
def test_time_units(feed: Feed, unit: str, text: str, time: int) -> None:
    assert ingest(feed(logs={"time_unit": unit}), f"{HEADER}1\ta\t{text}\n").column("time") == [time]


def test_times_do_not_depend_on_the_host(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    result = ingest(feed(logs={"time_unit": "iso8601"}), f"{HEADER}1\ta\t2023-11-14 22:13:20\n")
    assert result.column("time") == [T * 1_000_000]


def test_parquet_timestamps_are_iso8601(feed: Feed) -> None:
    moment = datetime.fromisoformat("2023-11-14T22:13:20.123456")
    for n, kind in enumerate((pa.timestamp("us"), pa.timestamp("ns"), pa.timestamp("us", tz="UTC"))):
        content = parquet(SessionId=[1], ItemId=[2], Time=pa.array([moment], kind))
        result = ingest(feed(f"home{n}", logs={"format": "parquet", "time_unit": "iso8601"}), content, "a.parquet")
        assert result.column("time") == [T * 1_000_000 + 123_456]


# Ids and other columns.


def test_parquet_ids_beyond_a_double_stay_exact(feed: Feed) -> None:
    content = parquet(SessionId=[1, 1], ItemId=pa.array([2**53 + 1, 2**63], pa.uint64()), Time=[T, T])
    result = ingest(feed(logs={"format": "parquet"}), content, "a.parquet")
    assert result.column("item") == ["9007199254740993", "9223372036854775808"]


def test_extra_columns_are_kept_as_text(feed: Feed) -> None:
    content = f"SessionId\tItemId\tTime\tPrice\tSELECT *\tunused\n1\ta\t{T}\t007.50\tx y\tz\n2\tb\t{T}\t\t\t\n"
    result = ingest(feed(logs={"extra_columns": ["SELECT *", "Price"]}), content)
    assert list(result.events[0]) == ["log", "line", "session", "item", "time", "SELECT *", "Price"]
    assert result.column("Price") == ["007.50", None]
    assert result.column("SELECT *") == ["x y", None]


def test_csv_quotes(feed: Feed) -> None:
    rows = [
        f'1,"a,b",{T},"said ""hi"""',
        f'2,b,{T},"two\nlines"',
        f'3,c,{T},"blank\n\n\nbetween"',
        f'"4",d,"{T}",in"side',
    ]
    content = "SessionId,ItemId,Time,Note\n" + "\n".join(rows) + "\n"
    result = ingest(feed(logs={"format": "csv", "extra_columns": ["Note"]}), content, "a.csv")
    assert result.column("item") == ["a,b", "b", "c", "d"]
    assert result.column("Note") == ['said "hi"', "two\nlines", "blank\n\n\nbetween", 'in"side']


# Rules of the feed.


@pytest.mark.parametrize(
    ("rules", "items"),
    [
        ([{"column": "Kind", "one_of": ["view", "cart"]}], ["a", "b", "e"]),
        ([{"column": "Kind", "not_prefix": "c"}], ["a", "d", "e"]),
        ([{"column": "Kind", "not_one_of": ["car", "buy", ""]}], ["a", "b", "e"]),
        ([{"column": "N", "minimum": 1}], ["a", "d"]),
        ([{"column": "N", "minimum": 0.25}], ["a", "b", "d"]),
        ([{"column": "Kind", "one_of": ["view"]}, {"column": "N", "minimum": 1}], ["a"]),
        ([{"column": "Kind", "one_of": ["'; DROP TABLE raw; --"]}], []),
    ],
)
def test_rules_leave_rows_out(feed: Feed, rules: list[Row], items: list[str]) -> None:
    rows = [("a", "view", "1"), ("b", "cart", "0,5"), ("c", "", "x"), ("d", "buy", "1e3"), ("e", "view", "nan")]
    content = "SessionId\tItemId\tTime\tKind\tN\n" + "".join(f"1\t{i}\t{T}\t{k}\t{n}\n" for i, k, n in rows)
    result = ingest(feed(logs={"keep": rules}), content)
    assert result.column("item") == items
    assert result.stats["left_out"] == len(rows) - len(items)


def test_rows_left_out_are_not_judged(feed: Feed) -> None:
    """Only the two rows about views count towards max_bad_share."""
    content = "SessionId\tItemId\tTime\tKind\n" + f"1\ta\t{T}\tview\n1\t\t{T}\tview\n" + "\t\t\tcart\n" * 9
    result = ingest(feed(logs={"keep": [{"column": "Kind", "one_of": ["view"]}]}), content)
    assert (result.stats["left_out"], result.reasons) == (9, [(3, "item_missing")])


# Quarantine.


def test_bounds_of_time_and_length_are_inclusive(feed: Feed) -> None:
    result = ingest(feed(), f"{HEADER}{'s' * 256}\t{'é' * 128}\t{NOW + 86_400}\n")
    assert len(result.events) == 1


def test_quarantine_shows_what_stood_there(feed: Feed) -> None:
    result = ingest(lenient(feed), f"{HEADER}1\ta\tsoon\nrubbish here\n".replace("\n", "\r\n"))
    shown = [(row["log"], row["session"], row["item"], row["time"], row["text"]) for row in result.bad]
    assert shown == [("a.tsv", "1", "a", "soon", None), ("a.tsv", None, None, None, "rubbish here")]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("note", ["x", '"two@lines"', '"a@@@b"', '"a, ""b"""'])
def test_rows_add_up_around_quotes_and_blank_lines(feed: Feed, end: str, note: str) -> None:
    lines = ["SessionId,ItemId,Time,Note", f"1,a,{T},{note}", "", "bad", f"2,b,{T},{note},more", f"3,c,{T},{note}", ""]
    content = end.join(lines).replace("@", "\n")
    result = ingest(lenient(feed, format="csv"), content, "a.csv")
    assert result.column("item") == ["a", "c"]
    assert sorted(row["reason"] for row in result.bad) == ["missing_columns", "too_many_columns"]


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        (['1,"a,{T}', '2,b",{T}'], 2),
        (["0,z,{T}", '1,"a,{T}', "2,b,{T}", '3,"c,{T}'], 3),
        (['1,a,{T},"x', "2,b,{T},y", '3,c,{T},"z'], 2),
        (['1,a,{T},"x', '2,b,{T},"y'], 2),
    ],
)
def test_quotes_that_swallow_rows_are_refused_where_they_open(feed: Feed, lines: list[str], line: int) -> None:
    header = "SessionId,ItemId,Time" + ",Note" * (lines[0].count(",") == 3)
    content = "\n".join([header, *lines]).replace("{T}", str(T)) + "\n"
    with pytest.raises(LogRefusedError, match=f"a quote that opens on line {line} swallows"):
        ingest(lenient(feed, format="csv"), content, "a.csv")


@given(st.data())
@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_quote_loses_a_row_in_silence(feed: Feed, data: st.DataObject) -> None:
    settings = lenient(feed, format="csv")
    rows = [f"s{n // 4},item{n % 7},{T + n},note {n}" for n in range(20)]
    text = "\n".join(rows)
    for place in sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)), reverse=True):
        text = f'{text[:place]}"{text[place:]}'
    try:
        result = ingest(settings, f"SessionId,ItemId,Time,Note\n{text}\n", "a.csv")
    except LogRefusedError:
        return
    assert len(result.events) + len(result.bad) == len(rows), text


@pytest.mark.parametrize("kind", [pa.string(), pa.binary(), pa.dictionary(pa.int32(), pa.string())])
def test_a_page_that_says_one_value_for_many_rows_is_refused(feed: Feed, kind: pa.DataType) -> None:
    buffer = io.BytesIO()
    rows = 100_000
    sessions = pa.array(["s" * 2_000] * rows).dictionary_encode().cast(kind)
    table = pa.table({"SessionId": sessions, "ItemId": ["a"] * rows, "Time": [T] * rows})
    pq.write_table(table, buffer, compression="zstd")
    assert buffer.tell() < 100_000
    with pytest.raises(LogRefusedError, match="rows are more than 200 times as large as the file"):
        ingest(feed(logs={"format": "parquet"}), buffer.getvalue(), "a.parquet")


def test_lines_are_numbered_in_a_long_file(feed: Feed) -> None:
    """Of several blocks and threads, with lines that cannot be split and blank ones among the others."""
    rng = random.Random(7)
    kinds = rng.choices(["good", "bad", ""], [98, 1, 1], k=300_000)
    lines = [f"{n}\ta\t{T}" if kind == "good" else kind for n, kind in enumerate(kinds, 2)]
    result = ingest(feed(), HEADER + "\n".join(lines))
    assert all(event["line"] == int(event["session"]) for event in result.events)
    assert [row["line"] for row in result.bad] == [n for n, kind in enumerate(kinds, 2) if kind == "bad"]


def test_events_of_a_line_stay_in_order_in_a_long_file(feed: Feed) -> None:
    """Also where broken lines have to be counted in."""
    lines = [
        f'{{"s":{n},"e":[{{"i":{2 * n},"t":{T}}},{{"i":{2 * n + 1},"t":{T}}}]}}' if n % 1_000 else "{"
        for n in range(1, 130_001)
    ]
    logs = {"format": "jsonl", "events": "e", "session": "s", "item": "i", "time": "t"}
    result = ingest(feed(logs=logs), "\n".join(lines), "a.jsonl")
    items = [int(item) for item in result.column("item")]
    assert items == sorted(items)
    assert result.column("line") == list(range(1, len(items) + 1))
    assert result.reasons == [(n, "broken_json") for n in range(1_000, 130_001, 1_000)]


def test_what_rules_leave_out_is_told_by_rule(feed: Feed) -> None:
    settings = feed(logs={"keep": [{"column": "Kind", "one_of": ["view"]}, {"column": "N", "minimum": 1}]})
    rows = [("view", 1), ("cart", 1), ("view", 0), ("cart", 0), ("view", 0)]
    lines = "".join(f"1\ta\t{T}\t{kind}\t{n}\n" for kind, n in rows)
    (settings.landing / "a.tsv").write_text(f"SessionId\tItemId\tTime\tKind\tN\n{lines}")
    left_out = ingest_landed(settings, "a.tsv", lambda _: None).left_out
    assert left_out == {"Kind_not_in_list": (2, 3), "N_below_minimum": (2, 4)}


def test_earliest_year_bounds_the_times(feed: Feed) -> None:
    content = f"{HEADER}1\ta\t788918400\n1\tb\t788918399\n"  # the first second of 1995, and the one before
    result = ingest(feed(logs={"earliest_year": 1995}), content)
    assert (result.column("item"), result.reasons) == (["a"], [(3, "time_before_1995")])
    assert ingest(feed("order", logs={"earliest_year": 1995, "time_unit": "order"}), f"{HEADER}1\ta\t7\n").column(
        "time"
    ) == [788_918_400_000_007]


@pytest.mark.parametrize("name", ["raw", "row", "wrong", "kinds", "extra0", "c0", "text"])
def test_extra_columns_may_have_names_that_we_use_inside(feed: Feed, name: str) -> None:
    content = json.dumps({"SessionId": 1, "ItemId": "a", "Time": T, name: "x"})
    result = ingest(feed(logs={"format": "jsonl", "extra_columns": [name]}), content, "a.jsonl")
    assert result.column(name) == ["x"]


GOOD_LINES = st.builds("{}\t{}\t{}".format, st.integers(0, 9), st.sampled_from("abc"), st.integers(T, T + 99))
BAD_LINES = st.sampled_from(
    ["x", f"1\t\t{T}", f"\ta\t{T}", "1\ta\tt", f"1\ta\t{T}\tx", "1\ta\t1", f"1\ta\t{NOW}000", " "]
)


@given(st.lists(GOOD_LINES | BAD_LINES, max_size=25), st.sampled_from(["\n", "\r\n"]), st.booleans())
@hypothesis_settings(max_examples=30, deadline=None)
def test_every_line_is_an_event_or_in_quarantine(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], end: str, final: bool
) -> None:
    settings = FeedSettings(home=tmp_path_factory.mktemp("home"), logs=LogSettings(max_bad_share=1))
    settings.landing.mkdir()
    content = end.join([HEADER.strip(), *lines]) + (end if final else "")
    result = ingest(settings, content)
    numbered = {n: line.split("\t") for n, line in enumerate(lines, 2)}
    good = {n: f for n, f in numbered.items() if len(f) == 3 and f[0] and f[1] and f[2][:2] == "17" and len(f[2]) == 10}
    assert {e["line"]: [e["session"], e["item"], str(e["time"] // 1_000_000)] for e in result.events} == good
    assert sorted(row["line"] for row in result.bad) == sorted(set(numbered) - set(good))


@given(st.text(alphabet='a1,"\n\té ', max_size=60), st.sampled_from(["csv", "tsv"]))
@hypothesis_settings(max_examples=30, deadline=None)
def test_any_text_is_accounted_for_or_refused(
    tmp_path_factory: pytest.TempPathFactory, text: str, kind: Literal["csv", "tsv"]
) -> None:
    """``ingest`` asserts that the rows add up."""
    settings = FeedSettings(home=tmp_path_factory.mktemp("home"), logs=LogSettings(max_bad_share=1, format=kind))
    settings.landing.mkdir()
    header = HEADER if kind == "tsv" else HEADER.replace("\t", ",")
    try:
        ingest(settings, header + text, f"a.{kind}")
    except LogRefusedError as error:
        assert str(error).startswith(f"a.{kind}: ")


JSON_VALUES = st.none() | st.booleans() | st.integers(0, 9) | st.sampled_from(["a", "", "7"]) | st.just([1])
JSON_EVENTS = st.fixed_dictionaries({}, optional={"i": JSON_VALUES, "t": st.sampled_from([T, str(T), "x", None, [T]])})
JSON_SESSIONS = st.fixed_dictionaries(
    {},
    optional={"s": JSON_VALUES, "e": st.lists(JSON_EVENTS | st.just(7), max_size=3) | st.sampled_from([None, 1, {}])},
)


@given(st.lists(JSON_SESSIONS.map(json.dumps) | st.sampled_from(["", "{", "[1]", "7", '{"s":1,']), max_size=12))
@hypothesis_settings(max_examples=40, deadline=None)
def test_every_event_of_every_line_of_json_is_accounted_for(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    """Against a reading of the same lines in Python; ``ingest`` asserts that the rows add up."""
    logs = LogSettings(format="jsonl", events="e", session="s", item="i", time="t", max_bad_share=1)
    settings = FeedSettings(home=tmp_path_factory.mktemp("home"), logs=logs)
    settings.landing.mkdir()
    result = ingest(settings, "\n".join(["{}", *lines]), "a.jsonl")
    good: list[tuple[str, str]] = []
    bad: list[int] = [1]
    for number, line in enumerate(lines, 2):
        whole = parsed(line)
        if line and not (isinstance(whole, dict) and isinstance(whole.get("e"), list) and whole["e"]):
            bad.append(number)
            continue
        for event in whole["e"] if line else []:
            ids = [whole.get("s"), event.get("i") if isinstance(event, dict) else None]
            readable = all(isinstance(x, str | int) and not isinstance(x, bool) and x != "" for x in ids)
            if readable and event.get("t") in (T, str(T)):
                good.append((str(ids[0]), str(ids[1])))
            else:
                bad.append(number)
    assert [(event["session"], event["item"]) for event in result.events] == good
    assert [row["line"] for row in result.bad] == bad


def parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


# Files that are refused whole.


def test_mostly_bad_log_is_refused_by_its_worst_reason(feed: Feed) -> None:
    rows = f"1\ta\t{T}\n" + f"1\t\t{T}\n" + f"1\ta\t{T}000\n" * 2
    text = refusal(feed(), HEADER + rows)
    assert "3 of 4 rows cannot be read (time_in_the_future: 2)" in text
    assert f"the first on line 3, item_missing: '1, {T}'" in text
    assert len(ingest(feed(logs={"max_bad_share": 0.75}), HEADER + rows).events) == 1


def test_log_that_is_gone_is_refused(feed: Feed) -> None:
    with pytest.raises(LogRefusedError, match=r"gone\.tsv is not in .* any more"):
        ingest_landed(feed(), "gone.tsv", lambda _: None)


# What is published.


def test_same_bytes_give_the_same_content_and_name_their_origin(feed: Feed) -> None:
    settings = feed()
    (settings.landing / "a.tsv").write_text(f"{HEADER}1\ta\t{T}\n1\tb\tx\n2\tc\t{T}.5\n")
    store = Store(settings)
    versions = set()
    for _ in range(2):
        done = ingest_landed(settings, "a.tsv", lambda _: None)
        events = store.publish("raw_sessions", done.events, partition="a.tsv")
        bad = store.publish("quarantine", done.quarantine, partition="a.tsv")
        versions.add((events.node.id, events.node.data_version, bad.node.id, bad.node.data_version))
        (landed,) = events.lineage.ancestors
        assert (landed.asset, landed.partition, landed.rows) == ("landing", "a.tsv", 3)
    assert len(versions) == 1
    leave()
    assert list(settings.scratch.iterdir()) == []


def test_parquet_timestamps_carry_their_own_unit(feed: Feed) -> None:
    """Whatever [logs] time_unit says, as text or numbers need it."""
    stamps = pa.array([T * 1000, T * 1000 + 500], pa.timestamp("ms"))
    for kind in (stamps, stamps.cast(pa.timestamp("us", "UTC")), stamps.cast(pa.timestamp("ns"))):
        content = parquet(SessionId=["1", "1"], ItemId=["a", "b"], Time=kind)
        events = ingest(feed(logs={"format": "parquet"}), content, "a.parquet").events
        assert [event["time"] for event in events] == [T * 10**6, T * 10**6 + 500_000]


def test_ingesting_says_what_became_of_the_rows(feed: Feed) -> None:
    settings = feed()
    (settings.landing / "a.tsv").write_text(f"{HEADER}1\ta\t{T}\n1\tb\tx\n")
    said: list[str] = []
    ingest_landed(settings, "a.tsv", said.append)
    first = "(the first on line 3, time_unreadable: '1, b, x')"
    assert said == [f"a.tsv: 1 event, 0 rows left out by rule, 1 quarantined {first}"]


# Real logs.


def test_rees46_head(feed: Feed, dataset: Callable[[str], Path]) -> None:
    """The last row is cut off in the middle of a field; views alone are events."""
    content = (dataset("rees46_head") / "2019-Oct.csv").read_bytes()
    result = ingest(feed(logs={"preset": "rees46"}), content, "2019-Oct.csv")
    last = content.count(b"\n") + 1
    assert result.reasons == [(last, "missing_columns")]
    assert result.bad[0]["text"].endswith(",25.71,52040330")
    assert result.stats["rows_in"] == last - 1
    assert len(result.events) == content.count(b" UTC,view,") - 1
    assert result.events[0]["time"] == 1_569_888_000_000_000  # 2019-10-01 00:00:00 UTC


def test_yoochoose_head(feed: Feed, dataset: Callable[[str], Path]) -> None:
    content = (dataset("raw_formats") / "yoochoose_sample.dat").read_bytes()
    result = ingest(feed(logs={"preset": "yoochoose"}), content, "clicks.dat")
    assert (len(result.events), result.bad) == (content.count(b"\n"), [])
    first = result.events[0]
    assert (first["session"], first["item"], first["time"]) == ("832", "214717095", 1_396_815_718_444_000)


def test_diginetica_head(feed: Feed, dataset: Callable[[str], Path]) -> None:
    """Its header is spelled as a later publication did."""
    content = (dataset("raw_formats") / "diginetica_sample_train-item-views.csv").read_bytes()
    logs = {"preset": "diginetica", "session": "session_id", "item": "item_id"}
    result = ingest(feed(logs=logs), content, "views.csv")
    assert (len(result.events), result.bad) == (12_391, [])
    assert result.events[0]["time"] == 1_462_752_000_000_000 + 526_309_000  # 2016-05-09 and 526.309 s


def test_diginetica_purchases(feed: Feed, dataset: Callable[[str], Path]) -> None:
    content = (dataset("raw_formats") / "diginetica_train-purchases.csv").read_bytes()
    result = ingest(feed(logs={"preset": "diginetica"}), content, "purchases.csv")
    assert (len(result.events), result.bad) == (content.count(b"\n") - 1, [])


def test_retailrocket_head(feed: Feed, dataset: Callable[[str], Path]) -> None:
    """Already sessionised, so not in the original columns."""
    content = (dataset("raw_formats") / "retailrocket_sample.csv").read_bytes()
    result = ingest(feed(logs={"session": "session_id", "item": "item_id", "time": "timestamp"}), content)
    assert (len(result.events), result.bad) == (content.count(b"\n") - 1, [])


def test_online_retail_days(feed: Feed, dataset: Callable[[str], Path]) -> None:
    settings = feed(logs={"preset": "online_retail"})
    left_out = 0
    for path in sorted((dataset("online_retail") / "by-day").iterdir())[:5]:
        result = ingest(settings, path.read_bytes(), path.name)
        assert result.bad == []
        assert not any(event["session"].startswith("C") for event in result.events)
        left_out += int(result.stats["left_out"])
    assert left_out > 0


def test_movielens(feed: Feed, dataset: Callable[[str], Path]) -> None:
    content = (dataset("ml100k") / "ml-100k.inter").read_bytes()
    result = ingest(feed(logs={"preset": "recbole"}), content, "ml-100k.inter")
    assert (len(result.events), result.bad) == (100_000, [])
    assert len(set(result.column("item"))) == 1_682


def test_logs_of_one_engine_are_as_each_by_itself(feed: Feed) -> None:
    """Other columns, blank and bad lines, quotes, refusals: nothing of one log is left in the next."""
    settings = feed(logs=LogSettings(format="csv"))
    texts = {
        "a.csv": f"SessionId,ItemId,Time\ns,1,{T}\ns,2,{T + 1}\n",
        "b.csv": f"Time,ItemId,Other,SessionId\n{T},1,x,t\n\nnever,2,x,t\n{T},3,x,t,more\n{T + 2},4,x,t\n",
        "c.csv": "SessionId,Item\n1,2\n",
        "d.csv": f'SessionId,ItemId,Time\n"u\nv",1,{T}\nu,2,{T}\nu,,{T}\nu,3,{T}\n',
        "e.csv": f"SessionId,ItemId,Time\ns,1,{T}\n",
    }
    for name, text in texts.items():
        (settings.landing / name).write_text(text)
    found = {}
    for name, read in ingest_each(settings, texts, lambda _: None, {}):
        if isinstance(read, Ingested):
            found[name] = [read_whole(table) for table in (read.events, read.quarantine)]
        else:
            assert isinstance(read, LogRefusedError) and "'ItemId' is missing" in str(read)
    assert list(found) == ["a.csv", "b.csv", "d.csv", "e.csv"]
    for name, tables in found.items():
        alone = ingest_landed(settings, name, lambda _: None)
        assert tables == [read_whole(table) for table in (alone.events, alone.quarantine)]
    assert len(found["b.csv"][1][1]) == 2 and len(found["d.csv"][1][1]) == 2
