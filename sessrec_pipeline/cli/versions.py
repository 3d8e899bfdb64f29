"""Commands about the versions that the store keeps: versions, restore, migrate."""

from pathlib import Path

import click

from sessrec_pipeline.cli.common import Failure, existing_feed, find_asset, print_table, store_of


@click.command()
@click.argument("asset", required=False)
@click.option("--partition", help="Only this partition of ASSET.")
@click.option("--sql", is_flag=True, help="Print only what DuckDB reads the current rows of ASSET from.")
@click.pass_obj
def versions(home: Path | None, asset: str | None, partition: str | None, sql: bool) -> None:
    """The versions of ASSET, or of all tables and models, that are kept, the newest first.

    `duckdb -c "FROM $(sessrec versions metrics --sql)"` reads the current version's files, all partitions together.
    """
    settings = existing_feed(home)
    if asset is None and (partition is not None or sql):
        raise Failure("--partition and --sql are about one ASSET: name it")
    listed = store_of(settings).versions(asset, partition, lambda damage: click.echo(f"left out: {damage}", err=True))
    if asset is not None and not listed:
        if partition is not None:
            raise Failure(f"{asset} has no partition {partition!r}")
        raise Failure(f"{asset} is a page, of which one version is kept: {find_asset(store_of(settings), asset).path}")
    if sql:
        paths = ["'" + str(v.stored.path).replace("'", "''") + "'" for v in listed if v.current]
        click.echo(f"read_parquet([{', '.join(paths)}], hive_partitioning = false)")
        return
    rows = []
    for v in listed:
        node = v.stored.node
        name = node.asset if node.partition is None else f"{node.asset}[{node.partition}]"
        count, size = "" if node.rows is None else f"{node.rows:,}", f"{v.stored.path.stat().st_size:,}"
        marks = " ".join(["current"] * v.current + ["pinned"] * v.pinned)
        rows.append(
            [name, node.data_version[:12], node.created_at, node.code_version, count, size, node.run_id[:8], marks]
        )
    print_table(["asset", "version", "when", "code", "rows", "bytes", "run", ""], rows)


@click.command()
@click.argument("asset")
@click.argument("version")
@click.option("--partition", help="Partition, for an asset that has them.")
@click.pass_obj
def restore(home: Path | None, asset: str, version: str, partition: str | None) -> None:
    """Make VERSION, or the one that begins so, the current version of ASSET again, once it is verified.

    What rests on ASSET is out of date then, and made again by the next `sessrec materialize`; ASSET itself too, if it
    was made with other inputs, settings or code than now.
    """
    settings = existing_feed(home)
    from sessrec_pipeline.storage.store import UnknownVersionError

    try:
        stored = store_of(settings).restore(asset, version, partition)
    except UnknownVersionError as error:
        raise Failure(str(error)) from None
    click.echo(
        f"restored {asset} {stored.node.data_version[:12]} of {stored.node.created_at}. Where it was made with other "
        "inputs, settings or code than now, the next `sessrec materialize` makes it anew"
    )


@click.command()
@click.pass_obj
def migrate(home: Path | None) -> None:
    """Bring a home that an earlier version made to today's layout of files; stop what works on it first.

    Files are verified and renamed, none is copied. A command that was stopped goes on where it was.
    """
    settings = existing_feed(home)
    from sessrec_pipeline.storage.migration import migrate as move

    move(settings, click.echo)
    store_of(settings).mend(lambda line: click.echo(line, err=True))
