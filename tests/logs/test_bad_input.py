"""Bad inputs, a table a kind: what is kept, what goes to quarantine and why, or the sentence of the refusal."""

import gzip
import io
import json
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sessrec_pipeline.engine import DuckDBEngine
from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.logs import unpack
from sessrec_pipeline.logs.describe import describe
from sessrec_pipeline.logs.gate import LogRefusedError, admit, check_name
from sessrec_pipeline.logs.ingest import ingest_each, ingest_landed
from sessrec_pipeline.preparation.sessions import prepare_sessions
from sessrec_pipeline.settings import LogSettings
from sessrec_pipeline.storage.files import leave

Feed = Callable[..., FeedSettings]
T = 1_700_000_000
NOW = T + 1_000_000
HEADER = "SessionId\tItemId\tTime\n"
GOOD = f"{HEADER}1\ta\t{T}\n2\tb\t{T}\n"
CSV = GOOD.replace("\t", ",")
JSONL = f'{{"SessionId":1,"ItemId":"a","Time":{T}}}\n{{"SessionId":"2","ItemId":"b","Time":{T}}}\n'
OTTO = f'{{"session":1,"events":[{{"aid":5,"ts":{T}000,"type":"clicks"}}]}}\n'


class Read(NamedTuple):
    """What became of a log; rows in = events + left out + quarantined is asserted on the way."""

    items: list[str]
    reasons: list[tuple[int, str]]
    left_out: int
    events: list[dict[str, Any]]
    bad: list[dict[str, Any]]


def land(settings: FeedSettings, content: str | bytes, name: str) -> Path:
    path = settings.landing / name
    path.write_bytes(content.encode(errors="surrogateescape") if isinstance(content, str) else content)
    return path


def ingest(settings: FeedSettings, name: str) -> Read:
    done = ingest_landed(settings, name, lambda _: None, now=lambda: NOW)
    events, bad = done.events.arrow().to_pylist(), done.quarantine.arrow().to_pylist()
    left_out = int(done.events.stats["left_out"])
    assert done.events.stats["rows_in"] == len(events) + left_out + len(bad)
    assert sum(rows for rows, _ in done.left_out.values()) == left_out
    return Read([e["item"] for e in events], [(b["line"], b["reason"]) for b in bad], left_out, events, bad)


def parquet(**columns: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def gz(content: str | bytes) -> bytes:
    return gzip.compress(content.encode() if isinstance(content, str) else content, mtime=0)


def zst(content: str | bytes) -> bytes:
    return bytes(pa.compress(content.encode() if isinstance(content, str) else content, codec="zstd", asbytes=True))


# Files that are refused whole.

GOOD_PARQUET = parquet(SessionId=["1", "2"], ItemId=["a", "b"], Time=[T, T])
DAMAGED_PAGES = bytearray(parquet(SessionId=[str(n) for n in range(999)], ItemId=["a"] * 999, Time=[T] * 999))
DAMAGED_PAGES[4:40] = b"\xff" * 36
DOUBLED_PARQUET = io.BytesIO()
pq.write_table(pa.table([pa.array(["1"])] * 4, names=["SessionId", "ItemId", "itemid", "Time"]), DOUBLED_PARQUET)

REFUSED: dict[str, tuple[str, str | bytes, dict[str, Any], str]] = {
    "empty": ("a.tsv", "", {}, "the file is empty"),
    "empty jsonl": ("a.jsonl", "", {"format": "jsonl"}, "the file is empty"),
    "empty gzip": ("a.tsv.gz", "", {}, "the file is empty"),
    "blank lines only": ("a.tsv", "\n\n\n", {}, "column 'SessionId' is missing"),
    "no header": ("a.tsv", GOOD.removeprefix(HEADER), {}, "column 'SessionId' is missing in the header ['1', 'a'"),
    "column renamed": ("a.tsv", GOOD.replace("ItemId", "Item"), {}, "column 'ItemId' is missing"),
    "column in other capitals": ("a.tsv", GOOD.replace("ItemId", "itemid"), {}, "column 'ItemId' is missing"),
    "column missing": ("a.tsv", "SessionId\tItemId\n1\ta\n", {}, "column 'Time' is missing"),
    "column doubled": ("a.tsv", "SessionId\tItemId\tItemId\tTime\n", {}, "column 'ItemId' stands twice"),
    "column of a rule missing": ("a.tsv", GOOD, {"keep": [{"column": "K", "one_of": ["v"]}]}, "column 'K' is missing"),
    "extra column missing": ("a.tsv", GOOD, {"extra_columns": ["Price"]}, "column 'Price' is missing"),
    "offset column missing": ("a.tsv", GOOD, {"time_offset": "ms"}, "column 'ms' is missing"),
    "comma for tab": ("a.tsv", CSV, {}, "the delimiter seems to be ','"),
    "semicolon for comma": ("a.csv", CSV.replace(",", ";"), {"format": "csv"}, "the delimiter seems to be ';'"),
    "blank line before the header": ("a.tsv", f"\n{GOOD}", {}, "column 'SessionId' is missing"),
    "open quote in the header": ("a.csv", 'SessionId,ItemId,Time,"No\nte"\n', {"format": "csv"}, "cannot be split"),
    "header that is not UTF-8": ("a.tsv", b"Ses\xedon\tItemId\tTime\n", {}, "the header is not UTF-8"),
    "UTF-16": ("a.tsv", GOOD.encode("utf-16"), {}, "UTF-16 is not read"),
    "NUL in a field": ("a.tsv", f"{GOOD}3\tc\0\t{T}\n", {}, "line 4 holds NUL bytes"),
    "NULs after a crash": ("a.tsv", GOOD.encode() + b"\0" * 512, {}, "line 4 holds NUL bytes"),
    "NUL far into the file": ("a.tsv", GOOD + f"3\tc\t{T}\n" * 200_000 + "\0\n", {}, "line 200004 holds NUL bytes"),
    "NUL in jsonl": ("a.jsonl", JSONL + "\0", {"format": "jsonl"}, "line 3 holds NUL bytes"),
    "bare CR": ("a.tsv", GOOD.replace("\n", "\r"), {}, "bare CR"),
    "LF, then CRLF": ("a.tsv", f"{HEADER}1\ta\t{T}\r\n2\tb\t{T}\n", {}, "are its line ends mixed"),
    "LF, then CR": ("a.tsv", f"{HEADER}1\ta\t{T}\r2\tb\t{T}\n", {}, "are its line ends mixed"),
    "jsonl of mixed line ends": ("a.jsonl", JSONL.replace("\n", "\r\n", 1), {"format": "jsonl"}, "line ends mixed"),
    "line of 17 MB": ("a.tsv", GOOD + "x" * 17_000_000 + f"\n3\tc\t{T}\n", {}, "line 4 is longer than 16 MiB"),
    "open quote that swallows lines": (
        "a.csv", f'{CSV}3,"c,{T}\n' + f"4,d,{T}\n" * 2_000, {"format": "csv"},
        "a quote that opens on line 4 swallows the lines after it",
    ),
    "mostly bad rows": ("a.tsv", f"{GOOD}3\tc\tx\n4\td\tx\n5\te\ty\n", {}, "3 of 5 rows cannot be read (time_"),
    "wrong unit": ("a.tsv", GOOD.replace(str(T), f"{T}000"), {}, "(time_in_the_future: 2)"),
    "seconds read as ms": ("a.tsv", GOOD, {"time_unit": "ms"}, "(time_before_2000: 2)"),
    "gzip without its name": ("a.tsv", gz(GOOD), {}, "gzip data, but its name does not end in .gz"),
    "zstd without its name": ("a.tsv", zst(GOOD), {}, "zstd data, but its name does not end in .zst"),
    "zstd named gz": ("a.tsv.gz", zst(GOOD), {}, "zstd data, but its name does not end in .zst"),
    "text named gz": ("a.tsv.gz", GOOD, {}, "ends in .gz, but it holds no gzip data"),
    "text named zst": ("a.tsv.zst", GOOD, {}, "ends in .zst, but it holds no zstd data"),
    "gzip cut off": ("a.tsv.gz", gz(GOOD)[:-12], {}, "the gzip data are damaged or cut off"),
    "gzip and rubbish": ("a.tsv.gz", gz(GOOD) + b"rubbish", {}, "the gzip data are damaged or cut off"),
    "gzip of another checksum": ("a.tsv.gz", gz(GOOD)[:-8] + b"\1" * 8, {}, "the gzip data are damaged or cut off"),
    "gzip with NULs": ("a.tsv.gz", gz(GOOD + "\0"), {}, "line 4 holds NUL bytes"),
    "zstd cut off": ("a.tsv.zst", zst(GOOD * 99)[:-5], {}, "the zstd data are damaged or cut off"),
    "zstd cut off after its magic": ("a.tsv.zst", zst(GOOD)[:4], {}, "the zstd data are damaged or cut off"),
    "zstd and rubbish": ("a.tsv.zst", zst(GOOD) + b"rubbish", {}, "the zstd data are damaged or cut off"),
    "zstd with NULs": ("a.tsv.zst", zst(GOOD + "\0"), {}, "line 4 holds NUL bytes"),
    "jsonl in zstd cut off": ("a.jsonl.zst", zst(JSONL * 99)[:-5], {"format": "jsonl"}, "damaged or cut off"),
    "Parquet for text": ("a.tsv", GOOD_PARQUET, {}, 'this is Parquet; set [logs] format = "parquet"'),
    "CSV named Parquet": ("a.parquet", CSV, {"format": "parquet"}, "this is no Parquet"),
    "Parquet cut off": ("a.parquet", GOOD_PARQUET[:-20], {"format": "parquet"}, "not a readable Parquet file"),
    "Parquet of its magic alone": ("a.parquet", b"PAR1", {"format": "parquet"}, "not a readable Parquet file"),
    "Parquet with damaged pages": ("a.parquet", bytes(DAMAGED_PAGES), {"format": "parquet"}, "cannot be read"),
    "Parquet of another schema": (
        "a.parquet", parquet(SessionId=["1"], Item=["a"], Time=[T]), {"format": "parquet"}, "column 'ItemId' is missing"
    ),
    "Parquet with a column twice": ("a.parquet", DOUBLED_PARQUET.getvalue(), {"format": "parquet"}, "stands twice"),
    "Parquet of nested ids": (
        "a.parquet", parquet(SessionId=["1"], ItemId=["a"], Time=[[T]]), {"format": "parquet"},
        "column 'Time' holds BIGINT[]",
    ),
    "JSON Lines for TSV": ("a.tsv", JSONL, {}, 'this looks like JSON; set [logs] format = "jsonl"'),
    "TSV for JSON Lines": ("a.jsonl", GOOD, {"format": "jsonl"}, "(broken_json: 3)"),
    "JSON array": ("a.jsonl", "[\n" + JSONL + "]\n", {"format": "jsonl"}, "a JSON array, not JSON Lines"),
    "JSON array on one line": ("a.json", json.dumps([{"SessionId": 1}]), {"format": "jsonl"}, "a JSON array"),
    "JSON over many lines": ("a.json", json.dumps({"SessionId": 1}, indent=1), {"format": "jsonl"}, "(broken_json: 3)"),
    "other keys": ("a.jsonl", JSONL.replace("ItemId", "aid"), {"format": "jsonl"}, "(item_missing: 2)"),
    "sessions for events": ("a.jsonl", OTTO, {"format": "jsonl"}, "(session_missing: 1)"),
    "events for sessions": ("a.jsonl", JSONL, {"preset": "otto"}, "(events_missing: 2)"),
    "header where a preset has none": ("a.dat", GOOD, {"preset": "yoochoose"}, "(missing_columns: 3)"),
    "no header where one is due": ("a.csv", "1;NA;5;9;2016-05-09\n", {"preset": "diginetica"}, "'sessionId' is"),
    "another spelling than the preset's": (
        "a.csv", "session_id;item_id;timeframe;eventdate\n", {"preset": "diginetica"}, "column 'sessionId' is missing"
    ),
    "untyped header": ("a.inter", "user_id\titem_id\ttimestamp\n", {"preset": "recbole"}, "'user_id:token' is missing"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused(feed: Feed, case: str) -> None:
    name, content, logs, words = REFUSED[case]
    settings = feed(logs=logs)
    land(settings, content, name)
    with pytest.raises(LogRefusedError) as caught:
        ingest(settings, name)
    assert str(caught.value).startswith(f"{name}: ")
    assert words in str(caught.value)
    leave()
    assert not settings.scratch.exists() or list(settings.scratch.iterdir()) == []


@pytest.mark.parametrize("case", [case for case in REFUSED if "far" not in case and "swallows" not in case])
def test_describe_has_words_for_bad_input(feed: Feed, case: str) -> None:
    name, content, _, _ = REFUSED[case]
    lines, _ = describe(land(feed(), content, name))
    assert len(lines) > 2
    assert "Traceback" not in "\n".join(lines)


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gz), ("zst", zst)])
def test_bad_input_that_blows_up_is_refused(
    feed: Feed, monkeypatch: pytest.MonkeyPatch, suffix: str, pack: Callable[[str], bytes]
) -> None:
    """Two million equal rows in a few kilobytes; the bound lies lower than it does outside of tests."""
    monkeypatch.setattr(unpack, "ALWAYS_FINE", 1 << 20)
    settings = feed()
    land(settings, pack(HEADER + f"1\ta\t{T}\n" * 200_000), f"a.tsv.{suffix}")
    with pytest.raises(LogRefusedError, match="unpack to more than 200 times their size"):
        ingest(settings, f"a.tsv.{suffix}")
    monkeypatch.undo()
    assert len(ingest(settings, f"a.tsv.{suffix}").items) == 200_000


@pytest.mark.parametrize("format", ["tsv", "csv", "jsonl"])
def test_bad_input_of_one_line_of_100_mb_is_refused(feed: Feed, format: str) -> None:  # noqa: A002
    """The engine itself would lose such a line without a word."""
    settings = feed(logs={"format": format})
    path = land(settings, {"tsv": GOOD, "csv": CSV, "jsonl": JSONL}[format], "a.log")
    with path.open("ab") as file:
        for _ in range(100):
            file.write(b"x" * 1_000_000)
    with pytest.raises(LogRefusedError, match=r"line [34] is longer than 16 MiB"):
        ingest(settings, "a.log")
    assert any("is longer than 16 MiB" in line for line in describe(path)[0])


# Files that are read, in part or after all: what is kept, what goes to quarantine.

LATIN = "1\t\udce9\t1"
LONG = "x" * 3_000_000
WIDE = f"SessionId,ItemId,Time,Note\n1,a,{T},"
REES46_HEAD = "event_time,event_type,product_id,user_session\n2019-10-01 00:00:00 UTC,view,1,s\n"
RETAIL = "InvoiceNo,StockCode,Quantity,InvoiceDate\n"

READ: dict[str, tuple[str, str | bytes, dict[str, Any], list[str], list[tuple[int, str]]]] = {
    "header alone": ("a.tsv", HEADER, {}, [], []),
    "header without line end": ("a.tsv", HEADER.rstrip(), {}, [], []),
    "no final newline": ("a.tsv", GOOD.rstrip(), {}, ["a", "b"], []),
    "last row cut off in a number": ("a.tsv", GOOD.rstrip()[:-3], {}, ["a"], [(3, "time_before_2000")]),
    "last row cut off in a field": ("a.tsv", GOOD + "3\tc", {}, ["a", "b"], [(4, "missing_columns")]),
    "byte-order mark": ("a.tsv", "\ufeff" + GOOD, {}, ["a", "b"], []),
    "CRLF": ("a.tsv", GOOD.replace("\n", "\r\n"), {}, ["a", "b"], []),
    "columns in another order": ("a.tsv", f"Time\tItemId\tSessionId\n{T}\ta\t1\n", {}, ["a"], []),
    "further columns": ("a.tsv", f"x\tSessionId\tItemId\tTime\ty\n?\t1\ta\t{T}\t?\n", {}, ["a"], []),
    "header again in the middle": ("a.tsv", GOOD + GOOD, {}, ["a", "b"] * 2, [(4, "time_unreadable")]),
    "ragged rows": (
        "a.tsv", f"{GOOD}3\n4\td\t{T}\n5\te\t{T}\tx\n6\tf\t{T}\n", {},
        ["a", "b", "d", "f"], [(4, "missing_columns"), (6, "too_many_columns")],
    ),
    "Latin-1": ("a.tsv", f"{GOOD}{LATIN}\n4\td\t{T}\n", {}, ["a", "b", "d"], [(4, "invalid_encoding")]),
    "line of 3 MB": ("a.tsv", f"{GOOD}{LONG}\n4\td\t{T}\n", {}, ["a", "b", "d"], [(4, "line_size_over_maximum")]),
    "line of 3 MB in jsonl": (
        "a.jsonl", f'{JSONL}{{"x":"{LONG}"}}\n{JSONL}', {"format": "jsonl"},
        ["a", "b"] * 2, [(3, "line_size_over_maximum")],
    ),
    "blank lines": (
        "a.tsv", f"{HEADER}\n\n1\ta\tx\n\nbad\n\n2\tb\tx\n\n\n3\tc\t{T}\nbad", {},
        ["c"], [(4, "time_unreadable"), (6, "missing_columns"), (8, "time_unreadable"), (12, "missing_columns")],
    ),
    "blank lines of CRLF": (
        "a.tsv", f"{HEADER}\n1\ta\tx\n\nbad\n\n2\tb\t{T}\n".replace("\n", "\r\n"), {},
        ["b"], [(3, "time_unreadable"), (5, "missing_columns")],
    ),
    "blank lines without header": (
        "a.dat", f"\n1\ta\tx\n\n2\tb\t{T}\n", {"columns": ["SessionId", "ItemId", "Time"]},
        ["b"], [(2, "time_unreadable")],
    ),
    "blank lines beside Latin-1": (
        "a.tsv", f"{HEADER}\n{LATIN}\n\n2\tb\tx\n3\tc\t{T}\n", {},
        ["c"], [(3, "invalid_encoding"), (5, "time_unreadable")],
    ),
    "quoted delimiter": ("a.csv", f'{CSV}3,"c,d",{T}\n', {"format": "csv"}, ["a", "b", "c,d"], []),
    "quoted newlines": (
        "a.csv", f'{WIDE}"x\ny"\nbad\n2,b,x,"p\n\n\nq"\n3,c,{T},"z, ""z"""\n4,d,x,\n', {"format": "csv"},
        ["a", "c"], [(4, "missing_columns"), (5, "time_unreadable"), (10, "time_unreadable")],
    ),
    "quoted newlines in a bad row": (
        "a.csv", f'{WIDE}x\n2,b,{T},"p\nq",more\n3,c,x,\n4,d,{T},\n', {"format": "csv"},
        ["a", "d"], [(3, "too_many_columns"), (5, "time_unreadable")],
    ),
    "quotes in TSV": ("a.tsv", f'{HEADER}1\t"a\t{T}\n2\tb"\t{T}\n', {}, ['"a', 'b"'], []),
    "quote inside a field": ("a.csv", f'{CSV}3,c"d,{T}\n', {"format": "csv"}, ["a", "b", 'c"d'], []),
    "numbers first, then text": (
        "a.tsv", HEADER + f"1\t1\t{T}\n" * 30_000 + f"x\tx\t{T}\n", {}, ["1"] * 30_000 + ["x"], []
    ),
    "all times equal": ("a.tsv", HEADER + f"1\ta\t{T}\n" * 3, {}, ["a"] * 3, []),
    "times backwards": ("a.tsv", f"{HEADER}1\tb\t{T + 1}\n1\ta\t{T}\n", {}, ["b", "a"], []),
    "ms and us among s": (
        "a.tsv", f"{GOOD}3\tc\t{T}000\n4\td\t{T}000000\n", {},
        ["a", "b"], [(4, "time_in_the_future"), (5, "time_unreadable")],
    ),
    "ISO with and without zone": (
        "a.tsv", HEADER + "1\ta\t2023-11-14T22:13:20Z\n1\ta\t2023-11-14 22:13:20\n1\ta\t2023-11-15T00:13:20+02:00\n",
        {"time_unit": "iso8601"}, ["a"] * 3, [],
    ),
    "ISO that is none": (
        "a.tsv", HEADER + "".join(f"1\ta\t{t}\n" for t in (
            "infinity", "epoch", "2262-04-12", "2023-02-30", "14/11/2023 22:13", "1700000000", "1970-01-01"
        )) + "2\tb\t2023-11-14\n", {"time_unit": "iso8601"},
        ["b"],
        [(2, "time_unreadable"), (3, "time_before_2000"), (4, "time_in_the_future"), (5, "time_unreadable"),
         (6, "time_unreadable"), (7, "time_unreadable"), (8, "time_before_2000")],
    ),
    "order beyond a BIGINT": (
        "a.tsv", f"{HEADER}1\ta\t1\n1\tb\t9223372036854775807\n1\tc\t-1\n", {"time_unit": "order"},
        ["a"], [(3, "time_unreadable"), (4, "time_before_2000")],
    ),
    "gzip of two members": ("a.tsv.gz", gz(GOOD) + gz(f"3\tc\t{T}\n"), {}, ["a", "b", "c"], []),
    "zstd of two frames": ("a.tsv.zst", zst(GOOD) + zst(f"3\tc\t{T}\n"), {}, ["a", "b", "c"], []),
    "zstd with a bad row": ("a.csv.zst", zst(CSV + "x\n"), {"format": "csv"}, ["a", "b"], [(4, "missing_columns")]),
    "jsonl in gzip": ("a.jsonl.gz", gz(JSONL + "{"), {"format": "jsonl"}, ["a", "b"], [(3, "broken_json")]),
    "jsonl with a byte-order mark": ("a.jsonl", "\ufeff" + JSONL, {"format": "jsonl"}, ["a", "b"], []),
    "jsonl with blank lines": (
        "a.jsonl", f"\n{JSONL}\n\n{{\n{JSONL}".replace("\n", "\r\n"), {"format": "jsonl"},
        ["a", "b"] * 2, [(6, "broken_json")],
    ),
    "jsonl cut off": ("a.jsonl", JSONL.rstrip()[:-1], {"format": "jsonl"}, ["a"], [(2, "broken_json")]),
    "Parquet without rows": (
        "a.parquet", parquet(**dict.fromkeys(("SessionId", "ItemId", "Time"), pa.array([], pa.string()))),
        {"format": "parquet"}, [], [],
    ),
    "Parquet with nulls": (
        "a.parquet", parquet(SessionId=["1", None, "3"], ItemId=["a", "b", None], Time=[T, T, T]),
        {"format": "parquet"}, ["a"], [(2, "session_missing"), (3, "item_missing")],
    ),
    "Parquet with NaN and inf": (
        "a.parquet", parquet(SessionId=[1, 1, 1], ItemId=[1, 2, 3], Time=[float("nan"), float("inf"), float(T)]),
        {"format": "parquet"}, ["3"], [(1, "time_unreadable"), (2, "time_unreadable")],
    ),
    "yoochoose": (
        "clicks.dat", "1,2014-04-07T10:51:09.277Z,214536502,0\n1,2014-04-07T10:54Z,7,S\n1,2014-04-07,7\n2,,8,0\n",
        {"preset": "yoochoose"}, ["214536502", "7"], [(3, "missing_columns"), (4, "time_unreadable")],
    ),
    "diginetica": (
        "v.csv", "sessionId;userId;itemId;timeframe;eventdate\n" + "".join(
            f"1;NA;5;{offset};{date}\n" for offset, date in (
                ("9", "2016-05-09"), ("NA", "2016-05-09"), ("9", ""), ("9" * 19, "2016-05-09"), ("-9", "2016-05-09"),
            )
        ), {"preset": "diginetica"},
        ["5", "5"], [(3, "time_unreadable"), (4, "time_unreadable"), (5, "time_unreadable")],
    ),
    "retailrocket": (
        "e.csv", "timestamp,visitorid,event,itemid,transactionid\n"
        f"{T}000,1,view,5,\n{T}000,1,addtocart,5,\n{T},1,view,6,\n",
        {"preset": "retailrocket"}, ["5"], [(4, "time_before_2000")],
    ),
    "rees46 cut off": ("o.csv", REES46_HEAD + "2019-10-01 02:5", {"preset": "rees46"}, ["1"], [(3, "missing_columns")]),
    "rees46 without session": (
        "o.csv", f"{REES46_HEAD}2019-10-01 00:00:00 UTC,view,1,\n2019-10-01 00:00:00 UTC,cart,2,\n",
        {"preset": "rees46"}, ["1"], [(3, "session_missing")],
    ),
    "online_retail cancelled": (
        "d.csv", f"{RETAIL}1,x,1,2011-01-04 10:00:00\nC2,y,-1,2011-01-04 10:00:00\n3,z,,2011-01-04 10:00:00\n",
        {"preset": "online_retail"}, ["x"], [],
    ),
    "online_retail of American dates": (
        "d.csv", f"{RETAIL}1,x,1,2011-01-04 10:00:00\n1,y,1,13/1/2010 8:26\n", {"preset": "online_retail"},
        ["x"], [(3, "time_unreadable")],
    ),
    "recbole": (
        "m.inter", "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t5\t3\t881250949\n1\t6\t3\t0\n",
        {"preset": "recbole"}, ["5"], [(3, "time_before_1995")],
    ),
    "otto": (
        "o.jsonl",
        OTTO + '{"session":2,"events":[]}\n{"session":3}\n{"session":4,"events":{"aid":1}}\n'
        '{"session":5,"events":null}\n' + OTTO.replace('"session":1', '"session":null')
        + OTTO.replace("]", "") + OTTO.replace('"session":1', '"session":[1]')
        + OTTO.replace(f"{T}000", '"x"') + OTTO.replace("clicks", "carts") + OTTO.replace("5", "6"),
        {"preset": "otto"}, ["5", "6"],
        [(2, "events_missing"), (3, "events_missing"), (4, "events_not_a_list"), (5, "events_missing"),
         (6, "session_missing"), (7, "broken_json"), (8, "session_not_text_or_number"), (9, "time_unreadable")],
    ),
    "otto with bad events among good ones": (
        "o.jsonl", json.dumps({"session": 1, "events": [
            {"aid": 5, "ts": T * 1000}, 7, None, {"aid": [5], "ts": T * 1000},
            {"aid": 6, "ts": T * 1000}, {"ts": T * 1000},
        ]}), {"preset": "otto", "keep": []},
        ["5", "6"],
        [(1, "event_not_an_object"), (1, "event_not_an_object"), (1, "item_not_text_or_number"), (1, "item_missing")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", READ)
def test_bad_input_is_read_in_part(feed: Feed, case: str) -> None:
    name, content, logs, items, reasons = READ[case]
    settings = feed(logs={"max_bad_share": 1, **logs})
    path = land(settings, content, name)
    read = ingest(settings, name)
    assert (read.items, read.reasons) == (items, reasons)
    assert all(b["text"] or b["session"] or b["item"] or b["time"] for b in read.bad)
    describe(path)


def test_bad_input_of_one_line_of_json_keeps_its_events_in_order(feed: Feed) -> None:
    """The line cannot tell events of the same moment apart, so they are numbered; quarantine names the line."""
    events = [{"aid": aid, "ts": f"{T}000" if aid != 3 else "x", "type": "clicks"} for aid in (9, 1, 3, 5)]
    line = json.dumps({"session": "s", "events": events})
    settings = feed(logs={"preset": "otto", "max_bad_share": 1})
    land(settings, f"{line}\n{line}\n", "o.jsonl")
    read = ingest(settings, "o.jsonl")
    assert [(e["line"], e["item"]) for e in read.events] == list(zip([1, 2, 4, 5, 6, 8], "915915", strict=True))
    assert read.reasons == [(1, "time_unreadable"), (2, "time_unreadable")]


# Rows: the bad one stands first, twice in a row in the middle, and last without a final newline.

ROWS: dict[str, tuple[str, str]] = {
    "no session": (f"\ta\t{T}", "session_missing"),
    "blank session": (f"  \ta\t{T}", "session_missing"),
    "no item": (f"1\t\t{T}", "item_missing"),
    "session of 257 bytes": (f"{'s' * 257}\ta\t{T}", "session_too_long"),
    "item of 258 bytes": (f"1\t{'é' * 129}\t{T}", "item_too_long"),
    "no time": ("1\ta\t", "time_unreadable"),
    "time in words": ("1\ta\tyesterday", "time_unreadable"),
    "NaN": ("1\ta\tnan", "time_unreadable"),
    "inf": ("1\ta\tinf", "time_unreadable"),
    "time beyond all numbers": ("1\ta\t99999999999999999999999999", "time_unreadable"),
    "1999": ("1\ta\t946684799", "time_before_2000"),
    "negative time": ("1\ta\t-1", "time_before_2000"),
    "1970": ("1\ta\t0", "time_before_2000"),
    "two days ahead": (f"1\ta\t{NOW + 86_401}", "time_in_the_future"),
    "2262": ("1\ta\t9223372036", "time_in_the_future"),
    "milliseconds": (f"1\ta\t{T}000", "time_in_the_future"),
    "short": ("1\ta", "missing_columns"),
    "rubbish": ("rubbish", "missing_columns"),
    "long": (f"1\ta\t{T}\textra", "too_many_columns"),
    "the header again": (HEADER.strip(), "time_unreadable"),
    "Latin-1": (LATIN, "invalid_encoding"),
    "3 MB": (f"1\t{'a' * 3_000_000}\t{T}", "line_size_over_maximum"),
}

JSON_ROWS: dict[str, tuple[str, str]] = {
    "broken": ('{"SessionId":1,', "broken_json"),
    "single quotes": ("{'SessionId':1}", "broken_json"),
    "two objects": ('{"SessionId":1}{"SessionId":2}', "broken_json"),
    "lone surrogate": ('{"SessionId":"\\ud800"}', "broken_json"),
    "control character": ('{"SessionId":"\x01"}', "broken_json"),
    "list": ("[1]", "not_an_object"),
    "number": ("7", "not_an_object"),
    "null": ("null", "not_an_object"),
    "empty object": ("{}", "session_missing"),
    "no session": (f'{{"ItemId":"a","Time":{T}}}', "session_missing"),
    "null item": (f'{{"SessionId":1,"ItemId":null,"Time":{T}}}', "item_missing"),
    "empty item": (f'{{"SessionId":1,"ItemId":"","Time":{T}}}', "item_missing"),
    "nested session": (f'{{"SessionId":{{"id":1}},"ItemId":"a","Time":{T}}}', "session_not_text_or_number"),
    "list of items": (f'{{"SessionId":1,"ItemId":["a"],"Time":{T}}}', "item_not_text_or_number"),
    "true for an item": (f'{{"SessionId":1,"ItemId":true,"Time":{T}}}', "item_not_text_or_number"),
    "NaN for an item": (f'{{"SessionId":1,"ItemId":NaN,"Time":{T}}}', "item_not_text_or_number"),
    "no time": ('{"SessionId":1,"ItemId":"a"}', "time_unreadable"),
    "null time": ('{"SessionId":1,"ItemId":"a","Time":null}', "time_unreadable"),
    "nested time": (f'{{"SessionId":1,"ItemId":"a","Time":{{"$date":{T}}}}}', "time_unreadable"),
    "true for a time": ('{"SessionId":1,"ItemId":"a","Time":true}', "time_unreadable"),
    "NaN for a time": ('{"SessionId":1,"ItemId":"a","Time":NaN}', "time_unreadable"),
    "milliseconds": (f'{{"SessionId":1,"ItemId":"a","Time":{T}000}}', "time_in_the_future"),
    "a key twice": (f'{{"SessionId":1,"ItemId":"a","ItemId":"b","Time":{T}}}', "key_stands_twice"),
    "Latin-1": ('{"SessionId":"\udce9"}', "invalid_encoding"),
}


@pytest.mark.parametrize("case", ROWS)
def test_bad_input_row_goes_to_quarantine(feed: Feed, case: str) -> None:
    row, reason = ROWS[case]
    good = f"1\tgood\t{T}"
    settings = feed(logs={"max_bad_share": 1})
    land(settings, "\n".join([HEADER.strip(), row, good, row, row, good, good, row]), "a.tsv")
    read = ingest(settings, "a.tsv")
    assert read.reasons == [(n, reason) for n in (2, 4, 5, 8)]
    assert [e["line"] for e in read.events] == [3, 6, 7]


@pytest.mark.parametrize("case", JSON_ROWS)
def test_bad_input_json_row_goes_to_quarantine(feed: Feed, case: str) -> None:
    row, reason = JSON_ROWS[case]
    good = f'{{"Time":"{T}","SessionId":1,"ItemId":"good","x":[]}}'
    settings = feed(logs={"format": "jsonl", "max_bad_share": 1})
    land(settings, "\n".join([row, good, row, row, good, good, row]), "a.jsonl")
    read = ingest(settings, "a.jsonl")
    assert read.reasons == [(n, reason) for n in (1, 3, 4, 7)]
    assert [e["line"] for e in read.events] == [2, 5, 6]
    unsplit = {"broken_json", "not_an_object"}
    assert all(b["text"] == row for b in read.bad if b["reason"] in unsplit)


# Ids that look like trouble and are kept as they stand.

IDS = [
    *("a b", "007", "7", "-7", "10000000000000000000", "9223372036854775808", "1.10", "NULL", "NA", "nan", "=1+1"),
    *("'; DROP TABLE raw; --", "<script>", "😀", "\u05e9\u05dc\u05d5\u05dd", "a\u202egpj.exe", "a*[b]?"),
    *("../../etc/passwd", "\\N"),
]  # fmt: skip


@pytest.mark.parametrize("item", IDS)
def test_bad_input_that_is_an_id_is_kept_as_text(feed: Feed, item: str) -> None:
    for name, logs, content in (
        ("a.tsv", {}, f"{HEADER}1\t{item}\t{T}\n"),
        ("a.csv", {"format": "csv"}, f'SessionId,ItemId,Time\n1,"{item}",{T}\n'),
        ("a.jsonl", {"format": "jsonl"}, json.dumps({"SessionId": 1, "ItemId": item, "Time": T})),
        ("a.parquet", {"format": "parquet"}, parquet(SessionId=["1"], ItemId=[item], Time=[T])),
    ):
        settings = feed(name, logs=logs)
        land(settings, content, name)
        assert ingest(settings, name).items == [item]


def test_bad_input_of_large_numbers_in_json_stays_exact(feed: Feed) -> None:
    settings = feed(logs={"format": "jsonl"})
    numbers = ["9007199254740993", "18446744073709551616", "-9223372036854775809", "123456789012345678901234567890"]
    land(settings, "".join(f'{{"SessionId":1,"ItemId":{n},"Time":{T}}}\n' for n in numbers), "a.jsonl")
    assert ingest(settings, "a.jsonl").items == numbers


def test_bad_input_of_two_spellings_is_one_id(feed: Feed) -> None:
    composed = "caf\u00e9"
    decomposed = unicodedata.normalize("NFD", composed)
    settings = feed()
    land(settings, HEADER + "".join(f"{s}\t{s}\t{T}\n" for s in (composed, decomposed, f"  {composed} ")), "a.tsv")
    assert ingest(settings, "a.tsv").items == [composed] * 3


# What lies in the landing folder and is no file, or has a name that means more than a name.


@pytest.mark.parametrize("kind", ["link", "link to nothing", "pipe"])
@pytest.mark.parametrize("format", ["tsv", "jsonl", "parquet"])
def test_bad_input_that_is_no_file_is_refused_unopened(tmp_path: Path, kind: str, format: str) -> None:  # noqa: A002
    path = tmp_path / "a.tsv"
    (tmp_path / "real.tsv").write_text(GOOD)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / ("real.tsv" if kind == "link" else "nowhere"))
    with pytest.raises(LogRefusedError, match="not a regular file"):
        admit(path, LogSettings.model_validate({"format": format}))
    with pytest.raises(LogRefusedError, match="not a regular file"):
        describe(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_bad_input_without_permission_is_refused(feed: Feed) -> None:
    settings = feed()
    path = land(settings, GOOD, "a.tsv")
    path.chmod(0)
    with pytest.raises(LogRefusedError, match="may not be read by this user"):
        ingest(settings, "a.tsv")
    with pytest.raises(LogRefusedError, match="cannot be opened"):
        describe(path)


@pytest.mark.parametrize("format", ["tsv", "parquet"])
def test_bad_input_that_the_system_does_not_open_is_refused(
    feed: Feed,
    monkeypatch: pytest.MonkeyPatch,
    format: str,  # noqa: A002
) -> None:
    """As without permission, which root cannot be denied."""
    settings = feed(logs={"format": format})
    path = land(settings, GOOD, "a.tsv")

    def denied(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", denied)
    monkeypatch.setattr(pq, "ParquetFile", denied)
    with pytest.raises(LogRefusedError, match=r"a\.tsv: may not be read by this user"):
        ingest(settings, "a.tsv")


HOSTILE = [
    *("a*.tsv", "[ab].tsv", "a?.tsv", "a{b}.tsv", "a'.tsv", 'a".tsv', "a;b.tsv", "-rf", "a\nb.tsv", "a.tsv\n"),
    *(
        "../a.tsv",
        "a/b.tsv",
        "a\\b.tsv",
        "%2f.tsv",
        "\u202etsv.a",
        "a\u200b.tsv",
        "a...b.tsv",
        "_a.tsv",
        "a" * 201,
        "a" * 240 + ".tsv",
        "",
        ".",
    ),
    *("'); DROP TABLE raw; --.tsv", "<img src=x>.tsv", "$(reboot).tsv", "..", "a\0.tsv"),
]


WRONG_KINDS: dict[str, tuple[dict[str, Any], bytes, str]] = {
    "jsonl in csv": ({"format": "csv"}, b'{"SessionId": "1", "ItemId": "a", "Time": 1}\n', "this looks like JSON"),
    "json array in csv": ({"format": "csv"}, b'[{"SessionId":"1","ItemId":"a","Time":1}]', "this looks like JSON"),
    "jsonl in tsv": (
        {"format": "tsv"},
        b'{"SessionId": 1, "ItemId": 2, "Time": 1}\n',
        'set \\[logs\\] format = "jsonl"',
    ),
    "csv in parquet": ({"format": "parquet"}, b"SessionId,ItemId,Time\n1,a,1\n", "this is no Parquet"),
    "UTF-16 with a mark": ({}, "SessionId\tItemId\tTime\n".encode("utf-16"), "UTF-16 is not read: convert"),
    "UTF-16 without one": ({}, "SessionId\tItemId\tTime\n".encode("utf-16-le"), "UTF-16 is not read: convert"),
    "hint for Excel": (
        {"format": "csv", "delimiter": ";"},
        b"sep=;\nSessionId;ItemId;Time\n1;a;1\n",
        "a hint for Excel",
    ),
    "comment": ({"format": "csv"}, b"# export\nSessionId,ItemId,Time\n1,a,1\n", "'# export', is a comment, not the"),
}
"""Settings, content, and what the sentence says."""


@pytest.mark.parametrize("kind", WRONG_KINDS)
def test_a_log_of_another_kind_is_named(feed: Feed, kind: str) -> None:
    logs, content, words = WRONG_KINDS[kind]
    settings = feed(logs=logs)
    (settings.landing / "a.log").write_bytes(content)
    with pytest.raises(LogRefusedError, match=words) as refused:
        ingest_landed(settings, "a.log", lambda _: None)
    assert "quotes" not in str(refused.value)


def test_a_header_that_begins_with_a_number_sign_is_one(feed: Feed) -> None:
    settings = feed(logs={"session": "#SessionId"})
    (settings.landing / "a.tsv").write_text(f"#SessionId\tItemId\tTime\n1\ta\t{T}\n")
    assert ingest(settings, "a.tsv").items == ["a"]


@pytest.mark.parametrize("name", HOSTILE)
def test_bad_input_name_is_refused(feed: Feed, name: str) -> None:
    with pytest.raises(LogRefusedError, match="a log's name may hold"):
        check_name(name)
    with pytest.raises(LogRefusedError, match="a log's name may hold"):
        ingest_landed(feed(), name, lambda _: None)
    [(_, refused)] = ingest_each(feed(), [name], lambda _: None, {})
    assert isinstance(refused, LogRefusedError) and "a log's name may hold" in str(refused)


@pytest.mark.parametrize(
    "name", [n for n in HOSTILE if n.strip(".") and "/" not in n and "\0" not in n and len(n) < 250]
)
def test_describe_reads_files_of_any_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(GOOD)
    lines, readable = describe(tmp_path / name)
    assert readable
    assert any("2 events in 2 sessions" in line for line in lines)
    assert any("a log's name may hold" in line for line in lines)


def test_bad_input_names_that_differ_in_capitals_are_two_logs(feed: Feed) -> None:
    settings = feed()
    for name, item in (("a.tsv", "x"), ("A.tsv", "y")):
        land(settings, f"{HEADER}1\t{item}\t{T}\n", name)
    assert [ingest(settings, name).items for name in ("a.tsv", "A.tsv")] == [["x"], ["y"]]


# Rows that only the sessions can judge.


@pytest.mark.parametrize(
    ("rows", "dropped", "left"),
    [
        ([("1", "a", 0), ("1", "b", 1)] * 2, {"dropped: duplicates": 2}, ["a", "b"]),
        ([("1", "a", 0), ("1", "a", 1)], {"dropped: duplicates": 0}, ["a", "a"]),
        ([("1", "a", 0), ("1", "b", 0), ("1", "a", 0)], {"dropped: duplicates": 1}, ["a", "b"]),
        ([("1", "c", 2), ("1", "a", 0), ("1", "b", 1)], {}, ["a", "b", "c"]),
        ([("1", str(n), n) for n in range(2_001)] + [("2", "a", 0), ("2", "b", 1)],
         {"dropped: sessions too long": 2_001}, ["a", "b"]),
        ([("1", "a", 0), ("2", "a", 0), ("2", "b", 5)], {"dropped: sessions too short": 1}, ["a", "b"]),
    ],
    ids=["every event twice", "same item later", "same time, other item", "out of order", "crawler", "single event"],
)  # fmt: skip
def test_bad_input_that_sessions_drop(
    feed: Feed, rows: list[tuple[str, str, int]], dropped: dict[str, int], left: list[str]
) -> None:
    settings = feed()
    land(settings, HEADER + "".join(f"{s}\t{i}\t{T + t}\n" for s, i, t in rows), "a.tsv")
    done = ingest_landed(settings, "a.tsv", lambda _: None, now=lambda: NOW)
    raw = settings.home / "raw.parquet"
    pq.write_table(done.events.arrow(), raw)
    with DuckDBEngine(settings) as engine:
        table = prepare_sessions(engine, settings, [raw], lambda _: None)
        items = table.arrow()["item"].to_pylist()
    assert items == left
    assert {key: table.stats[key] for key in dropped} == dropped
