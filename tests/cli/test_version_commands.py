"""sessrec versions, restore."""

from pathlib import Path

import duckdb
from terminal import sessrec

from sessrec_pipeline.feed import load_settings
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.store import Store


def test_versions_are_listed_and_restored(demo: Path) -> None:
    store = Store(load_settings(demo))
    first = store.find("leaderboard")
    try:
        table = first.arrow().slice(1)
        second = store.publish("leaderboard", Table(table), code_version="7", run_id="by hand and longer")
        lines = sessrec(demo, "versions", "leaderboard", "--wide").output.splitlines()
        assert lines[0].split() == ["asset", "version", "when", "(UTC)", "code", "rows", "bytes", "run"]
        newer, older = (line.split() for line in lines[2:])
        assert newer[:2] == ["leaderboard", second.node.data_version[:12]] and newer[-1] == "current"
        assert newer[4:6] == ["7", f"{second.node.rows}"] and "by hand" in lines[2]
        assert older[1] == first.node.data_version[:12] and "current" not in older
        sql = sessrec(demo, "versions", "leaderboard", "--sql").output
        assert duckdb.sql(f"SELECT COUNT(*) FROM {sql}").fetchall() == [(second.node.rows,)]

        unknown = sessrec(demo, "restore", "leaderboard", "nonsense")
        assert unknown.exit_code == 2 and first.node.data_version[:12] in unknown.output
    finally:
        result = sessrec(demo, "restore", "leaderboard", first.node.data_version[:12])
    assert result.exit_code == 0 and f"restored leaderboard {first.node.data_version[:12]}" in result.output
    assert store.find("leaderboard") == first


def test_versions_of_partitions_and_of_everything(demo: Path) -> None:
    store = Store(load_settings(demo))
    logs = store.partitions("raw_sessions")
    sql = sessrec(demo, "versions", "raw_sessions", "--sql").output
    count = sum(stored.node.rows or 0 for stored in logs.values())
    assert duckdb.sql(f"SELECT COUNT(*) FROM {sql}").fetchall() == [(count,)]
    one = sessrec(demo, "versions", "raw_sessions", "--partition", "demo-2026-01-05.tsv").stdout.splitlines()
    assert len(one) == 3 and one[2].startswith("raw_sessions[demo-2026-01-05.tsv]  ")
    everything = sessrec(demo, "versions").output
    assert "gru4rec_checkpoint" in everything and "raw_sessions[demo-2026-01-06.tsv]" in everything
    for arguments in (["nothing"], ["raw_sessions", "--partition", "x"], ["report"], ["--sql"]):
        result = sessrec(demo, "versions", *arguments)
        assert result.exit_code == 2 and len(result.output.splitlines()) == 1, result.output


def test_a_pinned_version_is_kept(demo: Path) -> None:
    store = Store(load_settings(demo))
    version = store.find("leaderboard").node.data_version[:12]
    pinned = sessrec(demo, "pin", "leaderboard", version)
    assert pinned.exit_code == 0 and store.versions("leaderboard")[0].pinned
    assert "current pinned" in sessrec(demo, "versions", "leaderboard").stdout
    assert sessrec(demo, "pin", "leaderboard", version, "--undo").exit_code == 0
    assert not store.pinned()
    wrong = sessrec(demo, "pin", "leaderboard", "zzz")
    assert wrong.exit_code == 2 and "no version of leaderboard begins with 'zzz'" in wrong.output
