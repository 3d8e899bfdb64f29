"""Copies of landed logs, compressed, by the hash of what landed."""

import os
from pathlib import Path

import pytest

from sessrec_pipeline.logs.parts import parts_of, sha256_of
from sessrec_pipeline.storage.files import DamagedFileError
from sessrec_pipeline.storage.landed import LandedCopies, OtherBytesError, check

TEXT = b"SessionId\tItemId\tTime\n" + b"1\t2\t1700000000\n" * 5000


@pytest.fixture
def copies(tmp_path: Path) -> LandedCopies:
    return LandedCopies(tmp_path / "kept")


def kept(copies: LandedCopies, log: Path) -> str:
    sha256 = sha256_of(log)
    copies.keep(sha256, log, {part.name: part.path for part in parts_of(log)})
    return sha256


def folder_log(tmp_path: Path) -> Path:
    log = tmp_path / "day=1"
    for name, text in {"a=1/part\n0.parquet": b"one", "a=2/x.parquet": b"two", "y.parquet": b"one"}.items():
        (log / name).parent.mkdir(parents=True, exist_ok=True)
        (log / name).write_bytes(text)
    return log


def test_a_file_comes_back_with_its_time(copies: LandedCopies, tmp_path: Path) -> None:
    log = tmp_path / "x.tsv"
    log.write_bytes(TEXT)
    os.utime(log, ns=(5, 1_700_000_000_123_456_789))
    sha256 = kept(copies, log)
    assert copies.has(sha256) and not copies.has("0" * 64)
    assert sum(path.stat().st_size for path in copies.files()) < len(TEXT) / 10
    copies.lay_out(sha256, tmp_path / "back.tsv")
    back = tmp_path / "back.tsv"
    assert (back.read_bytes(), back.stat().st_mtime_ns) == (TEXT, 1_700_000_000_123_456_789)


def test_a_folder_comes_back_and_each_content_is_kept_once(copies: LandedCopies, tmp_path: Path) -> None:
    log = folder_log(tmp_path)
    sha256 = kept(copies, log)
    assert len(copies.files()) == 3, "two contents and a list"
    (tmp_path / "back").mkdir()
    copies.lay_out(sha256, tmp_path / "back" / "day=1")
    assert sha256_of(tmp_path / "back" / "day=1") == sha256
    assert {p.read_bytes() for p in (tmp_path / "back").rglob("*.parquet")} == {b"one", b"two"}


def test_what_is_not_needed_goes(copies: LandedCopies, tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_bytes(TEXT)
    (tmp_path / "y.tsv").write_bytes(b"one")  # which is also a part of the folder
    x, y, parts = kept(copies, tmp_path / "x.tsv"), kept(copies, tmp_path / "y.tsv"), kept(copies, folder_log(tmp_path))
    copies.forget([parts])
    assert (copies.has(x), copies.has(y), copies.has(parts)) == (False, True, True)
    copies.forget([])
    assert copies.files() == []


def test_other_bytes_are_not_kept(copies: LandedCopies, tmp_path: Path) -> None:
    (tmp_path / "x.tsv").write_bytes(TEXT)
    for log in (tmp_path / "x.tsv", folder_log(tmp_path)):
        with pytest.raises(OtherBytesError):
            copies.keep("0" * 64, log, {part.name: part.path for part in parts_of(log)})
        assert not copies.has("0" * 64)
    assert not list(copies.folder.glob(".tmp-*"))


@pytest.mark.parametrize("how", ["cut", "flipped", "empty", "other"])
def test_damage_is_one_sentence(copies: LandedCopies, tmp_path: Path, how: str) -> None:
    (tmp_path / "x.tsv").write_bytes(TEXT)
    file, folder = kept(copies, tmp_path / "x.tsv"), kept(copies, folder_log(tmp_path))
    for sha256, path in ((file, copies.folder / f"{file}.zst"), (folder, copies.folder / f"{folder}.parts")):
        check(path)
        text = path.read_bytes()
        other = (copies.folder / f"{sha256_of(tmp_path / 'day=1' / 'y.parquet')}.zst").read_bytes()
        path.write_bytes(
            {"cut": text[:-9], "flipped": text[:30] + bytes([text[30] ^ 4]) + text[31:], "empty": b"", "other": other}[
                how
            ]
        )
        for use in (lambda path=path: check(path), lambda sha256=sha256: copies.lay_out(sha256, tmp_path / "back")):
            with pytest.raises(DamagedFileError, match="bring the file back from a backup") as error:
                use()
            assert error.value.path == path
    assert not copies.has(folder)
    before = copies.files()
    with pytest.raises(DamagedFileError):
        copies.forget([folder])
    assert copies.files() == before
