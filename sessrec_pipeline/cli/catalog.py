"""Commands about what a home holds: verify, rebuild-catalog."""

import sys
from pathlib import Path

import click

from sessrec_pipeline.cli.common import existing_feed, prepare_home, store_of


@click.command("rebuild-catalog")
@click.pass_obj
def rebuild_catalog(home: Path | None) -> None:
    """Make the warehouse anew from the files of the lake (lineage, fitted tables, metrics)."""
    settings = existing_feed(home)
    count = store_of(settings).rebuild_catalogue(lambda damage: click.echo(f"left out: {damage}", err=True))
    click.echo(f"{count} artefacts entered into {settings.warehouse}")


@click.command()
@click.option("--repair", is_flag=True, help="Set aside what is damaged, and make anew what needs no materializing.")
@click.pass_obj
def verify(home: Path | None, repair: bool) -> None:
    """Read every file of the home and say what is damaged, gone or not entered; exit code 1 where anything is.

    Without --repair nothing is changed.
    """
    settings = existing_feed(home)
    from assets.instance import damage_of
    from sessrec_pipeline.progress import progress_bar
    from sessrec_pipeline.storage.verification import damaged_files, problems

    if repair:
        from assets.instance import open_instance

        store = store_of(settings)
        with progress_bar("repairing", "B") as progress:
            for damage in list(damaged_files(store, progress)):
                click.echo(store.set_aside(damage), err=True)
        prepare_home(settings)
        with open_instance(settings, lambda line: click.echo(line, err=True)):
            pass
    with progress_bar("verifying", "B") as progress:
        found = list(problems(store_of(settings), progress))
    if settings.dagster_home.exists() and (unreadable := damage_of(settings)):
        found.append(unreadable)
    for problem in found:
        click.echo(problem)
    if found:
        advice = "" if repair else "; `sessrec verify --repair` sets right what it can, `sessrec materialize` the rest"
        click.echo(f"{len(found):,} problem{'' if len(found) == 1 else 's'}{advice}", err=True)
        sys.exit(1)
    click.echo("every file is what was written, and all that was published is there")
