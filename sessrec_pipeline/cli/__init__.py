"""The ``sessrec`` command: what people and CI jobs do with a feed without opening the UI.

A module for each group of commands. They import at the top only what costs next to nothing: `sessrec --help` must not
wait for pyarrow, and `sessrec recommend` not for Dagster.
"""

import atexit
import errno
import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from sessrec_pipeline.cli import backup, catalog, history, logs, recommend, results, run, study, versions
from sessrec_pipeline.cli.common import Failure
from sessrec_pipeline.failures import WHOLE, sentence_of, too_little_address_space
from sessrec_pipeline.stopping import heed_signals, in_a_thread
from sessrec_pipeline.text import say

HEAVY = ("demo", "materialize", "dev", "reproduce", "studies", "search")
"""Commands that train and rank."""


class Commands(click.Group):
    """Commands whose errors end in a sentence, whatever they are, and not in a traceback."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run as the program, in a thread beside the main one, which ends it when it is told to (``stopping``).

        Once all is said, it ends without freeing its objects one by one.

        That would take as long as a short command itself, and with torch loaded DuckDB's bindings would print a page
        of leak warnings under the result. Threads have ended and files are closed by then.
        """
        code = 1

        def leave() -> None:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):  # a pipe that nobody reads any more
                    stream.flush()
            os._exit(code)

        atexit.register(leave)  # the first one that is registered is the last one to run
        heed_signals()
        try:
            in_a_thread(lambda: self.main(*args, **kwargs))
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
            raise

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command that was asked for, and end with its exit code."""
        try:
            code = super().main(*args, **kwargs | {"standalone_mode": False})
        except click.ClickException as error:
            text = io.StringIO()
            error.show(text)
            say(text.getvalue().rstrip("\n"), err=True)
            code = error.exit_code
        except click.Abort:
            code = 1
        except Exception as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:  # nobody reads what is printed any more
                sys.exit(1)
            say(f"Error: {sentence_of(error)}", err=True)
            code = 2
        sys.exit(code if isinstance(code, int) else 0)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sessrec_pipeline")
@click.option(
    "--home",
    type=click.Path(path_type=Path, readable=False),  # what cannot be read is told in our own words
    help="Folder of the feed (default: $SESSREC_HOME, else data/ once it has logs or a sessrec.toml, else data/demo).",
)
@click.option("--traceback", "whole", is_flag=True, help="Print the whole traceback of what goes wrong, too.")
@click.pass_context
def main(context: click.Context, home: Path | None, whole: bool) -> None:
    """Session logs in, ranked next-item recommenders out."""
    context.obj = home
    if whole:
        os.environ[WHOLE] = "1"
    if short := too_little_address_space(4 if context.invoked_subcommand in HEAVY else 2):
        raise Failure(short)


for command in (
    run.demo,
    run.materialize,
    run.dev,
    run.check,
    results.lineage,
    history.history,
    history.compare,
    recommend.recommend,
    study.reproduce,
    study.studies,
    study.search,
    logs.describe,
    logs.init,
    logs.prune,
    logs.withdraw,
    catalog.rebuild_catalog,
    catalog.verify,
    backup.backup,
    versions.versions,
    versions.restore,
    versions.pin,
    versions.migrate,
):
    main.add_command(command)
