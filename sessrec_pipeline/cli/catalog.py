"""Commands about the warehouse: rebuild-catalog."""

from pathlib import Path

import click

from sessrec_pipeline.cli.common import existing_feed, store_of


@click.command("rebuild-catalog")
@click.pass_obj
def rebuild_catalog(home: Path | None) -> None:
    """Make the warehouse anew from the files of the lake (lineage, fitted tables, metrics)."""
    settings = existing_feed(home)
    count = store_of(settings).rebuild_catalogue(lambda damage: click.echo(f"left out: {damage}", err=True))
    click.echo(f"{count} artefacts entered into {settings.warehouse}")
