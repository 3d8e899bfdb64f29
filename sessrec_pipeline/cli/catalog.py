"""Commands about what a home holds: verify, rebuild-catalog."""

import sys
from pathlib import Path

import click

from sessrec_pipeline.cli.common import kept_from, prepare_home, readable_feed, store_of
from sessrec_pipeline.text import say


@click.command("rebuild-catalog")
@click.pass_obj
def rebuild_catalog(home: Path | None) -> None:
    """Make the warehouse anew from the files of the lake (lineage, fitted tables, metrics)."""
    settings = readable_feed(home)
    count = store_of(settings).rebuild_catalogue(lambda damage: say(f"left out: {damage}", err=True))
    say(f"{count} artefacts entered into {settings.warehouse}")


@click.command()
@click.option("--repair", is_flag=True, help="Set aside what is damaged, and make anew what needs no materializing.")
@click.pass_obj
def verify(home: Path | None, repair: bool) -> None:
    """Read every file of the home and say what is damaged, gone or not entered; exit code 1 where anything is.

    Without --repair nothing is changed.
    """
    settings = readable_feed(home)
    from assets.instance import damage_of
    from sessrec_pipeline.progress import progress_bar
    from sessrec_pipeline.storage.verification import damaged_files, problems

    if repair:
        from assets.instance import open_instance

        store = store_of(settings)
        with progress_bar("repairing", "B") as progress:
            for damage in list(damaged_files(store, progress)):
                say(store.set_aside(damage), err=True)
        prepare_home(settings)
        with open_instance(settings, lambda line: say(line, err=True)):
            pass
    with progress_bar("verifying", "B") as progress:
        found = list(problems(store_of(settings), progress))
    if kept_from(settings):  # Dagster opens its databases for writing
        say("Dagster's memory of runs is left out, for this user may not write it", err=True)
    elif settings.dagster_home.exists() and (unreadable := damage_of(settings)):
        found.append(unreadable)
    for problem in found:
        say(problem)
    if found:
        advice = "" if repair else "; `sessrec verify --repair` sets right what it can, `sessrec materialize` the rest"
        say(f"{len(found):,} problem{'' if len(found) == 1 else 's'}{advice}", err=True)
        sys.exit(1)
    say("every file is what was written, and all that was published is there")
