"""A home is copied as it is at a moment, and made again from the copy; who dies in between loses nothing."""

import errno
import hashlib
import multiprocessing
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from dying import back_up_and_die, publish_for_ever, restore_and_die

from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.settings import StorageSettings
from sessrec_pipeline.storage import backup as module
from sessrec_pipeline.storage.backup import BackupError, Backups, backup, bring_back, restore
from sessrec_pipeline.storage.checkpoints import Checkpoint
from sessrec_pipeline.storage.files import DamagedFileError
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.layout import LayoutError
from sessrec_pipeline.storage.owners import BusyError, locked
from sessrec_pipeline.storage.pages import Page
from sessrec_pipeline.storage.store import Store
from sessrec_pipeline.storage.verification import problems

Picture = dict[str, tuple[bytes, int]]
KEPT = {"lake", "checkpoints", "history", "reports", "landing", "layout", "sessrec.toml", "alerts.log"}


def table(*items: str) -> Table:
    return Table(pa.table({"item": list(items)}))


@pytest.fixture
def store(feed: Callable[..., FeedSettings]) -> Store:
    """A home with all that a backup takes."""
    settings = feed()
    store = Store(settings)
    (settings.landing / "x.tsv").write_text("as it landed\n")
    store.publish("raw_sessions", table("a"), partition="x.tsv")
    store.publish("markov_checkpoint", Checkpoint("markov", {"items": np.ones((2, 3), np.float32)}, {}, ["a", "b"], {}))
    row = {"model": "a", "metric": "recall", "k": 20, "tie_rule": "standard", "value": 0.5, "low": 0.4, "high": 0.6}
    row |= {"predictions": 9, "sessions": 3, "rankings": "r"}
    metrics = store.publish("metrics", Table(pa.Table.from_pylist([row])))
    store.publish("metrics", Table(pa.Table.from_pylist([row, row])))
    store.pin("metrics", metrics.node.data_version)
    store.remember(store.find("metrics"))
    store.publish("report", Page("<html></html>"))
    (settings.home / "sessrec.toml").write_text('models = ["markov"]\n')
    (settings.home / "alerts.log").write_text("2026-01-01 failed\n")
    settings.dagster_home.mkdir()
    (settings.dagster_home / "dagster.yaml").write_text("concurrency: {}\n")
    return store


def picture(home: Path) -> Picture:
    """What a backup is about, byte for byte, with the times by which versions are ordered."""
    files = [path for path in home.rglob("*") if path.is_file() and path.relative_to(home).parts[0] in KEPT]
    return {str(path.relative_to(home)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def restored(folder: Path, name: str | None = None) -> Store:
    """What a backup is good for, in a new home whose warehouse was made; nothing of it is damaged or gone."""
    home = folder.parent / f"restored-{len(list(folder.parent.glob('restored-*')))}"
    restore(folder, home, name)
    store = Store(FeedSettings(home=home))
    store.mend()
    assert list(problems(store, lambda done, total: None)) == []
    return store


def laid_out(folder: Path) -> Picture:
    """The files of the newest snapshot, restored for a look."""
    home = folder.parent / f"looked-at-{folder.name}"
    restore(folder, home)
    found = picture(home)
    shutil.rmtree(home)
    return found


def copied(store: Store, folder: Path, **how: object) -> module.Made:
    return backup(store, folder, **{"keep": 7} | how)  # type: ignore[arg-type]


def test_a_home_is_what_it_was(store: Store, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    before = picture(store.home)
    made = copied(store, tmp_path / "bk", progress=lambda done, total: steps.append((done, total)))
    assert steps[-1][0] == steps[-1][1] == sum(entry.bytes for entry in made.snapshot.files.values())
    assert picture(store.home) == before and not list(store.home.glob(".tmp-*"))
    again = restored(tmp_path / "bk")
    assert picture(again.home) == before
    assert [v.pinned for v in again.versions("metrics")] == [False, True]
    assert (again.settings.dagster_home / "dagster.yaml").read_text() == "concurrency: {}\n"
    assert again.manifest.read() == store.manifest.read()
    restore(tmp_path / "bk", again.home)  # an equal home is no obstacle
    assert picture(again.home) == before


def test_only_what_is_new_is_copied_and_old_snapshots_go(store: Store, tmp_path: Path) -> None:
    first = copied(store, tmp_path / "bk")
    assert (copied(store, tmp_path / "bk").new_files, first.new_files > 10) == (0, True)
    store.publish("raw_sessions", table("new"), partition="y.tsv")
    third = copied(store, tmp_path / "bk")
    assert third.new_files == 3, "the table, its pointer, the manifest"
    assert restored(tmp_path / "bk", first.snapshot.name).has("raw_sessions", "y.tsv") is False
    assert restored(tmp_path / "bk").find("raw_sessions", "y.tsv").arrow()["item"].to_pylist() == ["new"]
    store.remove("raw_sessions", "y.tsv")
    last = copied(store, tmp_path / "bk", keep=1)
    assert len(last.removed) == 3 and Backups(tmp_path / "bk").names() == [last.snapshot.name]
    held = {path.name for path in (tmp_path / "bk" / "objects").glob("??/*")}
    assert held == {entry.sha256 for entry in last.snapshot.files.values()}
    assert picture(restored(tmp_path / "bk").home) == picture(store.home)


def test_landed_files_can_be_left_out_and_uploads_wait(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not [key for key in copied(store, tmp_path / "bk", landing=False).snapshot.files if "landing" in key]
    upload = store.settings.landing / "y.tsv"
    upload.write_text("one\n")
    hashed = module._hashed

    def growing(path: Path, *args: object, **kwargs: object) -> str:
        found = hashed(path, *args, **kwargs)  # type: ignore[arg-type]
        if path == upload:
            upload.write_text(upload.read_text() + "more\n")
        return found

    monkeypatch.setattr(module, "_hashed", growing)
    told: list[str] = []
    made = copied(store, tmp_path / "bk", report=told.append)
    assert "landing/y.tsv" not in made.snapshot.files and "landing/x.tsv" in made.snapshot.files
    assert len(told) == 1 and f"left out: {upload} changes while it is read" in told[0]


DAMAGES = {
    "a table": "lake/raw_sessions/partitions/x.tsv/versions/*.parquet",
    "a pointer": "lake/raw_sessions/partitions/x.tsv/current",
    "a model": "checkpoints/markov_checkpoint/versions/*",
    "the history": "history/metrics/*",
    "a page": "reports/report.html",
    "both manifests": "manifest.json*",
}


@pytest.mark.parametrize("what", DAMAGES)
@pytest.mark.parametrize("how", ["cut off", "gone"])
def test_a_damaged_home_takes_the_place_of_no_backup(store: Store, tmp_path: Path, what: str, how: str) -> None:
    if (what, how) == ("the history", "gone"):
        pytest.skip("nothing says which runs there were")
    before = picture(store.home)
    good = copied(store, tmp_path / "bk", keep=1)
    paths = list(store.home.glob(DAMAGES[what]))
    for path in paths:
        path.write_bytes(path.read_bytes()[:-20]) if how == "cut off" else path.unlink()
    with pytest.raises(BackupError, match=r"nothing was added to .*, for the home is damaged") as error:
        copied(store, tmp_path / "bk", keep=1)
    named = str(paths[0]) if how == "cut off" and len(paths) == 1 else "is gone" if len(paths) == 1 else "manifest.json"
    assert named in str(error.value) and ".tmp-" not in str(error.value)
    assert Backups(tmp_path / "bk").names() == [good.snapshot.name]
    assert picture(restored(tmp_path / "bk").home) == before


def test_all_that_is_damaged_is_named(store: Store, tmp_path: Path) -> None:
    paths = [next(store.home.glob(pattern)) for what, pattern in DAMAGES.items() if "manifest" not in what]
    for path in paths:
        path.write_bytes(path.read_bytes()[:-20])
    store.find("metrics").path.unlink()
    with pytest.raises(BackupError) as error:
        copied(store, tmp_path / "bk")
    assert [path for path in paths if str(path) not in str(error.value)] == []
    assert "\n  metrics was published and is gone\n" in str(error.value)


def test_what_rots_in_the_backup_is_noticed_and_copied_again(store: Store, tmp_path: Path) -> None:
    copied(store, tmp_path / "bk")
    entry = Backups(tmp_path / "bk").read().files["sessrec.toml"]
    rotten = Backups(tmp_path / "bk").object(entry.sha256)
    text = rotten.read_bytes()
    rotten.write_bytes(text.replace(b"m", b"n"))
    home = tmp_path / "home-2"
    with pytest.raises(DamagedFileError, match="its bytes differ from its name; name another snapshot"):
        restore(tmp_path / "bk", home)
    assert picture(home) == {}, "nothing has taken its place"
    assert copied(store, tmp_path / "bk").new_files == 0
    assert copied(store, tmp_path / "bk", check=True).new_files == 1
    rotten.unlink()
    assert copied(store, tmp_path / "bk").new_files == 1
    assert rotten.read_bytes() == text
    restore(tmp_path / "bk", home)
    assert picture(home) == picture(store.home)


def test_a_damaged_snapshot_is_told_and_costs_no_object(store: Store, tmp_path: Path) -> None:
    first = copied(store, tmp_path / "bk").snapshot
    path = Backups(tmp_path / "bk").path(first.name)
    path.write_text(path.read_text().replace("x.tsv", "z.tsv"))
    with pytest.raises(DamagedFileError, match="its text differs from its own hash; name another one"):
        restore(tmp_path / "bk", tmp_path / "home-2")
    store.publish("metrics", table("other"))
    shutil.rmtree(store.home / "lake" / "metrics")
    assert bring_back(tmp_path / "bk", store) == ([], ["metrics"]), "the damaged one is passed over"
    store.publish("metrics", table("other"))
    before = set((tmp_path / "bk" / "objects").rglob("*"))
    made = copied(store, tmp_path / "bk", keep=2)
    assert [damage.path for damage in made.unread] == [path]
    assert before <= set((tmp_path / "bk" / "objects").rglob("*"))
    assert picture(restored(tmp_path / "bk").home) == picture(store.home)


def test_a_snapshot_writes_nothing_outside_of_the_home(store: Store, tmp_path: Path) -> None:
    first = copied(store, tmp_path / "bk").snapshot
    for place in ("../evil.sh", f"{tmp_path}/evil.sh"):
        Backups(tmp_path / "bk").write(store.home, {**first.files, place: first.files["sessrec.toml"]})
        with pytest.raises(DamagedFileError, match="lies outside of a home"):
            restore(tmp_path / "bk", tmp_path / "home-2")
    assert not list(tmp_path.rglob("evil.sh"))


def test_folders_that_are_none_of_backups(store: Store, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "text.tex").touch()
    (tmp_path / "file").touch()
    for folder, told in {
        store.home / "bk": "is inside the home",
        tmp_path / "thesis": "holds other things, such as 'text.tex'",
        tmp_path / "file": "is a file",
        tmp_path / "not mounted" / "bk": "is the disk for backups mounted",
    }.items():
        with pytest.raises(BackupError, match=told):
            copied(store, folder)
        with pytest.raises(BackupError, match="holds no backups"):
            restore(folder, tmp_path / "home-2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "home", "thesis"]
    disk = tmp_path / "disk"
    (disk / "lost+found").mkdir(parents=True)
    copied(store, disk)
    (disk / module.MARK).write_text("2\n")
    for use in (lambda: copied(store, disk), lambda: restore(disk, tmp_path / "home-2")):
        with pytest.raises(BackupError, match="update it"):
            use()


def test_two_feeds_do_not_share_a_folder(store: Store, feed: Callable[..., FeedSettings], tmp_path: Path) -> None:
    copied(store, tmp_path / "bk")
    other = Store(feed("other"))
    other.publish("sessions", table("of another shop"))
    with pytest.raises(BackupError, match=f"has the backups of {store.home}, of which nothing is in {other.home}"):
        copied(other, tmp_path / "bk")
    moved = Store(FeedSettings(home=Path(shutil.move(store.home, tmp_path / "moved"))))
    assert copied(moved, tmp_path / "bk").snapshot.name.startswith("000002-")


def test_one_backup_at_a_time(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied(store, tmp_path / "bk")
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.0)
    with (
        locked(tmp_path / "bk" / "backup.lock", 0),
        pytest.raises(BusyError, match=r"gave up .*backup\.lock"),
    ):
        copied(store, tmp_path / "bk")


def test_a_file_system_without_hard_links(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(source: Path, place: Path) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "link", refused)
    copied(store, tmp_path / "bk")
    assert picture(restored(tmp_path / "bk").home) == picture(store.home)

    def deleting(held: Store) -> list[str]:
        store.find("metrics").path.unlink()
        return []

    monkeypatch.setattr(module, "_unsound", deleting)
    with pytest.raises(BackupError, match="was deleted while it was copied, and this file system has no hard links"):
        copied(store, tmp_path / "bk")


def test_a_home_that_holds_something_else_stays(store: Store, tmp_path: Path) -> None:
    first = copied(store, tmp_path / "bk").snapshot.name
    before = picture(store.home)
    for change in (
        lambda home: (home / "sessrec.toml").write_text("models = []\n"),
        lambda home: Store(FeedSettings(home=home)).publish("metrics", table("newer")),
        lambda home: (home / "reports" / "mine.html").write_text("<html></html>"),
        lambda home: (home / "layout").write_text("9\n"),
    ):
        home = Path(shutil.copytree(store.home, tmp_path / "other"))
        change(home)
        changed = picture(home)
        with pytest.raises(BackupError, match=r"nothing was restored, for .* holds .* move the home away first \(mv "):
            restore(tmp_path / "bk", home)
        assert picture(home) == changed
        shutil.rmtree(home)
    assert picture(store.home) == before and Backups(tmp_path / "bk").names() == [first]


def test_a_home_that_lost_its_lake_keeps_what_landed_since(store: Store, tmp_path: Path) -> None:
    copied(store, tmp_path / "bk")
    before = picture(store.home)
    for folder in ("lake", "checkpoints", "history", "reports"):
        shutil.rmtree(store.home / folder)
    for path in store.home.glob("manifest.json*"):
        path.unlink()
    (store.settings.landing / "x.tsv").write_text("corrected since\n")
    (store.settings.landing / "y.tsv").write_text("landed since\n")
    (store.settings.dagster_home / "dagster.yaml").write_text("of today\n")
    restore(tmp_path / "bk", store.home)
    now = picture(store.home)
    landed = {key for key in now if key.startswith("landing/")}
    assert {key: now[key] for key in now if key not in landed} == {k: before[k] for k in before if k not in landed}
    assert [now[key][0] for key in sorted(landed)] == [b"corrected since\n", b"landed since\n"]
    assert (store.settings.dagster_home / "dagster.yaml").read_text() == "of today\n"


def test_what_a_home_has_lost_is_brought_back(store: Store, tmp_path: Path) -> None:
    log = store.settings.landing / "x.tsv"
    sha256 = hashlib.sha256(log.read_bytes()).hexdigest()
    store.keep_landed("x.tsv", sha256, log, {log.name: log})
    copied(store, tmp_path / "bk")
    expected = {name: store.find(name).node for name in ("metrics", "markov_checkpoint")}
    newer = store.publish("report", Page("<html>newer</html>"))
    shutil.rmtree(store.home / "lake" / "metrics")
    shutil.rmtree(store.settings.kept)
    store.find("markov_checkpoint").path.unlink()
    assert bring_back(tmp_path / "bk", store) == (["the copy of x.tsv", "markov_checkpoint", "metrics"], [])
    assert {name: store.find(name).node for name in expected} == expected
    assert store.find("report") == newer and store.landed.has(sha256)
    assert list(problems(store, lambda done, total: None)) == []
    later = store.publish("metrics", table("later"))
    later.path.unlink()
    assert bring_back(tmp_path / "bk", store) == ([], ["metrics"])


# --- dying at any moment, and beside others ---------------------------------------------------------------------------


def run(target: Callable[..., None], *args: object) -> int | None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sessrec_pipeline.storage.backup"])
    process = context.Process(target=target, args=args)
    process.start()
    process.join()
    return process.exitcode


def test_a_kill_leaves_the_backups_before(store: Store, tmp_path: Path) -> None:
    """Of a backup that replaces another one: as objects come, with the snapshot, and as what is too old goes."""
    first, old = copied(store, tmp_path / "bk"), picture(store.home)
    store.publish("raw_sessions", table("new"), partition="y.tsv")
    (store.home / "sessrec.toml").write_text("models = []\n")
    new, seen = picture(store.home), set()
    for moment in range(1, 60, 2):
        folder = Path(shutil.copytree(tmp_path / "bk", tmp_path / f"bk-{moment}"))
        code = run(back_up_and_die, store.settings, folder, moment, True)
        names = Backups(folder).names()
        found = laid_out(folder)
        assert found == (old if names == [first.snapshot.name] else new)
        seen.add((code, len(names), found == new))
        store.mend()
        copied(store, folder, keep=1)
        assert not list(folder.rglob(".tmp-*")) and not list(store.home.glob(".tmp-*"))
        held = {path.name for path in (folder / "objects").glob("??/*")}
        assert held == {entry.sha256 for entry in Backups(folder).read().files.values()}
        assert laid_out(folder) == new
        if code == 0:
            break
    restored(folder)
    assert seen >= {(9, 1, False), (9, 2, True), (9, 1, True), (0, 1, True)}


def test_a_kill_while_restoring_leaves_a_home_that_goes_on(store: Store, tmp_path: Path) -> None:
    copied(store, tmp_path / "bk")
    expected, refused = picture(store.home), 0
    for moment in random.Random(5).sample(range(1, 40), 14):
        home = tmp_path / f"home-{moment}"
        code = run(restore_and_die, tmp_path / "bk", home, moment, bool(moment % 2))
        if code == 9:
            try:
                there = Store(FeedSettings(home=home))
            except LayoutError as error:
                refused += 1
                assert "is being restored from a backup" in str(error) and "which goes on" in str(error)
            else:
                assert picture(there.home) in ({}, expected), "as it was, or whole"
        restore(tmp_path / "bk", home)
        assert picture(home) == expected
        assert not list(home.rglob(".*"))
    assert refused


def test_runs_go_on_while_a_home_is_copied(feed: Callable[..., FeedSettings], tmp_path: Path) -> None:
    store = Store(feed(storage=StorageSettings(keep_versions=1)))
    for name in ("leaderboard", "sessions"):
        first = store.publish(name, table("a"))
    rows = Table(pa.table({"item": [str(n) for n in range(5000)]}))
    process = multiprocessing.get_context("forkserver").Process(target=publish_for_ever, args=(store.settings, rows))
    process.start()
    made = []
    try:
        while len(made) < 5:
            while store.is_current(first.node):
                assert process.is_alive()
                time.sleep(0.01)
            first = store.find("sessions")
            made.append(copied(store, tmp_path / "bk").snapshot)
    finally:
        process.kill()
        process.join()
    versions = {restored(tmp_path / "bk", snapshot.name).find("sessions").node.data_version for snapshot in made}
    assert len(versions) > 1, "nothing was published meanwhile"
