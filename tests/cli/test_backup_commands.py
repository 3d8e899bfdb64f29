"""sessrec backup, and restore --backup."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from terminal import sessrec

from sessrec_pipeline.cli import main
from sessrec_pipeline.storage import backup as module
from sessrec_pipeline.storage.backup import Backups


def test_a_home_is_backed_up_lost_and_restored(demo: Path, tmp_path: Path) -> None:
    home, folder = Path(shutil.copytree(demo, tmp_path / "shop")), tmp_path / "bk"
    made = sessrec(home, "backup", str(folder))
    (name,) = Backups(folder).names()
    assert made.exit_code == 0 and f"backed up {home} into {folder} as {name}: " in made.stdout, made.output
    again = sessrec(home, "backup", str(folder), "--keep", "1")
    assert again.exit_code == 0 and "; 0 files, 0 bytes of them were copied" in again.stdout
    assert f"removed {name}: only the newest 1 backups stay" in again.stderr

    shutil.rmtree(home)
    done = sessrec(home, "restore", "--backup", str(folder))
    assert done.exit_code == 0 and f"restored {home} from {folder}: " in done.stdout, done.output
    verified = sessrec(home, "verify")
    assert verified.exit_code == 0, verified.output
    run = sessrec(home, "materialize")
    assert run.exit_code == 0 and "everything is up to date" in run.stderr, run.output
    assert sessrec(home, "history").stdout == sessrec(demo, "history").stdout


def test_what_cannot_be_is_one_sentence(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "bk"
    assert sessrec(demo, "backup", str(folder)).exit_code == 0

    def told(*arguments: str, home: Path = demo) -> str:
        result = sessrec(home, *arguments)
        assert result.exit_code == 2 and len(result.output.splitlines()) == 1, result.output
        return result.output

    assert "is inside the home" in told("backup", str(demo / "bk"))
    assert "nothing is materialized" in told("backup", str(folder), home=tmp_path / "nowhere")
    assert f"--backup {folder}" in told("restore", str(folder))
    assert "restores a home and no asset of it" in told("restore", "metrics", "1", "--backup", str(folder))
    assert "there is no snapshot 'x'" in told("restore", "--backup", str(folder), "--snapshot", "x")
    assert "is a file" in told("restore", "--backup", str(folder), home=folder / module.MARK)

    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(module, "_copy", lambda *_: (_ for _ in ()).throw(full))
    assert f"{tmp_path / 'home'}: No space left on device; make room" in told(
        "restore", "--backup", str(folder), home=tmp_path / "home"
    )
    assert f"{tmp_path / 'bk-2'}: No space left on device; make room" in told("backup", str(tmp_path / "bk-2"))
    denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder / "objects" / "x"))
    monkeypatch.setattr(module, "_copy", lambda *_: (_ for _ in ()).throw(denied))
    shutil.rmtree(folder / "objects")
    assert "name another DIR" in told("backup", str(folder))


def test_restoring_asks_for_the_home(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sessrec(demo, "backup", str(tmp_path / "bk")).exit_code == 0
    monkeypatch.delenv("SESSREC_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["restore", "--backup", "bk"])
    assert result.exit_code == 2 and f"sessrec --home {demo} restore --backup {tmp_path / 'bk'} makes" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["bk"]
