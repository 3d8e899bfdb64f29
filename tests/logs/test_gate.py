import gzip
import io
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sessrec_pipeline.logs.gate import LogRefusedError, admit, check_name, is_log_name, sha256_of
from sessrec_pipeline.settings import LogSettings, RowRule

HEADER = b"SessionId\tItemId\tTime\n"
GOOD = HEADER + b"1\ta\t1700000000\n2\tb\t1700000001\n"
CSV = LogSettings(format="csv")
PARQUET = LogSettings(format="parquet")


def landed(folder: Path, content: bytes, name: str = "a.tsv") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def parquet(*columns: str) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table([pa.array(["1", "2"])] * len(columns), names=list(columns)), buffer)
    return buffer.getvalue()


def refusal(path: Path, settings: LogSettings | None = None) -> str:
    with pytest.raises(LogRefusedError) as caught:
        admit(path, settings or LogSettings())
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "settings", "records"),
    [
        ("a.tsv", GOOD, LogSettings(), 2),
        ("a.tsv", GOOD.rstrip(b"\n"), LogSettings(), 2),
        ("a.tsv", GOOD.replace(b"\n", b"\r\n"), LogSettings(), 2),
        ("a.tsv", b"\xef\xbb\xbf" + GOOD, LogSettings(), 2),
        ("a.tsv", GOOD + b"\n\n", LogSettings(), 2),
        ("a.tsv", HEADER, LogSettings(), 0),
        ("a.tsv.gz", gzip.compress(GOOD, mtime=0), LogSettings(), 2),
        ("a.csv", GOOD.replace(b"\t", b","), CSV, 2),
        ("a.csv", b'"SessionId","ItemId","Time"\n1,a,2\n', CSV, 1),
        ("a.csv", GOOD.replace(b"\t", b";"), LogSettings(format="csv", delimiter=";"), 2),
        ("a.dat", GOOD[len(HEADER) :], LogSettings(columns=["SessionId", "ItemId", "Time"]), 2),
        ("a.parquet", parquet("SessionId", "ItemId", "Time"), PARQUET, 2),
    ],
)
def test_good_log_is_admitted(tmp_path: Path, name: str, content: bytes, settings: LogSettings, records: int) -> None:
    log = admit(landed(tmp_path, content, name), settings)
    assert (log.name, log.records, log.bytes) == (name, records, len(content))
    assert log.columns == ("SessionId", "ItemId", "Time")
    assert log.compressed == name.endswith(".gz")
    assert log.sha256 == sha256_of(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (HEADER.replace(b"ItemId", b"Item"), "column 'ItemId' is missing"),
        (GOOD[len(HEADER) :], "column 'SessionId' is missing"),
        (GOOD.replace(b"\t", b","), "column 'SessionId' is missing"),
        (b"\n" + GOOD, "column 'SessionId' is missing"),
        (b"SessionId\tItemId\tItemId\tTime\n", "column 'ItemId' stands twice"),
        (gzip.compress(GOOD, mtime=0), "gzip data without .gz"),
        (parquet("SessionId", "ItemId", "Time"), "this is Parquet"),
        (GOOD + b"3\tc\0\t1700000000\n", "line 4 holds NUL bytes"),
        (GOOD + b"\0" * 512, "line 4 holds NUL bytes"),
        (GOOD.decode().encode("utf-16"), "holds NUL bytes"),
        (GOOD.replace(b"\n", b"\r"), "bare CR"),
        (b"Ses\xedon\tItemId\tTime\n", "the header is not UTF-8"),
    ],
)
def test_text_that_is_no_log_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    text = refusal(landed(tmp_path, content))
    assert text.startswith("a.tsv: ")
    assert words in text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (GOOD, "named .gz but is not gzip"),
        (b"", "the file is empty"),
        (gzip.compress(GOOD, mtime=0)[:-12], "damaged or cut off"),
        (gzip.compress(GOOD, mtime=0) + b"rubbish", "damaged or cut off"),
        (gzip.compress(GOOD, mtime=0)[:-8] + b"\1" * 8, "damaged or cut off"),
        (gzip.compress(GOOD + b"\0", mtime=0), "holds NUL bytes"),
    ],
)
def test_bad_gzip_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    assert words in refusal(landed(tmp_path, content, "a.tsv.gz"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (parquet("SessionId", "ItemId", "Time")[:-20], "not a readable Parquet file"),
        (GOOD, "not a readable Parquet file"),
        (parquet("SessionId", "Item", "Time"), "column 'ItemId' is missing"),
        (parquet("SessionId", "ItemId", "ItemId", "Time"), "column 'ItemId' stands twice"),
        (parquet("SessionId", "ItemId", "itemid", "Time"), "stands twice"),
    ],
)
def test_bad_parquet_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    assert words in refusal(landed(tmp_path, content, "a.parquet"), PARQUET)


def test_columns_that_extras_and_rules_need_must_be_there(tmp_path: Path) -> None:
    path = landed(tmp_path, GOOD)
    assert "column 'Price' is missing" in refusal(path, LogSettings(extra_columns=["Price"]))
    assert "column 'Kind' is missing" in refusal(path, LogSettings(keep=[RowRule(column="Kind", one_of=["view"])]))


def test_header_with_an_open_quote_is_refused(tmp_path: Path) -> None:
    path = landed(tmp_path, b'SessionId,ItemId,Time,"No\nte"\n1,a,1700000000,x\n', "a.csv")
    assert "the header cannot be split" in refusal(path, CSV)


def test_symlink_directory_and_pipe_are_refused_unopened(tmp_path: Path) -> None:
    landed(tmp_path, GOOD, "real.tsv")
    (tmp_path / "link.tsv").symlink_to(tmp_path / "real.tsv")
    (tmp_path / "folder.tsv").mkdir()
    os.mkfifo(tmp_path / "pipe.tsv")
    for name in ("link.tsv", "folder.tsv", "pipe.tsv"):
        assert "not a regular file" in refusal(tmp_path / name)


@pytest.mark.parametrize(
    "name",
    [
        *("a*.tsv", "[ab].tsv", "a?.tsv", "a{b}.tsv", "a'.tsv", 'a".tsv', "a;b.tsv", "-rf", "a\nb.tsv", "a.tsv\n"),
        *("../a.tsv", "a/b.tsv", "a\\b.tsv", "%2f.tsv", "\u202etsv.a", "é.tsv", "a" * 201, "", "."),
    ],
)
def test_names_that_mean_more_than_a_name_are_refused(name: str) -> None:
    with pytest.raises(LogRefusedError, match="a log's name may hold"):
        check_name(name)


@pytest.mark.parametrize("name", ["a.tsv", "2026-11-01.csv.gz", "Day 1_v2@shop+x=1.parquet", "a" * 200])
def test_plain_names_are_taken(name: str) -> None:
    check_name(name)
    assert is_log_name(name)


@pytest.mark.parametrize("name", [".hidden.tsv", "a.tsv.part", "a.tsv.tmp", ".gitkeep"])
def test_hidden_files_and_files_under_way_are_left_alone(name: str) -> None:
    assert not is_log_name(name)
