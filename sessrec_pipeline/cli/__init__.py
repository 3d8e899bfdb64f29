"""The ``sessrec`` command: what people and CI jobs do with a feed without opening the UI.

A module for each group of commands. They import at the top only what costs next to nothing: `sessrec --help` must not
wait for pyarrow, and `sessrec recommend` not for Dagster.
"""

import atexit
import errno
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from sessrec_pipeline.cli import backup, catalog, history, logs, recommend, results, run, study, versions
from sessrec_pipeline.cli.common import RIGHTS, Failure
from sessrec_pipeline.stopping import heed_signals, in_a_thread

ROOM = "make room, and run the same command again to go on"
FOLDER = "there must be a folder; name another --home"
WHAT_TO_DO = {
    errno.EACCES: RIGHTS,
    errno.EPERM: RIGHTS,
    errno.EROFS: RIGHTS,
    errno.ENOSPC: ROOM,
    errno.EDQUOT: ROOM,
    errno.EEXIST: FOLDER,
    errno.ENOTDIR: FOLDER,
    errno.ENAMETOOLONG: "give the home a shorter path",
}
"""What the person at the terminal can do about errors of the operating system; the others are faults of ours."""


class Commands(click.Group):
    """Commands whose expected errors end in their sentence, not in a traceback."""

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

    def invoke(self, context: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(context)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            from sqlalchemy.exc import OperationalError

            from sessrec_pipeline.storage.files import DamagedFileError, OtherVersionError
            from sessrec_pipeline.storage.owners import BusyError
            from sessrec_pipeline.tuning.trials import TuningDatabaseError

            if isinstance(error, DamagedFileError | BusyError | OtherVersionError | TuningDatabaseError):
                raise Failure(str(error)) from error
            if isinstance(error, OSError) and error.errno in WHAT_TO_DO:
                place = f"{os.fsdecode(error.filename)}: " if error.filename else ""
                raise Failure(f"{place}{error.strerror}; {WHAT_TO_DO[error.errno]}") from error
            if isinstance(error, OperationalError):  # a full disk, missing rights
                raise Failure(f"Dagster's database in {os.environ['DAGSTER_HOME']}: {error.orig}") from error
            raise


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sessrec_pipeline")
@click.option(
    "--home",
    type=click.Path(path_type=Path, readable=False),  # what cannot be read is told in our own words
    help="Folder of the feed (default: $SESSREC_HOME, else data/ once it has logs or a sessrec.toml, else data/demo).",
)
@click.pass_context
def main(context: click.Context, home: Path | None) -> None:
    """Session logs in, ranked next-item recommenders out."""
    context.obj = home


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
