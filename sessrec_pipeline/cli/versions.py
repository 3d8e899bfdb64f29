"""Commands about the versions that the store keeps: versions, restore, pin, migrate."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sessrec_pipeline.cli.backup import restore_home, restore_missing
from sessrec_pipeline.cli.common import (
    Failure,
    existing_feed,
    find_asset,
    print_table,
    store_of,
    wide_option,
)
from sessrec_pipeline.text import did_you_mean, say

if TYPE_CHECKING:
    from sessrec_pipeline.storage.store import Store


@click.command()
@click.argument("asset", required=False)
@click.option("--partition", help="Only this partition of ASSET.")
@click.option("--sql", is_flag=True, help="Print only what DuckDB reads the current rows of ASSET from.")
@wide_option
@click.pass_obj
def versions(home: Path | None, asset: str | None, partition: str | None, sql: bool) -> None:
    """The versions of ASSET, or of all tables and models, that are kept, the newest first.

    `duckdb -c "FROM $(sessrec versions metrics --sql)"` reads the current version's files, all partitions together.
    """
    settings = existing_feed(home)
    if asset is None and (partition is not None or sql):
        raise Failure("--partition and --sql are about one ASSET: name it")
    listed = store_of(settings).versions(asset, partition, lambda damage: say(f"left out: {damage}", err=True))
    if asset is not None and not listed:
        if partition is not None:
            raise Failure(f"{asset} has no partition {partition!r}")
        raise Failure(f"{asset} is a page, of which one version is kept: {find_asset(store_of(settings), asset).path}")
    if sql:
        paths = ["'" + str(v.stored.path).replace("'", "''") + "'" for v in listed if v.current]
        say(f"read_parquet([{', '.join(paths)}], hive_partitioning = false)")
        return
    rows = []
    for v in listed:
        node = v.stored.node
        name = node.asset if node.partition is None else f"{node.asset}[{node.partition}]"
        count, size = "" if node.rows is None else f"{node.rows:,}", f"{v.stored.path.stat().st_size:,}"
        marks = " ".join(["current"] * v.current + ["pinned"] * v.pinned)
        rows.append(
            [
                name,
                node.data_version[:12],
                node.created_at[:16].replace("T", " "),
                node.code_version,
                count,
                size,
                node.run_id[:8],
                marks,
            ]
        )
    print_table(["asset", "version", "when (UTC)", "code", "rows", "bytes", "run", ""], rows, spare=["bytes", "code"])


@click.command()
@click.argument("asset", required=False)
@click.argument("version", required=False)
@click.option("--partition", help="Partition, for an asset that has them.")
@click.option("--backup", "folder", metavar="DIR", type=click.Path(path_type=Path), help="Restore the whole home.")
@click.option("--snapshot", metavar="NAME", help="Which backup in DIR; by default the newest.")
@click.option("--missing", is_flag=True, help="With --backup: bring back only what the home has lost.")
@click.pass_obj
def restore(
    home: Path | None,
    asset: str | None,
    version: str | None,
    partition: str | None,
    folder: Path | None,
    snapshot: str | None,
    missing: bool,
) -> None:
    """Make VERSION, or the one that begins so, the current version of ASSET again, once it is verified.

    What rests on ASSET is out of date then, and made again by the next `sessrec materialize`; ASSET itself too, if it
    was made with other inputs, settings or code than now: bring these back first to keep it.

    With --backup DIR and no ASSET, make the home that --home names again from what `sessrec backup DIR` copied. It must
    be empty or lost: where it holds something else nothing changes. Stopped, the same command goes on. With --missing
    it may be in use: what it has lost comes back, and nothing else changes.
    """
    if folder is not None and asset is None and partition is None and not (missing and snapshot):
        if missing:
            restore_missing(home, folder)
        else:
            restore_home(home, folder, snapshot)
        return
    if folder is not None or snapshot is not None or missing:
        raise Failure(
            "--backup DIR restores a home and no asset of it; --snapshot says which backup of it, or --missing that "
            "only what is lost comes back"
        )
    if asset is None or version is None:
        meant = f" (a folder of backups is named so: --backup {asset})" if asset and Path(asset).is_dir() else ""
        raise Failure(f"name an ASSET and a VERSION, which `sessrec versions` lists, or --backup DIR{meant}")
    store = store_of(existing_feed(home))
    with _known_version(store, asset):
        stored = store.restore(asset, version, partition)
    short = stored.node.data_version[:12]
    say(
        f"restored {asset} {short} of {stored.node.created_at}.\n"
        "It stays until the next `sessrec materialize`, if it was made with other inputs, settings or code than now:\n"
        f"`sessrec lineage {asset} --full` says with which. `sessrec pin {asset} {short}` keeps it from being deleted"
    )


@click.command()
@click.argument("asset")
@click.argument("version")
@click.option("--partition", help="Partition, for an asset that has them.")
@click.option("--undo", is_flag=True, help="Let it be deleted again when there are too many.")
@click.pass_obj
def pin(home: Path | None, asset: str, version: str, partition: str | None, undo: bool) -> None:
    """Keep VERSION of ASSET, or the one that begins so, however many newer ones [storage] keep_versions lets in.

    It can be restored at any time then; which version is current does not change.
    """
    store = store_of(existing_feed(home))
    with _known_version(store, asset):
        (store.unpin if undo else store.pin)(asset, version, partition)
    say(f"{'unpinned' if undo else 'pinned'}: {asset} {version}; `sessrec versions {asset}` lists what is kept")


@contextmanager
def _known_version(store: "Store", asset: str) -> Iterator[None]:
    """End in a sentence where there is no such version."""
    from sessrec_pipeline.storage.store import UnknownVersionError

    try:
        yield
    except UnknownVersionError as error:
        names = store.names()
        raise Failure(f"{error}{'' if asset in names else did_you_mean(asset, names)}") from None


@click.command()
@click.pass_obj
def migrate(home: Path | None) -> None:
    """Bring a home that an earlier version made to today's layout of files; stop what works on it first.

    Files are verified and renamed, none is copied. A command that was stopped goes on where it was.
    """
    settings = existing_feed(home)
    from sessrec_pipeline.storage.migration import migrate as move

    move(settings, say)
    store_of(settings).mend(lambda line: say(line, err=True))
