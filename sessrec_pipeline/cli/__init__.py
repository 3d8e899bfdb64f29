"""The ``sessrec`` command: what people and CI jobs do with a feed without opening the UI.

A module for each group of commands. They import at the top only what costs next to nothing: `sessrec --help` must not
wait for pyarrow, and `sessrec recommend` not for Dagster.
"""

from pathlib import Path
from typing import Any

import click

from sessrec_pipeline.cli import catalog, logs, results, run, study
from sessrec_pipeline.cli.common import Failure, silence_exit


class Commands(click.Group):
    """Commands whose expected errors end in their sentence, not in a traceback."""

    def invoke(self, context: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(context)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            from sessrec_pipeline.storage.files import DamagedFileError
            from sessrec_pipeline.storage.warehouse import WarehouseBusyError
            from sessrec_pipeline.tuning.trials import StudyError

            if isinstance(error, DamagedFileError | WarehouseBusyError | StudyError):
                raise Failure(str(error)) from error
            raise


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sessrec_pipeline")
@click.option(
    "--home",
    type=click.Path(path_type=Path),
    help="Folder of the feed (default: $SESSREC_HOME, else data/ once it has logs or a sessrec.toml, else data/demo).",
)
@click.pass_context
def main(context: click.Context, home: Path | None) -> None:
    """Session logs in, ranked next-item recommenders out."""
    context.obj = home
    silence_exit()


for command in (
    run.demo,
    run.materialize,
    run.dev,
    run.check,
    results.lineage,
    results.recommend,
    study.reproduce,
    study.studies,
    study.search,
    logs.describe,
    logs.prune,
    catalog.rebuild_catalog,
):
    main.add_command(command)
