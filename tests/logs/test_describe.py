import gzip
import io
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sessrec_pipeline.cli import main
from sessrec_pipeline.logs import describe as module
from sessrec_pipeline.logs.describe import describe, toml
from sessrec_pipeline.logs.gate import LogRefusedError
from sessrec_pipeline.logs.propose import propose, time_unit
from sessrec_pipeline.logs.sniff import look_at
from sessrec_pipeline.settings import LogSettings, log_presets

T = 1_700_000_000

OF_PRESETS = {
    "study": f"SessionId\tItemId\tTime\n1\ta\t{T}\n1\tb\t{T}.5\n",
    "yoochoose": "1,2014-04-07T10:51:09.277Z,214536502,0\n1,2014-04-07T10:54:09.868Z,214536500,0\n",
    "diginetica": "sessionId;userId;itemId;timeframe;eventdate\n1;NA;8;5;2016-05-09\n1;NA;9;1;2016-05-09\n",
    "retailrocket": f"timestamp,visitorid,event,itemid,transactionid\n{T}000,1,view,5,\n{T}001,1,view,6,\n",
    "rees46": "event_time,event_type,product_id,user_id,user_session\n"
    "2019-10-01 00:00:00 UTC,view,1,7,s\n2019-10-01 00:00:01 UTC,view,2,7,s\n",
    "otto": json.dumps({"session": 1, "events": [{"aid": a, "ts": T * 1000, "type": "clicks"} for a in (1, 2)]}),
    "online_retail": "InvoiceNo,StockCode,Quantity,InvoiceDate\n1,x,1,2011-01-04 10:00:00\n1,y,1,2011-01-04 10:00:00\n",
    "recbole": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t5\t3\t881250949\n1\t6\t3\t881250950\n",
}


def written(folder: Path, content: str | bytes, name: str = "a.log") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def proposal(lines: list[str]) -> dict[str, Any]:
    """The ``[logs]`` of a description, as a person would paste it."""
    start = lines.index("[logs]")
    logs: dict[str, Any] = tomllib.loads("\n".join(lines[start : lines.index("", start)]))["logs"]
    LogSettings.model_validate(logs)
    return logs


def parquet(**columns: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def test_every_preset_has_an_example() -> None:
    assert set(OF_PRESETS) == set(log_presets())


@pytest.mark.parametrize("preset", OF_PRESETS)
def test_preset_is_known_by_its_files(tmp_path: Path, preset: str) -> None:
    lines, readable = describe(written(tmp_path, OF_PRESETS[preset]))
    assert readable
    assert proposal(lines) == {"preset": preset}
    assert any(log_presets()[preset]["source"] in line for line in lines)
    assert any("  2 events in 1 session on 2 items, " in line for line in lines)
    assert not any(line.startswith("note:") for line in lines)


@pytest.mark.parametrize(
    ("content", "logs"),
    [
        (
            f"user\tsku\tts\n1\ta\t{T}000\n1\tb\t{T}001\n",
            {"session": "user", "item": "sku", "time": "ts", "time_unit": "ms"},
        ),
        (
            f"when|Session_ID|Product\n{T}000000|1|a\n",
            {
                **{"format": "csv", "delimiter": "|", "time_unit": "us"},
                **{"session": "Session_ID", "item": "Product", "time": "when"},
            },
        ),
        (
            f"s1,{T},a\ns1,{T},b\ns2,{T},a\ns2,{T},c\n",
            {
                **{"format": "csv", "columns": ["column1", "column2", "column3"]},
                **{"session": "column1", "item": "column3", "time": "column2"},
            },
        ),
        (
            f'{{"session": "x", "item": 1, "time": {T}}}\n' * 2,
            {"format": "jsonl", "session": "session", "item": "item", "time": "time"},
        ),
        (
            '{"visitor": 1, "hits": [{"sku": "a", "ts": "2023-11-14T22:13:20Z"}]}\n',
            {
                **{"format": "jsonl", "time_unit": "iso8601", "events": "hits"},
                **{"session": "visitor", "item": "sku", "time": "ts"},
            },
        ),
        (
            "user_id,item_id,timestamp\n1,5,881250949\n",
            {"format": "csv", "session": "user_id", "item": "item_id", "time": "timestamp", "earliest_year": 1990},
        ),
        (
            "session_id;item_id;timeframe;eventdate\n1;5;9;2016-05-09\n",
            {"preset": "diginetica", "session": "session_id", "item": "item_id"},
        ),
        (
            parquet(session=["1", "1"], item=["a", "b"], time=pa.array([T, T], pa.timestamp("s"))),
            {"format": "parquet", "time_unit": "iso8601", "session": "session", "item": "item", "time": "time"},
        ),
    ],
)  # fmt: skip
def test_proposals_read_what_they_were_made_from(tmp_path: Path, content: str | bytes, logs: dict[str, Any]) -> None:
    lines, readable = describe(written(tmp_path, content))
    assert proposal(lines) == logs
    assert readable
    assert lines[-1] == "  0 rows quarantined"


@pytest.mark.parametrize(
    ("times", "found"),
    [
        (["12/1/2010 8:26", "12/13/2010 9:26"], {"time_format": "%m/%d/%Y %H:%M"}),
        (["1/12/2010 8:26", "13/12/2010 9:26"], {"time_format": "%d/%m/%Y %H:%M"}),
        (["01.03.2024 12:03:15", "31.03.2024 12:03:15.5"], {"time_format": "%d.%m.%Y %H:%M:%S"}),
        (["1/13/24 1:05 PM", "1/14/24 12:05 am"], {"time_format": "%m/%d/%y %I:%M %p"}),
        (["01/Mar/2024:12:03:15 -0700", "02/Mar/2024:12:03:15 -0700"], {"time_format": "%d/%b/%Y:%H:%M:%S %z"}),
        (["Mar 1, 2024 12:03", "Apr 1, 2024 12:03"], {"time_format": "%b %d, %Y %H:%M"}),
        (["1 March 2024", "2 April 2024"], {"time_format": "%d %B %Y"}),
        (["Fri Mar 01 12:03:15 UTC 2024", "Sat Mar 02 12:03:15 UTC 2024"], {"time_format": "%a %b %d %H:%M:%S UTC %Y"}),
        (["20240301120315", "20240331120315"], {"time_format": "%Y%m%d%H%M%S"}),
        (["20240301", "20240331"], {"time_format": "%Y%m%d"}),
        (["2024-03-01 01:03 PM", "2024-03-01 02:03 PM"], {"time_format": "%Y-%m-%d %I:%M %p"}),
        (["2024/03/01 12:03:15", "2024/03/01 12:03:16"], {"time_unit": "iso8601"}),
        (["2024-03-01 12:03:15,250", "2024-03-01 12:03:16,250"], {"time_unit": "iso8601"}),
        (["1704068861000000000", "1704068945000000000"], {"time_unit": "ns"}),
        (["1704068861,5", "1704068945,25"], {}),
    ],
)
def test_unit_and_format_are_found_in_the_data(tmp_path: Path, times: list[str], found: dict[str, str]) -> None:
    for header, named in (
        ("session\titem\ttime\n", {"session": "session", "item": "item", "time": "time"}),
        ("", None),
    ):
        rows = "".join(f"s{n // 2}\ti{n}\t{time}\n" for n, time in enumerate(times * 2))
        lines, readable = describe(written(tmp_path, header + rows))
        assert readable
        logs = proposal(lines)
        assert {key: logs[key] for key in logs if key.startswith("time_")} == found
        assert "  0 rows quarantined" in lines
        if named is None:
            assert logs["columns"] == ["column1", "column2", "column3"]
        else:
            assert named.items() <= logs.items()


def test_of_two_formats_the_likelier_is_proposed_and_the_other_named(tmp_path: Path) -> None:
    content = "session,item,time\n1,a,03/01/2010 08:26\n1,b,04/01/2010 09:26\n1,c,05/01/2010 09:26\n"
    lines, _ = describe(written(tmp_path, content))
    assert proposal(lines)["time_format"] == "%d/%m/%Y %H:%M"
    assert any(
        "nothing decides which: %d/%m/%Y %H:%M is proposed, %m/%d/%Y %H:%M would fit as well" in s for s in lines
    )


@pytest.mark.parametrize(
    "first",
    [
        "session,item,time",
        "Session ID,Product,When",
        ",session,item,time",  # the index of pandas
        "session,item,2024",  # a column that is named by a number
        "user,sku,when",
    ],
)
def test_a_plain_header_is_one(tmp_path: Path, first: str) -> None:
    row = ["s1", "a", "5 Mar 2024"] if first.count(",") == 2 else ["0", "s1", "a", "5 Mar 2024"]
    assert look_at(written(tmp_path, f"{first}\n{','.join(row)}\n{','.join(row)}\n")).header


@pytest.mark.parametrize("first", ["s1,a,5 Mar 2024", "s1,,1700000000", "s1,a,01/03/2024"])
def test_rows_alone_have_no_header(tmp_path: Path, first: str) -> None:
    assert not look_at(written(tmp_path, f"{first}\n{first}\n")).header


def test_header_above_nothing_but_text(tmp_path: Path) -> None:
    look = look_at(written(tmp_path, "session,item,time\ns1,a,yesterday\ns1,b,today\n"))
    assert (look.header, look.columns) == (True, ["session", "item", "time"])


@pytest.mark.parametrize(
    ("columns", "logs"),
    [
        ({"Invoice": "489434", "Price": 2.5}, {"session": "Invoice", "format": "parquet"}),
        ({"InvoiceNo": "489434", "UnitPrice": 2.5}, {"format": "parquet"}),
    ],
)
def test_public_log_is_known_in_another_edition(tmp_path: Path, columns: dict[str, Any], logs: dict[str, Any]) -> None:
    order = next(iter(columns))
    frame: dict[str, list[Any]] = {key: [value] * 3 for key, value in columns.items()}
    frame |= {order: ["489434", "C489435", "489436"], "StockCode": ["a", "b", "c"], "Quantity": [1, -1, -2]}
    frame |= {"InvoiceDate": ["2009-12-01 07:45:00"] * 3}
    lines, readable = describe(written(tmp_path, parquet(**frame)))
    found = proposal(lines)
    keep = found.pop("keep", None)
    assert readable
    assert found == {"preset": "online_retail", **logs}
    renamed = [{"column": "Invoice", "not_prefix": "C"}, {"column": "Quantity", "minimum": 1}]
    assert keep == (renamed if order == "Invoice" else None)
    assert "  2 rows left out by rule" in lines


def test_cancelled_orders_and_returns_are_asked_about(tmp_path: Path) -> None:
    rows = f"1,a,2,{T}\n2,b,-1,{T}\nC3,c,1,{T}\n4,d,1,{T}\n"
    lines, _ = describe(written(tmp_path, f"order_id,product_id,qty,time\n{rows}"))
    assert proposal(lines)["keep"] == [{"column": "order_id", "not_prefix": "C"}, {"column": "qty", "minimum": 1}]
    assert "note: 1 row has a qty below zero: `keep` takes them for returns." in lines
    assert any("1 row has a order_id such as C3" in line for line in lines)
    none, _ = describe(written(tmp_path, f"order_id,product_id,qty,time\n1,a,2,{T}\n"))
    assert "keep" not in proposal(none)


def test_weights_below_one_and_orders_with_another_letter_are_kept(tmp_path: Path) -> None:
    rows = f"1,a,0.35,{T}\n2,b,-0.5,{T}\nW3,c,1,{T}\n4,d,1,{T}\n"
    lines, _ = describe(written(tmp_path, f"order_id,product_id,qty,time\n{rows}"))
    assert proposal(lines)["keep"] == [{"column": "qty", "minimum": 0}]
    assert any("1 row has a order_id such as W3: if they are no sales" in line for line in lines)


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ((f"{T}", f"{T}123", f"{T}456"), f"not in the unit of others ({T} would be in s, {T}123 would be in ms)"),
        (("45292.25", "45292.5", "45293.75"), "days since 1900, as spreadsheets do"),
        (("1", "2", "1", "2", "1", "2"), "no running number through the whole log"),
        (("10:00:00", "10:01:00"), "has no date: write date and time into one column"),
    ],
)
def test_times_that_no_setting_reads_are_said_and_not_proposed(
    tmp_path: Path, times: tuple[str, ...], words: str
) -> None:
    rows = "".join(f"s,i{n},{time}\n" for n, time in enumerate(times))
    lines, readable = describe(written(tmp_path, f"session,item,time\n{rows}"))
    assert not readable
    assert lines[-1] == "There is nothing to propose."
    assert any(words in line for line in lines), lines


def test_a_year_of_two_digits_may_stand_first(tmp_path: Path) -> None:
    rows = "".join(f"s,i{day},24-01-{day:02}\n" for day in range(1, 13))
    lines, _ = describe(written(tmp_path, f"session,item,time\n{rows}"))
    assert proposal(lines)["time_format"] == "%y-%m-%d"
    assert any("%d-%m-%y" in line and "would fit as well" in line for line in lines)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("[01/Jan/2024:10:00:00 +0000]", "[%d/%b/%Y:%H:%M:%S %z]"),
        ("Mon, 01 Jan 2024 10:00:00 GMT", "%a, %d %b %Y %H:%M:%S GMT"),
        ("20240101T100000Z", "%Y%m%dT%H%M%SZ"),
        ("20240101T1000+0000", "%Y%m%dT%H%M%z"),
    ],
)
def test_formats_of_programs_are_proposed(tmp_path: Path, text: str, form: str) -> None:
    lines, readable = describe(written(tmp_path, f"session^item^time\ns^i^{text}\n"))
    found = proposal(lines)
    assert readable
    assert (found["time_format"], found["delimiter"]) == (form, "^")
    assert "    session s, item i, 2024-01-01 10:00:00" in lines


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"PK\x03\x04", "a zip archive or an Excel workbook"),
        (b"BZh91", "bzip2"),
        (b"\xfd7zXZ\0", "xz data"),
        ("a".encode("utf-32"), "UTF-32"),
    ],
)
def test_files_that_are_no_text_are_called_by_their_name(tmp_path: Path, start: bytes, words: str) -> None:
    path = written(tmp_path, start + bytes(99))
    lines, readable = describe(path)
    assert not readable
    assert any(words in line and "UTF-8 text" in line for line in lines), lines


def test_line_ends_in_quotes_are_no_mixture(tmp_path: Path) -> None:
    content = f'session,item,time,note\r\n1,a,{T},"two\nlines"\r\n1,b,{T},x\r\n'
    lines, readable = describe(written(tmp_path, content))
    assert readable
    assert not any(line.startswith("note: ") for line in lines), lines


def test_what_cannot_work_is_not_proposed(tmp_path: Path) -> None:
    spoilt = "SessionId\tItemId\tTime\n" + f"s\t4.46E+07\t{T}\n" * 3
    for content, words in (
        (spoilt, "column 'ItemId' holds ids that have lost digits, 3 of 3"),
        ("SessionId\tItemId\tTime\n1\ta\t17000000000000000000\n", "time_unreadable"),
        (
            "event_time,event_type,product_id,user_session\n2019-10-01 00:00:00 UTC,cart,1,s\n",
            "and nothing would be left",
        ),
    ):
        lines, readable = describe(written(tmp_path, content))
        assert not readable
        assert "[logs]" not in lines
        assert any(line.startswith("No settings are proposed, for the likeliest (") for line in lines)
        assert any(words in line for line in lines), lines


def test_description_says_what_becomes_of_the_rows(tmp_path: Path) -> None:
    rows = "2019-10-01 00:00:00 UTC,cart,1,7,s\n\n2019-10-01 00:00:00 UTC,view,1,7,\n2019-10-01 00:0"
    lines, readable = describe(written(tmp_path, OF_PRESETS["rees46"] + rows, "o.csv"))
    assert readable
    end = lines.index("read so, 'o.csv' would give:")
    assert lines[end + 1 :] == [
        "  2 events in 1 session on 2 items, 2019-10-01 00:00:00 to 2019-10-01 00:00:01 UTC",
        "    session s, item 1, 2019-10-01 00:00:00",
        "    session s, item 2, 2019-10-01 00:00:01",
        "  1 row left out by rule",
        "    1 event_type_not_in_list; the first on line 4: 2019-10-01 00:00:00 UTC,cart,1,7,s",
        "  2 rows quarantined",
        "    1 missing_columns; the first on line 7: 2019-10-01 00:0",
        "    1 session_missing; the first on line 6: 1 | 2019-10-01 00:00:00 UTC",
        "warning: 2 of 4 rows (50.0 %) would be lost, for they cannot be read",
    ]


def test_event_types_without_a_rule_are_pointed_out(tmp_path: Path) -> None:
    content = f"session,item,time,action\n1,a,{T},view\n1,b,{T},buy\n1,c,{T},view\n"
    lines, _ = describe(written(tmp_path, content))
    assert "note: action holds view (2), buy (1): say with `keep` which of them are events." in lines


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "The file is empty."),
        ("\n\n", "blank lines"),
        ("just some words\n", "No delimiter"),
        ("SessionId\tItemId\tTime\n1\ta\t1\n".encode("utf-16"), "iconv -f UTF-16 -t UTF-8"),
        (b"\x7fELF\0\0\0\0" * 99, "NUL bytes"),
        ("session,item,time\r1,a,1700000000\r", "Line ends are CR"),
        ("name,colour,size\nx,y,z\n", "No column looks like the time"),
        (f"session,item,time\n1,caf\u00e9,{T}\n".encode("latin-1"), "not UTF-8 (Latin-1?)"),
        (f"session,session,item,time\n1,1,a,{T}\n", "Column 'session' stands twice"),
        ("session,item,time\n1,a,12/1/2010 8:26\n", "can be read in several ways, and nothing decides which"),
        ("session,item,time\n1,a,1/2\n", "The time '1/2' is written in no way that is known"),
        (
            f"session,item,time\n1,a,2024-01-01 10:00 IST\n1,b,{T}\n",
            "are written in 2 ways, 1 as '2024-01-01 10:00 IST', 1",
        ),
        ("session,item,time\n1,a,2024-01-01 10:00:00 IST\n", "set [logs] time_zone to the place"),
        (
            "session,item,time\n1,a,7\n1,b,8\n",
            'running number that says what came first in the whole log (time_unit = "order")',
        ),
        ('[{"a": 1}]', "jq -c"),
        ("x" * 2_000_000, "one line without end"),
        (b"PAR1 and nothing more", "damaged or cut off"),
        (b"\x1f\x8b and nothing more", "damaged or cut off"),
        (b"\x28\xb5\x2f\xfd and nothing more", "damaged or cut off"),
        (f"session,item,time\n1,a,{T}\n1,b,{T}000\n", "is not in the unit of others"),
    ],
)
def test_bad_input_is_described_in_words(tmp_path: Path, content: str | bytes, words: str) -> None:
    lines, _ = describe(written(tmp_path, content))
    assert any(words in line for line in lines), lines


@given(st.binary(max_size=80) | st.text(alphabet='a1,;"{}[]:\n\r\t\0é ', max_size=80).map(str.encode))
@hypothesis_settings(max_examples=60, deadline=None)
def test_bad_input_of_any_bytes_is_described(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    lines, _ = describe(written(tmp_path_factory.mktemp("any"), content))
    assert lines


def test_terminal_sees_no_control_characters(tmp_path: Path) -> None:
    for header in ("SessionId\tItemId\tTime", "Session\u202e\tItem\x1b\tTime"):
        content = f"{header}\n" + f"1\t\x1b[2J\u202e\t{T}\n" * 9 + "bad\x07\n"
        lines, readable = describe(written(tmp_path, content, "a\x1b.tsv"))
        assert readable
        assert all(line.isprintable() for line in lines)
        proposal(lines)


def test_mostly_bad_file_is_told_row_by_row_before_it_is_refused(tmp_path: Path) -> None:
    lines, readable = describe(written(tmp_path, f"SessionId\tItemId\tTime\n1\ta\t{T}\n\tb\t{T}\n\tc\t{T}\n"))
    assert not readable
    assert "    2 session_missing; the first on line 3: b | 1700000000" in lines
    assert lines[-1] == "and would be refused: more than max_bad_share = 0.5 of the rows cannot be read"


@pytest.mark.parametrize(
    ("values", "unit"),
    [
        (["1700000000", "1700000000.5"], "s"),
        (["1700000000123"], "ms"),
        (["1700000000123456"], "us"),
        (["1700000000123456789"], "ns"),
        (["1700000000,5", "1700000000"], "s"),
        (["2014-04-07", "2014-04-07T10:51:09.277Z", "2019-10-01 00:00:00 UTC"], "iso8601"),
        (["1700000000"] * 9 + ["x"], "s"),
        (["1700000000", "1700000000123"], None),  # never guessed row by row
        (["1", "2"], None),
        (["nan", "inf"], None),
        (["07.04.2014"], None),
        ([], None),
    ],
)
def test_time_unit_is_the_whole_columns(values: list[str], unit: str | None) -> None:
    assert time_unit(values) == unit


@pytest.mark.parametrize(
    "value", ["a", 'quo"te', "back\\slash", "new\nline", "tab\t", "é😀", "\x7f\x01", 7, ["a", 'b"']]
)
def test_toml_can_be_read_again(value: Any) -> None:
    assert tomllib.loads(f"x = {toml(value)}")["x"] == value
    rules = [{"column": value, "one_of": ["x"]}] if isinstance(value, str) else [{"minimum": 1.0}]
    assert tomllib.loads(f"x = {toml(rules)}")["x"] == rules


def test_long_file_is_read_in_part_and_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "SessionId\tItemId\tTime\n" + f"1\ta\t{T}\n" * 300_000, "a.tsv")
    monkeypatch.setattr(module, "MOST_BYTES", 2 << 20)
    lines, readable = describe(path)
    assert readable
    assert "read so, the first 2 MiB (unpacked) of 'a.tsv' would give:" in lines
    assert "  0 rows quarantined" in lines  # the part ends with a whole line


def test_long_parquet_is_read_in_part_and_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = parquet(SessionId=["1"] * 1_000, ItemId=["a"] * 1_000, Time=[T] * 1_000)
    monkeypatch.setattr(module, "MOST_ROWS", 100)
    lines, _ = describe(written(tmp_path, content, "a.parquet"))
    assert "read so, the first 100 rows of 'a.parquet' would give:" in lines
    assert any(line.startswith("  100 events") for line in lines)


def test_describing_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    folder = tmp_path / "logs"
    folder.mkdir()
    describe(written(folder, OF_PRESETS["study"]))
    assert [path for path in scratch.rglob("*") if path.parent != scratch] == [], "the user's folder for it is empty"
    assert [path.name for path in folder.iterdir()] == ["a.log"]


def test_command(tmp_path: Path) -> None:
    def sessrec(path: Path) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["describe", str(path)])
        return result.exit_code, result.output

    code, output = sessrec(written(tmp_path, OF_PRESETS["otto"], "o.jsonl"))
    assert code == 0
    assert 'preset = "otto"' in output
    assert sessrec(written(tmp_path, "rubbish"))[0] == 1
    code, output = sessrec(tmp_path / "nowhere.tsv")
    assert code == 2
    assert output.count("nowhere.tsv") == 1
    assert "cannot be opened (No such file or directory)" in output
    assert sessrec(tmp_path)[0] == 2
    with pytest.raises(LogRefusedError):
        look_at(Path("a\0b"))


@pytest.mark.parametrize(
    ("name", "logs"),
    [
        ("raw_formats/yoochoose_sample.dat", {"preset": "yoochoose"}),
        (
            "raw_formats/diginetica_sample_train-item-views.csv",
            {"preset": "diginetica", "session": "session_id", "item": "item_id"},
        ),
        ("raw_formats/diginetica_train-purchases.csv", {"preset": "diginetica"}),
        ("raw_formats/diginetica_product-categories.csv", None),
        (
            "online_retail_2009/online_retail.parquet",
            {
                **{"preset": "online_retail", "format": "parquet", "session": "Invoice"},
                "keep": [{"column": "Invoice", "not_prefix": "C"}, {"column": "Quantity", "minimum": 1}],
            },
        ),
        ("raw_formats/retailrocket_sample.csv", {"session": "session_id", "item": "item_id", "time": "timestamp"}),
        ("rees46_head/2019-Oct.csv", {"preset": "rees46"}),
        ("online_retail/by-day/2010-12-01.csv", {"preset": "online_retail"}),
        ("ml100k/ml-100k.inter", {"preset": "recbole"}),
        ("seed_demo/synth_sessions.tsv", {"preset": "study"}),
        ("rsc15_100k/yoochoose-clicks-100k_test.txt", {"preset": "study"}),
        ("serenade_toy/test.txt", {"preset": "study"}),
    ],
)
def test_real_logs(dataset: Callable[[str], Path], name: str, logs: dict[str, Any] | None) -> None:
    folder, _, file = name.partition("/")
    look = look_at(dataset(folder) / file)
    assert (propose(look) if look.columns else None) == logs


@pytest.mark.parametrize(("rows", "text"), [(5_000_000, "x"), (1_200_000, "x" * 300)], ids=["footer", "texts"])
def test_a_bomb_is_refused_before_its_rows_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int, text: str
) -> None:
    codes = pa.array(np.zeros(rows, np.int8))
    texts = pa.DictionaryArray.from_arrays(codes, [text])
    times = pa.DictionaryArray.from_arrays(codes, pa.array([1_700_000_000], pa.int64()))
    bomb = tmp_path / "bomb.parquet"
    pq.write_table(pa.table({"SessionId": texts, "ItemId": texts, "Time": times}), bomb, compression="zstd")
    monkeypatch.setattr(module, "_rows_of_parquet", lambda *_: pytest.fail("its rows were made"))
    lines, readable = describe(bomb)
    assert not readable and "the rows are more than 200 times as large as the file" in lines[-1]


# --- what a stranger tried -------------------------------------------------------------------------------------------


def rows_of(times: list[str], header: str = "session_id,item_id,ts\n") -> str:
    return header + "".join(
        f"{1000000000000 + n // 3 * 7919},{10000000000000 + n % 7},{t}\n" for n, t in enumerate(times)
    )


@pytest.mark.parametrize(
    ("first", "other"),
    [
        ("2024-03-20 08:{:02}:25", "20/03/2024 08:{:02}"),
        ("20/03/2024 08:{:02}:25", "03/26/2024 05:{:02}:47"),
        ("20.03.2024 08:{:02}:25", "1710921{:02}5"),
        ("20/03/2024 08:{:02}:25", "20/03/2024 08:{:02}"),
    ],
)
def test_two_ways_to_write_a_time_are_both_named(tmp_path: Path, first: str, other: str) -> None:
    times = [first.format(n) if n % 2 == 0 else other.format(n) for n in range(41)]
    lines, readable = describe(written(tmp_path, rows_of(times)))
    (note,) = [line for line in lines if line.startswith("note: The times")]
    assert f"21 as {times[0]!r}, 20 as {times[1]!r}" in note and "20 rows at least would be lost" in note
    assert not readable and "There is nothing to propose." in lines
    assert not any("1990" in line or "no way that is known" in line for line in lines)


def test_a_few_times_written_otherwise_leave_the_proposal(tmp_path: Path) -> None:
    times = [f"2024-03-20 08:{n:02}:25" if n % 10 else f"20/03/2024 08:{n:02}" for n in range(40)]
    lines, readable = describe(written(tmp_path, rows_of(times)))
    assert readable and proposal(lines)["time_unit"] == "iso8601"
    assert any("36 as '2024-03-20 08:01:25', 4 as '20/03/2024 08:00'" in line for line in lines)
    assert lines[-1] == "warning: 4 of 40 rows (10.0 %) would be lost, for they cannot be read"


def test_a_few_times_in_another_unit_are_named(tmp_path: Path) -> None:
    lines, readable = describe(written(tmp_path, rows_of([f"{T + n}{'' if n % 10 else '000'}" for n in range(40)])))
    assert readable
    assert any(f"are written in 2 ways, 36 as '{T + 1}', 4 as '{T}000'" in line for line in lines)


@pytest.mark.parametrize(("old", "proposed"), [(1, False), (20, True)])
def test_one_time_of_1995_does_not_move_the_earliest_year(tmp_path: Path, old: int, proposed: bool) -> None:
    times = [f"{1995 if n < old else 2024}-03-20 08:{n % 60:02}:25" for n in range(200)]
    lines, _ = describe(written(tmp_path, rows_of(times)))
    assert ("earliest_year" in proposal(lines)) is proposed


@pytest.mark.parametrize("header", ["", "sep=,\nsession_id,item_id,ts\n", "# shop\n#2024\nsession_id,item_id,ts\n"])
def test_text_is_the_time_and_not_a_number_of_the_same_file(tmp_path: Path, header: str) -> None:
    times = [f"2024-03-20 08:{n:02}:25" for n in range(40)]
    lines, readable = describe(written(tmp_path, rows_of(times, header)))
    assert readable is not bool(header)
    roles = {line.split()[1]: line.split()[0] for line in lines if line.startswith(("column1", "column2", "column3"))}
    if not header:
        assert roles == {"session": "column1", "item": "column2", "time": "column3"}
        assert any("40 events in 14 sessions on 7 items, 2024-03-20 08:00:25" in line for line in lines)
    else:
        first = header.partition("\n")[0]
        assert any(line.startswith(f"note: The first line, {first!r}, is a ") for line in lines)
        assert any("would be refused: the first line" in line and "delete the lines" in line for line in lines)


def test_the_day_before_the_month_is_read_where_nothing_else_fits(tmp_path: Path) -> None:
    lines, readable = describe(written(tmp_path, rows_of([f"2024-{n % 28 + 1}-03 08:00:00" for n in range(40)])))
    assert readable and proposal(lines)["time_format"] == "%Y-%d-%m %H:%M:%S"


def test_lists_in_parquet_are_named(tmp_path: Path) -> None:
    content = parquet(session_id=["1"], items=[["a", "b"]], times=[[T, T]])
    lines, readable = describe(written(tmp_path, content))
    assert not readable
    (note,) = [line for line in lines if "Columns of lists" in line]
    assert "'items' (list<" in note and "'times' (list<" in note and "one row for each event" in note


@pytest.mark.parametrize("column", ["behavior_type", "what"])
def test_kinds_of_events_are_seen_by_name_or_by_value(tmp_path: Path, column: str) -> None:
    kinds = ("pv", "pv", "cart", "buy")
    rows = "".join(f"{n // 3},{n % 7},{kinds[n % 4]},{T + n}\n" for n in range(40))
    lines, _ = describe(written(tmp_path, f"user_id,item_id,{column},timestamp\n{rows}"))
    assert f"note: {column} holds pv (20), cart (10), buy (10): say with `keep` which of them are events." in lines


def test_a_json_array_and_a_cut_archive_are_not_called_blank(tmp_path: Path) -> None:
    array = json.dumps([{"session": 1, "item": "x" * 20, "time": T}] * 2_000)
    cut = gzip.compress(rows_of(["2024-03-20 08:00:25"] * 900).encode())[:-20]
    for name, content, words in (("a.json", array, "A JSON array is not read"), ("a.csv.gz", cut, "cut off")):
        lines, readable = describe(written(tmp_path, content, name))
        assert not readable and any(words in line for line in lines)
        assert not any("blank lines" in line for line in lines)
