import gzip
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sessrec_pipeline.logs import gate
from sessrec_pipeline.logs.gate import admit, check_name
from sessrec_pipeline.logs.parts import is_log_name, sha256_of
from sessrec_pipeline.settings import LogSettings

HEADER = b"SessionId\tItemId\tTime\n"
GOOD = HEADER + b"1\ta\t1700000000\n2\tb\t1700000001\n"
ZSTD = bytes(pa.compress(GOOD, codec="zstd", asbytes=True))
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


@pytest.mark.parametrize(
    ("name", "content", "settings", "records"),
    [
        ("a.tsv", GOOD, LogSettings(), 2),
        ("a.tsv", GOOD.rstrip(b"\n"), LogSettings(), 2),
        ("a.tsv", GOOD.replace(b"\n", b"\r\n"), LogSettings(), 2),
        ("a.tsv", b"\xef\xbb\xbf" + GOOD, LogSettings(), 2),
        ("a.tsv", GOOD.replace(b"\n2", b"\n\n2"), LogSettings(), 2),
        ("a.tsv", HEADER, LogSettings(), 0),
        ("a.tsv.gz", gzip.compress(GOOD, mtime=0), LogSettings(), 2),
        ("a.tsv.zst", ZSTD, LogSettings(), 2),
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
    assert log.compression == ("gzip" if name.endswith(".gz") else "zstd" if name.endswith(".zst") else "none")
    assert log.blank_lines == content.count(b"\n\n")
    assert log.sha256 == sha256_of(tmp_path / name)


@pytest.mark.parametrize(
    "name",
    [
        *("a.tsv", "2026-11-01.csv.gz", "Day 1_v2@shop+x=1.parquet", "a" * 200, "2010-12-14 (1).csv"),
        *("pedidos año.csv", "año.csv".replace("ñ", "n\u0303"), "журнал.tsv", "日志.csv", "लॉग.csv", "él.tsv"),
    ],
)
def test_plain_names_are_taken(name: str) -> None:
    check_name(name)
    assert is_log_name(name)


@pytest.mark.parametrize(
    "name", [".hidden.tsv", "a.tsv.part", "a.tsv.tmp", ".gitkeep", "_SUCCESS", "_metadata", ".a.parquet.crc", "a.crc"]
)
def test_hidden_files_and_files_under_way_are_left_alone(name: str) -> None:
    assert not is_log_name(name)


@given(st.lists(st.sampled_from([b"x", b"", b"\r", b"\n", b"\r\n", b"xy\n", b"\n\n"]), max_size=12), st.integers(1, 4))
@hypothesis_settings(max_examples=60, deadline=None)
def test_lines_are_counted_as_one_sees_them(pieces: list[bytes], size: int) -> None:
    """However the content falls into chunks."""
    content = b"".join(pieces)
    chunks = [content[i : i + size] for i in range(0, len(content), size)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sessrec_pipeline.logs.gate.unpacked", lambda *_: iter(chunks))
        _, lines, blank = gate._lines(Path("a"), "none")
    seen = content.split(b"\n")
    seen = seen if seen[-1].strip(b"\r") else seen[:-1]
    assert (lines, blank) == (sum(bool(x.strip(b"\r")) for x in seen), sum(not x.strip(b"\r") for x in seen))


def test_longest_line_that_is_taken(tmp_path: Path) -> None:
    """Counted across chunks, to the byte."""
    for extra in (0, 1):
        path = landed(tmp_path, GOOD + b"3\tc\t" + b"1" * (gate.MAX_LINE - 4 + extra) + b"\n" + b"4\td\t1\n")
        if extra:
            with pytest.raises(gate.LogRefusedError, match="line 4 is longer than 16 MiB"):
                admit(path, LogSettings())
        else:
            assert admit(path, LogSettings()).records == 4
