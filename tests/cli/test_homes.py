"""Which home a command takes, what it says of one that it cannot take, and that it leaves nothing where it fails."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from terminal import sessrec

from sessrec_pipeline.cli import main

ROOT = Path(__file__).parents[2]
LOG = "SessionId\tItemId\tTime\n" + "".join(f"{i // 4}\t{i % 7}\t{1_700_000_000 + i * 600}\n" for i in range(400))
COMMANDS = [
    ["materialize"],
    ["dev"],
    ["check"],
    ["recommend", "--items", "1"],
    ["lineage", "metrics"],
    ["versions"],
    ["restore", "metrics", "1"],
    ["studies"],
    ["search"],
    ["prune"],
    ["rebuild-catalog"],
    ["migrate"],
    ["backup", "bk"],
]


def home_in(folder: Path, toml: bytes = b'models = ["markov"]\n') -> Path:
    (folder / "landing").mkdir(parents=True)
    (folder / "landing" / "log.tsv").write_text(LOG)
    (folder / "sessrec.toml").write_bytes(toml)
    return folder


def unnamed(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def sentence(result: Result) -> str:
    """What a command that could not begin says: one line, and code 2."""
    assert result.exit_code == 2 and len(result.output.splitlines()) == 1, result.output
    return result.output


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_home_that_is_none_is_told_and_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("shop", "thesis"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    assert f"{tmp_path / 'shpo'}: there is no such folder (did you mean {tmp_path / 'shop'}?)" in sentence(
        sessrec(tmp_path / "shpo", *command)
    )
    assert f"{tmp_path / 'file'}: it is a file" in sentence(sessrec(tmp_path / "file", *command))
    assert "thesis" in sentence(sessrec(tmp_path / "thesis", *command)), "a folder of other things becomes no home"
    monkeypatch.delenv("SESSREC_HOME", raising=False)  # in which the commands above named theirs
    here = sentence(unnamed(*command))
    assert f"begin a feed with `sessrec init LOG`, or put logs into {tmp_path / 'data' / 'landing'}; run" in here
    assert "demo/landing" not in here
    assert sorted(tmp_path.rglob("*")) == before


def test_demo_says_where_it_can_make_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for home in (tmp_path / "file", tmp_path / "file" / "home"):
        assert f"{tmp_path / 'file'}" in sentence(sessrec(home, "demo"))


@pytest.mark.parametrize(
    ("option", "variable"), [("shop/", None), (None, "shop"), (None, "~/shop"), ("~/shop", None), ("link", None)]
)
def test_a_home_may_be_named_in_any_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str | None, variable: str | None
) -> None:
    home_in(tmp_path / "shop")
    (tmp_path / "link").symlink_to("shop")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    if variable is not None:
        monkeypatch.setenv("SESSREC_HOME", variable)
    result = unnamed(*(["--home", option] if option else []), "materialize", "sessions")
    assert result.exit_code == 0 and (tmp_path / "shop" / "lake" / "sessions").is_dir(), result.output
    assert {path.name for path in tmp_path.glob("[!.]*")} == {"link", "shop"}


def test_a_home_that_cannot_be_found_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    assert "the home ~nobody-of-this-name/x cannot be found" in sentence(
        sessrec(Path("~nobody-of-this-name/x"), "demo")
    )
    assert "loop cannot be found" in sentence(sessrec(tmp_path / "loop", "materialize"))


@pytest.mark.parametrize(
    "name", ["50% off", "a%zz", 'it\'s; "x"', "{a} $b #c & d", "日本", "new\nline", "hive=1", "-v"]
)
def test_names_that_work(tmp_path: Path, name: str) -> None:
    result = sessrec(home_in(tmp_path / name), "materialize", "sessions")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("name", ["a%2Fb", "back\\slash", "a*b", "what?", "a[b]", os.fsdecode(b"\xff")])
def test_names_that_are_refused_before_anything_is_made(tmp_path: Path, name: str) -> None:
    home = home_in(tmp_path / name)
    before = sorted(home.rglob("*"))
    assert "rename the folder" in sentence(sessrec(home, "materialize", "sessions"))
    assert sorted(home.rglob("*")) == before


def test_settings_saved_with_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    home = home_in(tmp_path / "shop", b'\xef\xbb\xbfmodels = ["sr"]\r\n[split]\r\nratio = 0.5\r\n')
    result = sessrec(home, "materialize", "sr")
    assert result.exit_code == 0 and "made sr" in result.output, result.output


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1"])
def test_settings_in_other_encodings_are_one_sentence(tmp_path: Path, encoding: str) -> None:
    home = home_in(tmp_path / "shop", '# Müller\nmodels = ["sr"]\n'.encode(encoding))
    text = sentence(sessrec(home, "materialize"))
    assert f"{home / 'sessrec.toml'} is not valid TOML" in text and "UTF-8" in text


def test_settings_that_are_no_file_are_not_passed_over(tmp_path: Path) -> None:
    home = home_in(tmp_path / "shop")
    (home / "sessrec.toml").unlink()
    (home / "sessrec.toml").symlink_to("/not/mounted/sessrec.toml")
    assert f"{home / 'sessrec.toml'} is no file, or leads to none" in sentence(sessrec(home, "materialize"))


def test_init_takes_the_tilde_of_the_variable_for_what_it_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "log.tsv").write_text(LOG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("SESSREC_HOME", "~/shop")
    assert unnamed("init", "log.tsv").exit_code == 0
    assert (tmp_path / "user" / "shop" / "sessrec.toml").is_file() and not (tmp_path / "~").exists()


class OtherUser:
    """Runs the program as a user without a folder, who may read everything and write what is his."""

    NUMBER = 12345
    RIGHTS = "-all,+dac_read_search"  # else he could not read what lies in root's folder, such as this Python

    def __init__(self, temporary: Path) -> None:
        self.temporary = temporary

    def __call__(self, *arguments: str, cwd: Path, rights: str = RIGHTS) -> "subprocess.CompletedProcess[str]":
        caps = [f"--inh-caps={rights}", f"--ambient-caps={rights}"]
        user = ["setpriv", f"--reuid={self.NUMBER}", f"--regid={self.NUMBER}", "--clear-groups", *caps]
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TMPDIR": str(self.temporary)}
        command = [*user, sys.executable, "-P", *arguments]
        return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, check=False)

    def owned(self, folder: Path) -> Path:
        folder.mkdir()
        os.chown(folder, self.NUMBER, self.NUMBER)
        return folder


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that other users may enter, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def other_user(public: Path) -> OtherUser:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can be another user, with setpriv")
    user = OtherUser(public / "temporary")
    user.owned(user.temporary)
    tried = user("-c", "import pathlib; print(pathlib.Path('~').expanduser())", cwd=user.temporary)
    if "Could not determine home directory" not in tried.stderr:
        pytest.skip(f"this machine does not let root be a user without a folder: {tried}")
    return user


def test_another_user_without_a_folder_compiles_and_draws(other_user: OtherUser, public: Path) -> None:
    here = other_user.owned(public / "here")
    kernels = ["evaluation", "models.counts", "models.neighbours"]
    script = "\n".join(f"from sessrec_pipeline.{room} import kernels" for room in kernels)
    script += "\nfrom sessrec_pipeline.models.counts.kernels import CACHE\nprint(CACHE)"
    done = other_user("-c", script, cwd=here)
    assert done.stdout.strip() == str(other_user.temporary / "sessrec-numba-12345"), done.stderr
    assert (other_user.temporary / "sessrec-numba-12345").stat().st_mode & 0o777 == 0o700
    assert not list(here.iterdir()), "numba makes a folder called ~ where it knows no other"


def test_what_somebody_else_put_there_is_no_cache(other_user: OtherUser) -> None:
    (other_user.temporary / "sessrec-numba-12345").mkdir(mode=0o777)
    script = "from sessrec_pipeline.caches import numba_cache; print(numba_cache())"
    done = other_user("-c", script, cwd=other_user.temporary)
    assert done.stdout.startswith(str(other_user.temporary / "sessrec-numba-")), done.stderr
    assert done.stdout.strip() != str(other_user.temporary / "sessrec-numba-12345")


def test_a_home_that_this_user_may_only_read(other_user: OtherUser, demo: Path, public: Path) -> None:
    home = Path(shutil.copytree(demo, public / "demo"))

    def run(*command: str) -> "subprocess.CompletedProcess[str]":
        return other_user("-m", "sessrec_pipeline", "--home", str(home), *command, cwd=other_user.temporary)

    for command in (["materialize"], ["demo"], ["dev"], ["studies"]):
        done = run(*command)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
        assert f"user 12345 may not write {home}: a feed's home must be writable" in done.stderr
    for command in (
        ["check"],
        ["recommend", "--items", "1", "--model", "markov"],
        ["lineage", "metrics"],
        ["versions"],
    ):
        done, mine = run(*command), sessrec(home, *command)
        assert (done.returncode, done.stdout) == (mine.exit_code, mine.stdout), done.stderr


def test_a_home_that_this_user_may_not_enter(other_user: OtherUser, public: Path) -> None:
    home = home_in(public / "shop")
    home.chmod(0o700)
    for command in ("materialize", "check", "demo"):
        done = other_user("-m", "sessrec_pipeline", "--home", str(home), command, cwd=public, rights="-all")
        if "No module named" in done.stderr or "Permission denied" in done.stderr.partition("Error: ")[0]:
            pytest.skip("this Python is in a folder that other users may not enter")
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and str(home) in done.stderr


def test_a_folder_of_the_home_that_is_somebody_elses(other_user: OtherUser, public: Path) -> None:
    home = home_in(public / "shop")
    for path in (home, home / "landing", home / "sessrec.toml"):
        os.chown(path, other_user.NUMBER, other_user.NUMBER)
    (home / "lake").mkdir()
    done = other_user("-m", "sessrec_pipeline", "--home", str(home), "materialize", cwd=home)
    assert done.returncode == 2 and f"may not write {home / 'lake'}" in done.stderr
    assert not (home / "dagster").exists()
