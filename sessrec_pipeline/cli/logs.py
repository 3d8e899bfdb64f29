"""Commands about logs: describe, init, prune, withdraw."""

import os
import shlex
import sys
from pathlib import Path

import click

from sessrec_pipeline.cli.common import Failure, existing_feed, prepare_home, store_of, write_file
from sessrec_pipeline.text import about, counted, did_you_mean, say


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
def describe(file: Path) -> None:
    """What FILE looks like, the [logs] that would read it, and what would become of its rows.

    Exit code 1 when it could not be read so, 2 when there is no such file.
    """
    from sessrec_pipeline.logs.describe import describe as described
    from sessrec_pipeline.logs.gate import LogRefusedError

    try:
        lines, readable = described(file)
    except LogRefusedError as error:
        raise Failure(str(error)) from None
    say("\n".join(lines))
    if not readable:
        sys.exit(1)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace a sessrec.toml that is there.")
@click.pass_obj
def init(home: Path | None, file: Path, force: bool) -> None:
    """Begin a feed with logs such as FILE: write the sessrec.toml that `sessrec describe` proposes, make landing/.

    The home is --home, else $SESSREC_HOME, else data/. FILE stays where it is.
    """
    from sessrec_pipeline.logs.describe import describe as described
    from sessrec_pipeline.logs.describe import proposed
    from sessrec_pipeline.logs.gate import LogRefusedError

    folder = (home or Path(os.environ.get("SESSREC_HOME") or "data")).expanduser()
    target = folder / "sessrec.toml"
    try:
        lines, readable = described(file)
    except LogRefusedError as error:
        raise Failure(str(error)) from None
    if target.exists() and not force:
        raise Failure(f"{target} is there already and stays as it is; --force replaces it by what {file} asks for")
    text = proposed(lines)
    if text is None or not readable:
        say("\n".join(lines))
        raise Failure(f"nothing was written: no settings are known that read {file}")
    replaced = target.exists()
    write_file(target, text.encode())
    (folder / "landing").mkdir(exist_ok=True)
    say(f"{'replaced' if replaced else 'wrote'} {target}:\n\n{text}")
    for line in lines:
        if line.startswith(("note: ", "warning: ")):
            say(line)
    sessrec = "sessrec" if home is None else f"sessrec --home {shlex.quote(str(home))}"
    landed = file.resolve().parent == (folder / "landing").resolve()
    copy = "" if landed else f"cp {shlex.quote(str(file))} {shlex.quote(str(folder / 'landing'))}/ && "
    say(f"next: {copy}{sessrec} materialize")


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.pass_obj
def prune(home: Path | None, dry_run: bool) -> None:
    """Delete ingested logs that are older than [sessions] window_days, that nothing rests on, and whose file is gone.

    Files in the landing folder are never touched: move a log away from there first.
    """
    settings = existing_feed(home)
    if settings.sessions.window_days is None:
        raise Failure("[sessions] window_days is not set in sessrec.toml: every ingested log is needed")
    prepare_home(settings)
    from assets.instance import open_instance
    from assets.runs import prune as delete
    from sessrec_pipeline.storage.retention import prunable

    store = store_of(settings)
    with open_instance(settings) as instance:
        known = store.logs()
        logs = [log for log, _ in prunable(settings, store)] if dry_run else delete(settings, store, instance)
    for log in logs:
        say(log)
    done = "would be deleted" if dry_run else "deleted"
    say(f"{done}: {len(logs) or 'none'} of {counted(len(known), 'ingested log')}", err=True)


@click.command()
@click.argument("logs", nargs=-1, required=True)
@click.option("--why", default="", help="The reason, which the lineage keeps with your name.")
@click.option("--undo", is_flag=True, help="Read them again, as they lie in the landing folder or are kept.")
@click.pass_obj
def withdraw(home: Path | None, logs: tuple[str, ...], why: str, undo: bool) -> None:
    """Take the rows of LOGS out of everything that is made from them; of withdrawn logs, change the reason.

    Their files stay where they are, and are not taken again until they change. What was made from them is out of date,
    and `sessrec materialize` makes it again without them. Earlier versions of it keep their rows until [storage]
    keep_versions deletes them.
    """
    settings = existing_feed(home)
    store = store_of(settings)
    from sessrec_pipeline.storage.withdrawal import withdrawn_logs

    there = list(store.partitions("raw_sessions"))
    gone = [log for log in store.gone_logs(there) if log in logs and log not in there]
    withdrawn = withdrawn_logs(store)
    known = withdrawn if undo else [*there, *gone, *withdrawn]
    if unknown := [log for log in logs if log not in known]:
        raise Failure(
            f"{unknown[0]} is not {'withdrawn' if undo else 'ingested'}{did_you_mean(unknown[0], known)}; "
            "`sessrec versions raw_sessions` lists all logs"
        )
    prepare_home(settings)
    if not undo:
        if gone:
            store.give_up(gone)
            say(f"{', '.join(gone)}: gone, and given up")
        already = [log for log in logs if log in withdrawn and not (why and log in there)]
        if already:
            say(f"{', '.join(already)}: withdrawn already{', and lost: no other reason can be kept' if why else ''}")
        logs = tuple(log for log in logs if log not in (*gone, *already))
    if not logs:
        return
    from assets.instance import open_instance
    from assets.runs import withdraw as take_out

    with open_instance(settings) as instance:
        failed = take_out(settings, instance, logs, why=why, undo=undo)
    if failed:
        raise Failure("\n".join(about(log, text) for log, text in failed.items()))
    explained = [] if undo else [log for log in logs if log in withdrawn]
    if explained:
        say(f"{', '.join(explained)}: withdrawn already; the reason is {why!r} from now on")
    if changed := [log for log in logs if log not in explained]:
        done = "taken again" if undo else "withdrawn"
        say(f"{', '.join(changed)}: {done}; `sessrec materialize` rebuilds what that changes")
