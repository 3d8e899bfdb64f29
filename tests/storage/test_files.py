import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sessrec_pipeline.storage.files import (
    ABANDONED,
    OWNER,
    TEMPORARY,
    file_name,
    replacing,
    sweep,
    temporary_folder,
    temporary_prefix,
    works_in,
    writing,
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


ROOT = Path(__file__).parents[2]


def needs(command: list[str]) -> None:
    """Skip the test where this user may not run a command in a namespace of its own."""
    if shutil.which(command[0]) is None or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip(f"{' '.join(command)} is not allowed here")


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
    (path.parent / "plain").touch()
    assert path.stat().st_mode == (path.parent / "plain").stat().st_mode


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


def left_by_the_dead(place: Path, *names: str) -> Path:
    """A folder under construction that nobody holds."""
    folder = place / f"{TEMPORARY}{uuid4().hex}"
    folder.mkdir(parents=True)
    for name in (OWNER, *names):
        (folder / name).touch()
    return folder


def test_sweep_takes_what_the_dead_left_and_nothing_else(tmp_path: Path) -> None:
    left_by_the_dead(tmp_path, "file.parquet")
    nested = left_by_the_dead(left_by_the_dead(tmp_path / "deep" / "down", "x"))
    (nested / "link").symlink_to(tmp_path / "data.parquet")
    (tmp_path / f"{TEMPORARY}{'0' * 32}").mkdir()  # its owner died before it was one
    uploads = [f"{TEMPORARY}upload.tsv", f"{TEMPORARY}1-2.tsv", "data.parquet", f"{TEMPORARY}{'0' * 31}g"]
    for name in uploads:
        (tmp_path / name).touch()
    batch, theirs = tmp_path / f"{TEMPORARY}batch", tmp_path / f"{TEMPORARY}{'1' * 32}"
    for folder in (batch, theirs):
        folder.mkdir()
        (folder / "log.tsv").touch()
    with temporary_folder(tmp_path) as living:
        assert sweep(tmp_path) == 2
        assert names(tmp_path) == sorted([*uploads, batch.name, theirs.name, living.name, "deep"])
    assert list((tmp_path / "deep" / "down").iterdir()) == []
    assert sweep(tmp_path) == 0


ENGINE = """
import sys, tempfile
from pathlib import Path
from sessrec_pipeline.storage.files import temporary_prefix, works_in
works_in(Path(sys.argv[1]))
print(tempfile.mkdtemp(dir=sys.argv[1], prefix=temporary_prefix()), flush=True)
sys.stdin.read()
"""


def test_folders_that_a_library_made_go_with_their_process(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ENGINE, str(tmp_path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    folder = Path(process.stdout.readline().rstrip())
    (folder / "spill").mkdir()
    assert sweep(tmp_path) == 0 and folder.is_dir()
    shutil.copytree(tmp_path, tmp_path / "copy")
    assert sweep(tmp_path) == 1 and folder.is_dir(), "in the copy it was nobody's"
    process.kill()
    process.communicate()
    assert sweep(tmp_path) == 1
    assert names(tmp_path) == ["copy"] and names(tmp_path / "copy") == []


def test_a_home_that_is_gone_is_not_made_again(tmp_path: Path) -> None:
    (tmp_path / "study" / "scratch").mkdir(parents=True)
    works_in(tmp_path / "study" / "scratch")
    temporary_prefix()
    assert [path.suffix for path in (tmp_path / "study" / "scratch").iterdir()] == [".lock"]
    shutil.rmtree(tmp_path / "study")
    temporary_prefix()
    assert names(tmp_path) == []


def test_folders_of_unknown_owners_stay_until_they_are_old(tmp_path: Path) -> None:
    for name in ("new", "old"):
        (tmp_path / f"{TEMPORARY}{'0' * 32}-{name}").mkdir()
    long_ago = time.time() - ABANDONED - 1
    os.utime(tmp_path / f"{TEMPORARY}{'0' * 32}-old", (long_ago, long_ago))
    assert sweep(tmp_path) == 1
    assert names(tmp_path) == [f"{TEMPORARY}{'0' * 32}-new"]


NAMESPACES = [["unshare", "--uts"], ["unshare", "--pid", "--fork", "--mount-proc"]]


@pytest.mark.parametrize("elsewhere", NAMESPACES, ids=["another name", "other process numbers"])
def test_a_living_process_in_another_namespace_keeps_its_file(tmp_path: Path, elsewhere: list[str]) -> None:
    """There the living are not to be seen, and under this process's number another program may run."""
    needs(elsewhere)
    swept = "import sys; from sessrec_pipeline.storage.files import Path, sweep; print(sweep(Path(sys.argv[1])))"
    command = [*elsewhere, sys.executable, "-c", swept, str(tmp_path)]
    with replacing(tmp_path / "mine") as temporary:
        temporary.write_text("half")
        assert subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout == "0\n"
    assert (tmp_path / "mine").read_text() == "half"


@pytest.mark.parametrize("elsewhere", NAMESPACES, ids=["another name", "other process numbers"])
def test_what_a_process_in_another_namespace_left_goes_at_once(tmp_path: Path, elsewhere: list[str]) -> None:
    needs(elsewhere)
    command = [*elsewhere, sys.executable, "-c", WRITER, str(tmp_path / "file")]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, start_new_session=True)
    assert writer.stdout is not None
    writer.stdout.readline()
    os.killpg(writer.pid, signal.SIGKILL)
    writer.communicate()
    sweep(tmp_path)
    assert names(tmp_path) == ["file"]


def test_a_copy_of_a_home_has_no_living_owners(tmp_path: Path) -> None:
    with writing(tmp_path / "home", ".txt") as temporary:
        temporary.write_text("half")
        shutil.copytree(tmp_path / "home", tmp_path / "copy")
        assert (sweep(tmp_path / "copy"), sweep(tmp_path / "home")) == (1, 0)


def test_files_have_the_rights_that_the_user_gives_to_new_files(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with replacing(tmp_path / "file") as temporary:
            temporary.chmod(0o400)  # as some libraries do
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


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
