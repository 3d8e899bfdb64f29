"""Commands about copies of a home: backup, and what restore does with one."""

import errno
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from sessrec_pipeline.cli.common import Failure, existing_feed, prepare_home, settings_of, store_of
from sessrec_pipeline.text import counted, say


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--keep", type=click.IntRange(1), default=7, show_default=True, help="Backups that stay in DIR, the newest ones."
)
@click.option("--without-landing", is_flag=True, help="Leave out the files in landing/.")
@click.option("--check", is_flag=True, help="Read back also what was copied before, and copy it again where damaged.")
@click.pass_obj
def backup(home: Path | None, folder: Path, keep: int, without_landing: bool, check: bool) -> None:
    """Copy the home into DIR, as it is at this moment; runs may go on meanwhile.

    What is in DIR already is not copied again, and every byte that is copied is read back. The warehouse and Dagster's
    databases are left out: both are made again from the rest. `sessrec restore --backup DIR` makes a home of a backup.

    Exit code 1 when an earlier backup in DIR is damaged, 2 when none was made, such as of a damaged home.
    """
    settings = existing_feed(home)
    from sessrec_pipeline.progress import progress_bar
    from sessrec_pipeline.storage.backup import backup as copy

    store, target = store_of(settings), _absolute(folder)
    with _told(target, target), progress_bar("backing up", "B") as progress:
        made = copy(
            store,
            target,
            keep=keep,
            landing=not without_landing,
            check=check,
            progress=progress,
            report=lambda line: say(line, err=True),
        )
    files = made.snapshot.files
    size = sum(entry.bytes for entry in files.values())
    say(
        f"backed up {settings.home} into {target} as {made.snapshot.name}: {counted(len(files), 'file')}, {size:,} "
        f"bytes; {counted(made.new_files, 'file')}, {made.new_bytes:,} bytes of them were copied and read back"
    )
    if made.removed:
        say(f"removed {', '.join(made.removed)}: only the newest {keep} backups stay", err=True)
    for damage in made.unread:
        say(f"{damage}; or delete it. Until then nothing that an earlier backup holds is deleted", err=True)
    if made.unread:
        raise click.exceptions.Exit(1)


def restore_home(home: Path | None, folder: Path, snapshot: str | None) -> None:
    """Make a home of a backup, and all that is made from its files."""
    from sessrec_pipeline.progress import progress_bar
    from sessrec_pipeline.storage.backup import BackupError, Backups
    from sessrec_pipeline.storage.backup import restore as bring_back

    source = _absolute(folder)
    named = home or os.environ.get("SESSREC_HOME")
    target = _absolute(Path(named or "."))
    with _told(source, target):
        if not named:  # a default is no place for what is to be kept
            was = Backups.found(source).read(snapshot).home
            raise Failure(
                "name the home that is to be made: "
                f"sessrec --home {shlex.quote(was)} restore --backup {shlex.quote(str(source))} makes it where it was"
            )
        if target.exists() and not target.is_dir():
            raise BackupError(f"{target} is a file; --home and SESSREC_HOME name a feed's folder")
        with progress_bar("restoring", "B") as progress:
            done = bring_back(source, target, snapshot, progress)
    settings = settings_of(target)
    prepare_home(settings)
    say(
        f"restored {settings.home} from {source}: {counted(len(done.files), 'file')}, as {done.home} was at "
        f"{done.made_at}.\nWhat came later is not in it: land those logs again, and run `sessrec materialize`"
    )


def restore_missing(home: Path | None, folder: Path) -> None:
    """Bring back into a home what it has lost; exit code 1 where something is in no backup."""
    settings, source = existing_feed(home), _absolute(folder)
    from sessrec_pipeline.storage.backup import bring_back

    with _told(source, settings.home):
        back, lost = bring_back(source, store_of(settings))
    for name in back:
        say(f"brought back: {name}")
    for name in lost:
        say(f"in no backup: {name}", err=True)
    if lost:
        say("`sessrec materialize` makes again what is made from logs; logs must be landed again", err=True)
        raise click.exceptions.Exit(1)
    if not back:
        say(f"nothing that {settings.home} published is missing; `sessrec verify` also reads what is there")


def _absolute(path: Path) -> Path:
    return path.expanduser().resolve()


@contextmanager
def _told(folder: Path, written: Path) -> Iterator[None]:
    """Say in a sentence what goes wrong with a folder of backups, or as ``written`` is written to."""
    from sessrec_pipeline.storage.backup import BackupError

    try:
        yield
    except BackupError as error:
        raise Failure(str(error)) from None
    except OSError as error:
        place = written if error.filename is None else Path(os.fsdecode(error.filename))
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Failure(
                f"{written}: {error.strerror}; make room there, and run the same command again, which goes on. The "
                "backups that were complete are as they were"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and place.is_relative_to(folder):
            raise Failure(f"{place}: {error.strerror}; give this user the rights to it, or name another DIR") from error
        raise
