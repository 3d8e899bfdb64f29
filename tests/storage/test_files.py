import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sessrec_pipeline.storage.files import (
    ABANDONED,
    MACHINE,
    TEMPORARY,
    file_name,
    replacing,
    sweep,
    temporary_prefix,
)

WRITER = """
import sys
from pathlib import Path
from sessrec_pipeline.storage.files import replacing

path, version = Path(sys.argv[1]), 0
while True:
    with replacing(path) as temporary, temporary.open("wb") as file:
        for _ in range(64):
            file.write(bytes([version % 256]) * 65536)
    version += 1
    print(version, flush=True)
"""


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_new_version_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "file.txt"
    for text in ("one", "two"):
        with replacing(path) as temporary:
            temporary.write_text(text)
            assert temporary.suffix == ".txt"
        assert path.read_text() == text
    assert names(path.parent) == ["file.txt"]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("error", [RuntimeError, OSError, KeyboardInterrupt])
def test_when_the_block_raises_the_old_version_stays(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(error), replacing(path) as temporary:
        temporary.write_text("half of the ne")
        raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("function", ["replace", "fsync"])
def test_when_the_disk_refuses_the_old_version_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system", str(tmp_path))

    path = tmp_path / "file"
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", refuse) if function == "fsync" else monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="Read-only"), replacing(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_writer_that_gave_its_file_away_hides_no_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="the true one"), replacing(tmp_path / "file") as temporary:
        temporary.unlink()
        raise RuntimeError("the true one")


def test_kill_9_leaves_the_old_version_or_the_new_one(tmp_path: Path) -> None:
    path, rng = tmp_path / "file", random.Random(7)
    for _ in range(8):
        child = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()  # the first version is there
        time.sleep(rng.uniform(0.0, 0.06))
        child.send_signal(signal.SIGKILL)
        child.communicate()
        content = path.read_bytes()
        assert len(content) == 64 * 65536
        assert len(set(content)) == 1, "a mixture of two versions"
    sweep(tmp_path)
    assert names(tmp_path) == ["file"]


def test_sweep_takes_what_the_dead_left_and_nothing_else(tmp_path: Path) -> None:
    dead = f"{TEMPORARY}{dead_pid()}-{MACHINE}"
    parents = f"{TEMPORARY}{os.getppid()}-{MACHINE}-folder"
    elsewhere = f"{TEMPORARY}{dead_pid()}-{'0' * 8}"
    kept = ["data.parquet", f"{temporary_prefix()}x", f"{TEMPORARY}notapid-{MACHINE}-x", f"{elsewhere}-new", dead[1:]]
    for name in [*kept, f"{dead}-file.parquet", f"deep/down/{dead}-y", f"{elsewhere}-old"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    long_ago = time.time() - ABANDONED - 1
    os.utime(tmp_path / f"{elsewhere}-old", (long_ago, long_ago))
    uploads = [f"{TEMPORARY}upload.tsv", f"{TEMPORARY}1-2.tsv"]
    for name in uploads:
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (long_ago, long_ago))
    (tmp_path / f"{dead}-folder" / "inside").mkdir(parents=True)
    (tmp_path / f"{dead}-folder" / f"{dead}-nested").touch()
    (tmp_path / parents).mkdir()

    sweep(tmp_path)

    assert names(tmp_path) == sorted([*kept, *uploads, "deep", parents])
    assert not list((tmp_path / "deep").rglob("*.*"))
    assert sweep(tmp_path) == 0


def test_sweep_of_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert sweep(tmp_path / "nothing") == 0


@given(st.text(max_size=40))
@example("")
@example(".")
@example("..")
@example("../x")
@example(".hidden")
@example("/etc")
@example("a*b[c]?")
@example("naïve-日本語\u202e.tsv")
@example("a\0b\nc")
@example("-rf")
def test_a_file_name_stays_in_its_folder(key: str) -> None:
    name = file_name(key)
    assert Path("/folder", name).parent == Path("/folder")
    assert Path("/folder", name).resolve() == Path("/folder", name)
    assert name
    assert not name.startswith(".")
    assert name.isascii()
    assert name.isprintable()
    assert not set(name) & set("/\\*?[]{}:'\"$`|;<>&")


@given(st.text(max_size=8), st.text(max_size=8))
@example(".a", "%2Ea")
@example("", "%")
@example("a/b", "a%2Fb")
def test_different_keys_have_different_file_names(one: str, other: str) -> None:
    assert (file_name(one) == file_name(other)) == (one == other)


def test_plain_keys_stay_readable() -> None:
    assert file_name("demo-2026-01-05.tsv") == "demo-2026-01-05.tsv"
    assert file_name("shop=nl @ 1+2.csv") == "shop=nl @ 1+2.csv"
