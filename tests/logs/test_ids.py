"""One id is one text, whatever type, format or writer it came through, and whoever asks."""

import io
import json
import unicodedata
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sessrec_pipeline.api.frames import Columns, FrameError, read_frame
from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.logs.gate import LogRefusedError
from sessrec_pipeline.logs.ids import BLANK, has_control, id_text, is_spoilt, trimmed, whole
from sessrec_pipeline.logs.ingest import Ingested, ingest_landed

Feed = Callable[..., FeedSettings]

T = 1_700_000_000
HEADER = "SessionId\tItemId\tTime\n"


def ingested(settings: FeedSettings, content: str | bytes, name: str) -> Ingested:
    (settings.landing / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return ingest_landed(settings, name, lambda _: None)


def items(settings: FeedSettings, content: str | bytes, name: str) -> list[str]:
    found: list[str] = ingested(settings, content, name).events.arrow()["item"].to_pylist()
    return found


def reasons(settings: FeedSettings, content: str | bytes, name: str) -> list[tuple[int, str]]:
    bad = ingested(settings, content, name).quarantine.arrow()
    return list(zip(bad["line"].to_pylist(), bad["reason"].to_pylist(), strict=True))


def parquet(**columns: Any) -> bytes:
    buffer = io.BytesIO()
    rows = max(len(column) for column in columns.values())
    pq.write_table(pa.table({"SessionId": ["s"] * rows, "Time": [T] * rows, **columns}), buffer)
    return buffer.getvalue()


def tsv(*ids: str) -> str:
    return HEADER + "".join(f"s\t{text}\t{T}\n" for text in ids)


# --- the function and its SQL ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *(("7", "7"), ("7.0", "7"), ("7.00", "7"), ("-7.0", "-7"), ("0.0", "0"), ("-0.0", "0"), ("1.0E7", "10000000")),
        *(("4.4600001E7", "44600001"), ("9007199254740991.0", "9007199254740991")),
        # Text that is no whole number of a float column.
        *(("007", "007"), ("007.0", "007.0"), ("1.10", "1.10"), (".0", ".0"), ("1E5", "1E5")),
        *(("12E3", "12E3"), ("1.5E0", "1.5E0"), ("v1.0", "v1.0"), ("1.0.0", "1.0.0"), ("+7.0", "+7.0")),
        # Three digits after a point may be a thousand.
        *(("7.000", "7.000"), ("12.000", "12.000"), ("1234.000", "1234.000"), ("7.0000", "7"), ("2.345", "2.345")),
        *(("7,00", "7,00"), ("1,000", "1,000"), ("7,5", "7,5"), ("1.28E08", "1.28E08")),
        # Other writers of numbers, and spreadsheets and others that put quotes around ids.
        *(("7.", "7"), ("7,0", "7"), ('"7"', "7"), ('="7"', "7"), ("'7", "7"), ('"a b"', "a b"), ('"7.0"\u00a0', "7")),
        *(('"', '"'), ('""', '""'), ('" 7"', '" 7"'), ("'a", "'a"), ("'a'", "'a'"), ('"a" b', '"a" b'), ("=7", "=7")),
        # Numbers that nobody knows any more.
        *(("4.46E+07", "4.46E+07"), ("9007199254740993.0", "9007199254740993.0"), ("1e+16", "1e+16")),
        # What nobody sees at the ends.
        *(
            ("\u00a07\u200b", "7"),
            ("\ufeff7", "7"),
            ("\u202e7\u202c", "7"),
            ("7\u00ad\r\n", "7"),
            ("\u30007\u2003", "7"),
        ),
        *(("7.0\u00a0", "7"), ("\x00\x1f7\x7f\x85", "7"), ("\u2060\u200d", ""), (" \t", ""), ("", "")),
        *(("a\u200bb", "a\u200bb"), ("a  b", "a  b"), ("a\u0308 ", "\u00e4"), ("\u212b", "\u00c5")),
        *((7, "7"), (7.0, "7"), (np.int8(7), "7"), (np.float32(7), "7"), (-0.0, "0"), (2**70, str(2**70))),
        *((Decimal("7.00"), "7"), (Decimal("1E+3"), "1000"), (b"7.0 ", "7"), (np.str_("7 "), "7")),
        (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
    ],
)
def test_an_id_is_one_text(value: object, text: str) -> None:
    assert id_text(value) == text
    if isinstance(value, str):
        assert by_sql(value)[0] == text


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, np.True_, 7.5, float("nan"), float("inf"), 2.0**53, np.float32(2**24), np.float16(2**11)),
        *(Decimal("7.5"), Decimal("NaN"), b"\xff", [1], (1,), {"id": 1}, pd.Timestamp("2024-01-01"), pd.NaT),
    ],
)
def test_what_is_no_id_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match=r"^has "):
        id_text(value)


def by_sql(text: str) -> tuple[str, bool, bool]:
    with duckdb.connect() as connection:
        ((found, control, spoilt),) = connection.execute(
            f"SELECT {whole('id')}, control, {is_spoilt('id')} FROM "
            f"(SELECT {trimmed('raw')} AS id, {has_control('raw')} AS control FROM (SELECT $raw::VARCHAR AS raw))",
            {"raw": text},
        ).fetchall()
    return found, control, spoilt


# Letters that composition concerns, blanks, digits, and what makes numbers of them; no characters newer than the tables
# of either side.
PIECES = st.lists(
    st.sampled_from(
        [*BLANK, *"0179.,-+eE=\"'", "a", "\u0308", "\u00e9", "e\u0301", "\u05d0", "\U0001f600", "\ufe0f", "9" * 15]
    )
).map("".join)


@given(PIECES | st.floats(allow_nan=False).map(repr) | st.integers().map(lambda n: f"{n}.0"))
@hypothesis_settings(max_examples=300, deadline=None)
def test_python_and_sql_say_the_same(text: str) -> None:
    found, control, _ = by_sql(text)
    inside = text.strip(BLANK)
    assert control == any(unicodedata.category(character) == "Cc" for character in inside)
    if not control:  # which goes to quarantine
        assert found == id_text(text)
        assert id_text(found) == found


@pytest.mark.parametrize(
    "text", ["4.46E+07", "4,46E+07", "5e+05", "-1.2E+11", "1.8446744073709552E19", "1e+16", "12345678901234568.0"]
)
def test_lost_digits_are_seen(text: str) -> None:
    assert by_sql(text)[2]


@pytest.mark.parametrize("text", ["1E5", "15E2", "12E+3", "a+b", "4.4E+07x", "1.10", "123456789012345678", "+", "E+1"])
def test_codes_have_lost_nothing(text: str) -> None:
    assert not by_sql(text)[2]


# --- types and writers -----------------------------------------------------------------------------------------------

SEVEN: dict[str, list[Any] | pa.Array] = {
    "int64": [7],
    "uint8": pa.array([7], pa.uint8()),
    "double": [7.0],
    "float": pa.array([7.0], pa.float32()),
    "half": pa.array([7.0], pa.float16()),
    "decimal": pa.array([Decimal("7.00")], pa.decimal128(20, 2)),
    "text": ["7"],
    "text of a float": ["7.0"],
    "large text": pa.array(["7"], pa.large_string()),
    "binary": [b"7"],
    "dictionary of text": pa.array(["7"]).dictionary_encode(),
    "dictionary of floats": pa.array([7.0]).dictionary_encode(),
}


@pytest.mark.parametrize("kind", SEVEN)
def test_seven_is_seven_in_parquet_and_in_frames(feed: Feed, kind: str) -> None:
    content = parquet(ItemId=SEVEN[kind])
    assert items(feed(logs={"format": "parquet"}), content, "a.parquet") == ["7"]
    table = pq.read_table(io.BytesIO(content))
    for frame in (table, table.to_pandas()):
        assert read_frame(frame, Columns("SessionId", "ItemId", "Time", "s"))["item"].to_pylist() == ["7"]


@pytest.mark.parametrize("text", ["7", "7.0", "7.00", '"7"', '"7.0"', "7e0", '"\\u00a07"'])
def test_seven_is_seven_in_json(feed: Feed, text: str) -> None:
    settings = feed(logs={"format": "jsonl"})
    assert items(settings, f'{{"SessionId": 1, "ItemId": {text}, "Time": {T}}}\n', "a.jsonl") == ["7"]


def test_a_number_of_json_has_no_thousands(feed: Feed) -> None:
    settings = feed(logs={"format": "jsonl"})
    assert items(settings, f'{{"SessionId": 1, "ItemId": 7.000, "Time": {T}}}\n', "a.jsonl") == ["7"]


def test_thousands_stay_apart_from_small_numbers_everywhere(feed: Feed) -> None:
    texts = ["12.000", "12", "2.345", "1.000", "1", "7.0", "7"]
    kept = ["12.000", "12", "2.345", "1.000", "1", "7", "7"]
    assert items(feed(), tsv(*texts), "a.tsv") == kept
    frame = pd.DataFrame({"session": 1, "item": texts, "time": range(len(texts))})
    assert read_frame(frame, Columns(time_unit="s"))["item"].to_pylist() == kept
    assert [id_text(text) for text in texts] == kept


def test_long_numbers_that_a_spreadsheet_rounded_are_refused(feed: Feed) -> None:
    rounded = [f"{8_672_365_521_191_82 + n % 9}0000" for n in range(30)]
    exact = [str(8_672_365_521_191_823_456 + n * 31) for n in range(30)]
    with pytest.raises(
        LogRefusedError, match=r"column 'ItemId' holds ids of more than 15 digits that are zeros from the "
    ):
        ingested(feed("rounded"), tsv(*rounded), "a.tsv")
    with pytest.raises(LogRefusedError, match=r"column 'ItemId' .* 1 of 1 \(8672365521191820000\)"):
        ingested(feed("one"), tsv("8672365521191820000"), "a.tsv")
    assert items(feed("exact"), tsv(*exact), "a.tsv") == exact
    for kind in (str, "int64"):
        frame = pd.DataFrame({"session": 1, "item": pd.Series(rounded).astype(kind), "time": range(30)})
        with pytest.raises(FrameError, match=r"'item' holds ids that have lost digits, 30 of 30.*8672365521191820000"):
            read_frame(frame, Columns(time_unit="s"))


def test_a_column_that_once_had_a_gap_is_the_same_in_every_file(feed: Feed) -> None:
    frame = pd.DataFrame({"SessionId": "s", "ItemId": [7, None, 30], "Time": T})
    assert items(feed("csv", logs={"format": "csv"}), frame.to_csv(index=False), "a.csv") == ["7", "30"]
    lines = frame.to_json(orient="records", lines=True)
    assert items(feed("jsonl", logs={"format": "jsonl"}), lines, "a.jsonl") == ["7", "30"]
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    assert items(feed("parquet", logs={"format": "parquet"}), buffer.getvalue(), "a.parquet") == ["7", "30"]
    columns = Columns("SessionId", "ItemId", "Time", "s")
    for kind in ("float", "Int64", "object", "category"):
        taken = read_frame(frame.dropna().assign(ItemId=lambda f, kind=kind: f["ItemId"].astype(kind)), columns)
        assert taken["item"].to_pylist() == ["7", "30"]


def test_frames_with_ids_of_several_kinds(feed: Feed) -> None:
    """As pandas reads a sheet, and as the same sheet is in a log."""
    mixed: list[Any] = [85048, "79323P", 22.0, " 85048\u00a0", np.int32(22), Decimal("22.0"), b"79323P"]
    frame = pd.DataFrame({"session": 1, "item": pd.Series(mixed, dtype=object), "time": range(len(mixed))})
    taken = read_frame(frame, Columns(time_unit="s"))["item"].to_pylist()
    assert taken == ["85048", "79323P", "22", "85048", "22", "22", "79323P"]
    texts = [value.decode() if isinstance(value, bytes) else str(value) for value in mixed]
    assert items(feed(), tsv(*texts), "a.tsv") == taken


def test_uuids_are_their_text(feed: Feed) -> None:
    uuid = UUID("12345678-1234-5678-1234-567812345678")
    content = parquet(ItemId=pa.array([uuid.bytes], pa.uuid()))
    assert items(feed(logs={"format": "parquet"}), content, "a.parquet") == [str(uuid)]
    frame = pq.read_table(io.BytesIO(content))
    assert read_frame(frame, Columns("SessionId", "ItemId", "Time", "s"))["item"].to_pylist() == [str(uuid)]


NO_IDS: dict[str, list[Any] | pa.Array] = {
    "BOOLEAN": [True],
    "DATE": pa.array([0], pa.date32()),
    "TIMESTAMP": pa.array([0], pa.timestamp("us")),
    "TIMESTAMP WITH TIME ZONE": pa.array([0], pa.timestamp("us", "UTC")),
    "TIME": pa.array([0], pa.time64("us")),
    "BIGINT[]": [[7]],
    "STRUCT": [{"id": 7}],
    "MAP": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
}


@pytest.mark.parametrize("kind", NO_IDS)
@pytest.mark.parametrize("column", ["SessionId", "ItemId"])
def test_columns_that_hold_no_ids_are_refused_by_name(feed: Feed, kind: str, column: str) -> None:
    content = parquet(**{"ItemId": ["a"], column: NO_IDS[kind]})
    with pytest.raises(
        LogRefusedError, match=rf"column '{column}' holds {kind.replace('[', '.')[:8]}.*an id is text or"
    ):
        ingested(feed(logs={"format": "parquet"}), content, "a.parquet")
    with pytest.raises(FrameError, match=f"column '{column}' holds "):
        read_frame(pq.read_table(io.BytesIO(content)), Columns("SessionId", "ItemId", "Time", "s"))


def test_only_columns_that_are_asked_for_are_judged(feed: Feed) -> None:
    content = parquet(ItemId=["a"], tags=[["x", "y"]])
    assert items(feed(logs={"format": "parquet"}), content, "a.parquet") == ["a"]
    with pytest.raises(LogRefusedError, match=r"column 'tags' holds VARCHAR\[\]; only text"):
        ingested(feed("home2", logs={"format": "parquet", "extra_columns": ["tags"]}), content, "a.parquet")


def test_lists_in_json_and_in_text_are_refused_by_name(feed: Feed) -> None:
    line = json.dumps({"SessionId": 1, "ItemId": [1, 2], "Time": T}) + "\n"
    with pytest.raises(LogRefusedError, match=r"item_not_text_or_number: 3\).*in column 'ItemId'"):
        ingested(feed("jsonl", logs={"format": "jsonl"}), line * 3, "a.jsonl")
    with pytest.raises(LogRefusedError, match=r"column 'ItemId' holds ids that are lists or structures, 2 of 2"):
        ingested(feed("tsv"), tsv("[1, 2]", "[3]"), "a.tsv")
    assert items(feed("few"), tsv("[new]", "a", "{b}"), "a.tsv") == ["[new]", "a", "{b}"]


def test_nan_of_a_file_with_statistics_is_no_id(feed: Feed) -> None:
    content = parquet(ItemId=[7.0, float("nan"), 8.0])
    assert reasons(feed(logs={"format": "parquet"}), content, "a.parquet") == [(2, "item_missing")]


def test_numbers_that_are_not_whole_are_no_ids(feed: Feed) -> None:
    settings = feed(logs={"format": "parquet", "max_bad_share": 1})
    content = parquet(ItemId=[7.0, 7.5, None, float("nan"), float("inf")])
    assert reasons(settings, content, "a.parquet") == [
        *((2, "item_not_whole"), (3, "item_missing"), (4, "item_missing"), (5, "item_not_whole"))
    ]
    decimals = pa.array([Decimal("7.00"), Decimal("7.50")], pa.decimal128(20, 2))
    assert reasons(settings, parquet(ItemId=decimals), "b.parquet") == [(2, "item_not_whole")]
    lines = "".join(f'{{"SessionId": 1, "ItemId": {n}, "Time": {T}}}\n' for n in ("7.5", "7.0", "1e-7"))
    other = feed("jsonl", logs={"format": "jsonl", "max_bad_share": 1})
    assert reasons(other, lines, "a.jsonl") == [(1, "item_not_whole"), (3, "item_not_whole")]


def test_numbers_that_a_float_cannot_hold_are_refused(feed: Feed) -> None:
    settings = feed(logs={"format": "parquet"})
    exact = [2**53 - 1, 2**53 + 1, 2**63 - 1]
    assert items(settings, parquet(ItemId=exact), "int.parquet") == list(map(str, exact))
    with pytest.raises(LogRefusedError, match=r"column 'ItemId' holds ids that have lost digits, 2 of 3 \(9"):
        ingested(settings, parquet(ItemId=[float(n) for n in exact]), "double.parquet")
    with pytest.raises(LogRefusedError, match=r"column 'SessionId' holds ids that have lost digits, 1 of 1"):
        content = parquet(SessionId=pa.array(np.array([123_456_789], np.float32)), ItemId=["a"])
        ingested(settings, content, "float.parquet")
    line = f'{{"SessionId": 1, "ItemId": 9007199254740993.0, "Time": {T}}}\n'
    with pytest.raises(LogRefusedError, match=r"column 'ItemId' holds ids that have lost digits, 1 of 1"):
        ingested(feed("jsonl", logs={"format": "jsonl"}), line, "a.jsonl")


def test_text_that_is_not_utf8_in_a_binary_column_is_quarantined(feed: Feed) -> None:
    settings = feed(logs={"format": "parquet"})
    content = parquet(ItemId=[b"caf\xc3\xa9", b"\xff", b"b"])
    assert reasons(settings, content, "a.parquet") == [(2, "item_not_text")]
    assert items(settings, content, "a.parquet") == ["caf\u00e9", "b"]


# --- text ------------------------------------------------------------------------------------------------------------


def test_ids_of_a_spreadsheet_are_refused_and_rare_ones_pass(feed: Feed) -> None:
    rounded = ["4.46E+07", "4.47E+07"]
    with pytest.raises(
        LogRefusedError, match=r"'ItemId' holds ids that have lost digits, 4 of 6 \(4\.46E\+07, 4\.47E\+07\).*as text"
    ):
        ingested(feed(), tsv(*rounded, *rounded, "a", "b"), "a.tsv")
    rare = ["4.46E+07", *(f"p{n}" for n in range(19))]
    assert items(feed("rare"), tsv(*rare), "a.tsv") == rare
    codes = ["1E5", "15E2", "12E3"]
    assert items(feed("codes"), tsv(*codes), "a.tsv") == codes


def test_ids_without_anything_to_see_are_missing(feed: Feed) -> None:
    settings = feed(logs={"max_bad_share": 1})
    assert reasons(settings, tsv("\u200b", "a", "\u00a0 \ufeff"), "a.tsv") == [(2, "item_missing"), (4, "item_missing")]


def test_control_characters_inside_go_to_quarantine(feed: Feed) -> None:
    settings = feed(logs={"format": "jsonl", "max_bad_share": 1})
    ids = ["a\x00b", "a\nb", "\ta\x7f", "a\u0085b", "e\u0301\x00f"]
    lines = "".join(json.dumps({"SessionId": 1, "ItemId": text, "Time": T}) + "\n" for text in ids)
    assert reasons(settings, lines, "a.jsonl") == [(n, "item_with_control_character") for n in (1, 2, 4, 5)]
    assert items(settings, lines, "a.jsonl") == ["a"]


def test_the_feed_and_the_api_have_the_same_ids(feed: Feed, tmp_path: Path) -> None:
    ids = ["7", "7.0", "\u00a07", "1.10", "a\u0308", "\u00e4", "1.0E3", "\U0001f600", "x y"]
    content = parquet(SessionId=ids, ItemId=ids)
    (tmp_path / "a.parquet").write_bytes(content)
    events = ingested(feed(logs={"format": "parquet"}), content, "a.parquet").events.arrow()
    taken = read_frame(tmp_path / "a.parquet", Columns("SessionId", "ItemId", "Time", "s"))
    for column in ("session", "item"):
        assert taken[column].to_pylist() == events[column].to_pylist() == [id_text(text) for text in ids]
