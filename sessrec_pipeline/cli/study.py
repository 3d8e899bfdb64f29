"""Commands for slow experiments on a feed: reproduce, studies, search."""

import os
from collections.abc import Sequence
from pathlib import Path

import click

from sessrec_pipeline.cli.common import (
    Failure,
    existing_feed,
    find_asset,
    prepare_home,
    print_table,
    settings_of,
    store_of,
    wide_option,
    write_file,
)
from sessrec_pipeline.text import say


@click.command()
@click.argument("name")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder with the benchmark's raw files.")
@click.option(
    "--seeds", default=3, show_default=True, type=click.IntRange(min=1), help="Trainings of each trained model."
)
@wide_option
@click.pass_obj
def reproduce(home: Path | None, name: str, data: Path, seeds: int) -> None:
    """Run the public benchmark NAME from raw files to a table with published figures beside ours.

    Settings, model and report stand in data/reproduce/NAME; a run that was stopped goes on where it was.
    """
    home = (home or Path(os.environ.get("SESSREC_HOME") or f"data/reproduce/{name}")).expanduser().resolve()
    os.environ["SESSREC_HOME"] = str(home)  # the code location, imported by the next line, must not look elsewhere
    from assets import reproduce as benchmark

    try:
        recipe = benchmark.set_up(name, data, home)
        settings = settings_of(home)
        prepare_home(settings)
        from assets.instance import open_instance

        with open_instance(settings) as instance:
            table = benchmark.run(name, recipe, settings, instance, seeds)
    except benchmark.ReproductionError as error:
        raise Failure(str(error)) from None
    say(f"\n{name}: {recipe.title}")
    for heading, rows in benchmark.as_text(table.arrow(), settings):
        k = max(settings.evaluation.cutoffs)
        say(f"\n{heading}\n")
        print_table(["model", f"R@{k}", f"MRR@{k}", "source"], rows)
    say(f"\nTable:  reproduction in {settings.warehouse}\nReport: {settings.reports / 'report.html'}")


@click.command()
@click.argument("names", nargs=-1)
@click.option("--markdown", type=click.Path(path_type=Path, dir_okay=False), help="Write the findings, as a table.")
@wide_option
@click.pass_obj
def studies(home: Path | None, names: Sequence[str], markdown: Path | None) -> None:
    """Make the studies NAMES (default: all) on what is materialized; print their tables and findings.

    Exit code 2 when one of them could not be made.
    """
    settings = existing_feed(home)
    prepare_home(settings)
    from assets.instance import open_instance
    from assets.runs import run_studies
    from sessrec_pipeline.studies.register import studies_of
    from sessrec_pipeline.studies.tables import as_markdown, as_text

    known = {study.name: study for study in studies_of(settings)}
    if strange := [name for name in names if name not in known]:
        raise Failure(f"no study {strange[0]!r}; there are {', '.join(known)}")
    chosen = [study for name, study in known.items() if not names or name in names]
    with open_instance(settings) as instance:
        failed = run_studies(settings, instance, chosen, lambda line: say(line, err=True))
    if failed:
        raise Failure("\n".join(f"{step}: {reason}" for step, reason in failed.items()))
    found = [(study, find_asset(store_of(settings), study.asset).arrow().to_pandas()) for study in chosen]
    if markdown is not None:
        write_file(markdown, as_markdown(found).encode())
    for study, frame in found:
        say(f"\n{study.title}: {study.question}\n")
        print_table(*as_text(frame))
        say(f"\n{study.finding(frame)}")
    say(f"\nPage: {settings.reports / 'studies_report.html'}")


@click.command()
@click.argument("models", nargs=-1)
@click.pass_obj
def search(home: Path | None, models: Sequence[str]) -> None:
    """Take trials of the searches for the best settings of MODELS (default: all), until all trials are finished.

    For any number of processes, on every machine that sees the feed's home, beside `sessrec materialize` or before it.
    """
    settings = existing_feed(home)
    from assets.runs import stale
    from assets.search import take_part
    from sessrec_pipeline.storage.store import NotMaterializedError
    from sessrec_pipeline.tuning.trials import tuned_cards

    known = [card.name for card in tuned_cards(settings)]
    if not known:
        raise Failure("there is nothing to search: set [training] tuning_trials in sessrec.toml")
    if strange := [name for name in models if name not in known]:
        raise Failure(f"{strange[0]!r} has no search; there are {', '.join(known)}")
    if late := stale(settings, "tuning_test_split"):
        raise Failure(f"{late} is not up to date: `sessrec materialize tuning_test_split` makes what a search rests on")
    try:
        for model in take_part(settings, models or known, say):
            say(f"{model}: all {settings.training.tuning_trials} trials are finished")
    except NotMaterializedError as error:
        raise Failure(f"{error}: `sessrec materialize` makes it before it searches") from None
