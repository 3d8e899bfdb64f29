"""A home of the layout before versions were kept: refused until `sessrec migrate` has moved its files.

``old_home.zip`` is what commit 6fa17d6 left of two small logs; ``make_old_home.sh`` made it, with that commit's code.
"""

import shutil
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from sessrec_pipeline.cli import main
from sessrec_pipeline.feed import load_settings
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.layout import LayoutError
from sessrec_pipeline.storage.migration import migrate
from sessrec_pipeline.storage.store import NotMaterializedError, Store

OLD = Path(__file__).with_name("old_home.zip")
PARTITIONED = {
    "raw_sessions": ["day0.tsv", "day1.tsv"],
    "quarantine": ["day0.tsv", "day1.tsv"],
    "gru4rec_checkpoint": ["seed-43"],
}
WHOLE = [
    "comparisons",
    "gru4rec_checkpoint",
    "gru4rec_rankings",
    "leaderboard",
    "markov",
    "markov_rankings",
    "metrics",
    "popularity",
    "popularity_rankings",
    "sessions",
    "test_split",
    "train_split",
]
EVERYTHING = [(asset, None) for asset in WHOLE] + [(asset, key) for asset, keys in PARTITIONED.items() for key in keys]


@pytest.fixture
def old(tmp_path: Path) -> Settings:
    with zipfile.ZipFile(OLD) as archive:
        archive.extractall(tmp_path / "home")
    return load_settings(tmp_path / "home")


def sessrec(settings: Settings, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--home", str(settings.home), *arguments])


def contents(settings: Settings) -> list[bytes]:
    """The bytes of all tables, models and pages, wherever they are."""
    files = [path for path in settings.home.rglob("*") if path.suffix in (".parquet", ".safetensors", ".html")]
    return sorted(path.read_bytes() for path in files)


def assert_migrated(settings: Settings) -> None:
    store = Store(settings)
    for asset, partition in EVERYTHING:
        stored = store.find(asset, partition)
        stored.verified()
        assert (stored.node.asset, stored.node.partition) == (asset, partition)
        assert stored.path.stem == stored.node.data_version
    assert store.find("report").path == settings.reports / "report.html"
    assert all(version.current for version in store.versions()) and len(store.versions()) == len(EVERYTHING)


COMMANDS = [
    ["materialize"],
    ["check"],
    ["studies"],
    ["search"],
    ["lineage", "metrics"],
    ["recommend", "--items", "1"],
    ["prune"],
    ["rebuild-catalog"],
    ["versions"],
    ["restore", "metrics", "0"],
    ["dev"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_home_of_the_old_layout_is_refused_and_left_alone(old: Settings, command: list[str]) -> None:
    (old.home / "sessrec.toml").write_text("[sessions]\nwindow_days = 9\n[training]\ntuning_trials = 1\n")
    before = sorted(old.home.rglob("*"))
    result = sessrec(old, *command)
    assert result.exit_code == 2 and len(result.output.splitlines()) == 1
    assert f"run `sessrec --home {old.home} migrate`" in result.output
    assert sorted(old.home.rglob("*")) == before


def test_migrating_moves_everything_and_changes_no_byte(old: Settings) -> None:
    before = contents(old)
    inodes = {path.stat().st_ino for path in old.lake.rglob("*.parquet")}
    result = sessrec(old, "migrate")
    assert result.exit_code == 0, result.output
    assert f"{old.home} has layout 2 now: {len(EVERYTHING)} tables and models were verified and moved" in result.output
    assert_migrated(old)
    assert contents(old) == before
    assert {path.stat().st_ino for path in old.lake.rglob("*.parquet")} == inodes, "renamed, not copied"
    assert {p.name for p in old.lake.iterdir()} >= {"metrics", "raw_sessions"} and not list(old.lake.glob("*.parquet"))
    with Store(old).warehouse.connect() as connection:
        assert connection.execute("SELECT COUNT(*) FROM leaderboard").fetchall() == [(3,)]
    assert "markov_rankings" in sessrec(old, "lineage", "metrics").output

    again = sessrec(old, "migrate")
    assert again.exit_code == 0 and "there is nothing to do" in again.output
    assert_migrated(old)


class Killed(BaseException):
    """Stands for the end of the process."""


def test_a_migration_that_dies_at_any_rename_goes_on_where_it_was(
    old: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each attempt dies after its first rename, until one finds nothing left to rename."""
    before, replace = contents(old), Path.replace

    def once(self: Path, target: Path) -> Path:
        replace(self, target)
        raise Killed

    attempts = 0
    while True:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", once)
            try:
                migrate(old, lambda line: None)
            except Killed:
                attempts += 1
            else:
                break
        assert contents(old) == before, "nothing is lost or doubled"
        if not (old.home / "layout").exists():
            with pytest.raises(LayoutError):
                Store(old)
    assert attempts == 2 * len(EVERYTHING) + 1
    assert_migrated(old)


def test_a_damaged_file_is_set_aside_and_the_others_are_moved(old: Settings) -> None:
    damaged = [old.lake / "metrics.parquet", old.lake / "raw_sessions" / "day0.tsv.parquet"]
    damaged += [old.checkpoints / "gru4rec_checkpoint.safetensors"]
    for path in damaged:
        content = bytearray(path.read_bytes())
        for n in [-1] if path.suffix == ".safetensors" else range(40, 140):
            content[n] ^= 1
        path.write_bytes(content)
    before, told = contents(old), list[str]()
    assert migrate(old, told.append) == len(EVERYTHING) - 3
    aside = [old.home / "damaged" / path.relative_to(old.home) for path in damaged]
    assert all(path.exists() for path in aside) and contents(old) == before
    assert all(any(line.startswith(f"set aside as {path}: ") for line in told) for path in aside)
    store = Store(old)
    for asset, partition in (("metrics", None), ("raw_sessions", "day0.tsv"), ("gru4rec_checkpoint", None)):
        with pytest.raises(NotMaterializedError):
            store.find(asset, partition)
    assert store.has("raw_sessions", "day1.tsv") and store.has("gru4rec_checkpoint", "seed-43")


def test_what_others_put_there_stays_and_is_told(old: Settings) -> None:
    foreign, copy = old.lake / "foreign.parquet", old.lake / "metrics of monday.parquet"
    pq.write_table(pa.table({"a": [1]}), foreign)
    shutil.copy(old.lake / "metrics.parquet", copy)
    told: list[str] = []
    assert migrate(old, told.append) == len(EVERYTHING)
    assert foreign.exists() and copy.exists()
    assert told[:2] == [f"left where it is: {path} was not written by sessrec" for path in (foreign, copy)]
    assert_migrated(old)


def test_what_was_migrated_is_the_first_of_the_versions(old: Settings) -> None:
    """Newer versions stand beside it, and it can be restored."""
    migrate(old, lambda line: None)
    store = Store(old)
    before = store.find("leaderboard")
    newer = store.publish("leaderboard", Table(pa.table({"n": [1]})))
    assert store.find("leaderboard") == newer
    assert store.restore("leaderboard", before.node.data_version[:12]) == before


def test_a_home_of_a_later_version_is_not_migrated(old: Settings) -> None:
    (old.home / "layout").write_text("3\n")
    result = sessrec(old, "migrate")
    assert result.exit_code == 2 and "update sessrec" in result.output
    assert (old.lake / "metrics.parquet").exists()


def test_migrating_a_home_that_is_not_there(tmp_path: Path) -> None:
    result = sessrec(load_settings(tmp_path / "typo"), "migrate")
    assert result.exit_code == 2 and not (tmp_path / "typo").exists()
