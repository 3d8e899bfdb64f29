"""What the commands share: finding the feed, ending in a sentence, printing tables."""

import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sessrec_pipeline.caches import matplotlib_cache

if TYPE_CHECKING:
    from sessrec_pipeline.settings import Settings
    from sessrec_pipeline.storage.store import Store, Stored

TABLE_WIDTH = 120
RIGHTS = "give this user the rights to it, or name another --home"


class Failure(click.ClickException):
    """A sentence for the person at the terminal; exit code 2."""

    exit_code = 2


def settings_of(home: Path | None) -> "Settings":
    """The settings of the feed in ``home``, which the environment names from now on; Failure where they are wrong."""
    from sessrec_pipeline.feed import load_settings
    from sessrec_pipeline.settings import SettingsError

    try:
        settings = load_settings(home)
    except SettingsError as error:
        raise Failure(str(error)) from None
    if quoted := re.search("%[0-9A-Fa-f]{2}", str(settings.home)):
        raise Failure(
            f"the home {settings.home} holds {quoted[0]}, which Dagster's database takes for another character; "
            "rename the folder"
        )
    # The code location is imported by name, here and in every step process, and finds the feed by this.
    os.environ["SESSREC_HOME"] = str(settings.home)
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)
    matplotlib_cache()
    return settings


def existing_feed(home: Path | None) -> "Settings":
    """The settings of a feed that has results; a mistyped home is not made."""
    settings = _found(home, "nothing is materialized in")
    if not settings.lake.is_dir():
        raise Failure(f"nothing is materialized in {settings.home}; run `sessrec materialize`, or name another --home")
    return settings


def begun_feed(home: Path | None) -> "Settings":
    """The settings of a home that somebody made; neither a mistyped name nor a folder of other things becomes one."""
    settings = _found(home, "there is no feed in")
    if not any(path.exists() for path in (settings.landing, settings.lake, settings.home / "sessrec.toml")):
        raise Failure(f"no log has landed: put logs into {settings.landing}, or name another --home")
    return settings


def _found(home: Path | None, problem: str) -> "Settings":
    """The settings of a home that is there; else a Failure that begins with the ``problem`` and says what to do."""
    named = home is not None or bool(os.environ.get("SESSREC_HOME"))
    settings = settings_of(home)
    folder = settings.home
    if folder.is_dir():
        return settings
    if not named:
        raise Failure(
            f"{problem} {Path.cwd()}: put logs into {Path('data', 'landing').resolve()}, run `sessrec demo` for a feed "
            "to try, or name a feed's folder with --home"
        )
    if folder.exists():
        raise Failure(f"{problem} {folder}: it is a file; --home and SESSREC_HOME name a feed's folder")
    siblings = [path.name for path in folder.parent.iterdir() if path.is_dir()] if folder.parent.is_dir() else []
    near = difflib.get_close_matches(folder.name, siblings, 1)
    meant = f" (did you mean {folder.parent / near[0]}?)" if near else ""
    raise Failure(f"{problem} {folder}: there is no such folder{meant}")


def kept_from(settings: "Settings") -> Path | None:
    """The home, or the first of what is in it, that this user may not write; logs need only be read."""
    home, dagster = settings.home, settings.dagster_home
    if not os.access(home, os.W_OK | os.X_OK):
        return home
    inside = [*home.iterdir(), *(dagster.iterdir() if dagster.is_dir() else [])]
    needed = [path for path in inside if path.is_dir() or path.suffix in (".duckdb", ".lock")]
    return next((path for path in sorted(needed) if path != settings.landing and not os.access(path, os.W_OK)), None)


def prepare_home(settings: "Settings") -> None:
    """Make folders and Dagster's configuration, and remove what processes that died left behind.

    Failure where this user may not write.
    """
    from importlib.resources import files

    from sessrec_pipeline.storage.files import replacing

    if settings.home.exists() and (path := kept_from(settings)):
        raise Failure(
            f"user {os.getuid()} may not write {path}: a feed's home must be writable for whoever works on it; {RIGHTS}"
        )
    store = store_of(settings)  # refuses a home of an earlier layout before anything is written
    settings.landing.mkdir(parents=True, exist_ok=True)
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    shipped = (files("sessrec_pipeline") / "dagster.yaml").read_text(encoding="utf-8")
    config = settings.dagster_home / "dagster.yaml"
    if not config.exists():
        with replacing(config) as temporary:
            temporary.write_text(shipped, encoding="utf-8")
    store.mend(lambda line: click.echo(line, err=True))


def store_of(settings: "Settings") -> "Store":
    """The store of a feed."""
    from sessrec_pipeline.storage.store import Store

    return Store(settings)


def find_asset(store: "Store", asset: str) -> "Stored":
    """The current version of ``asset``; Failure where there is none."""
    from sessrec_pipeline.storage.store import NotMaterializedError

    try:
        return store.find(asset)
    except NotMaterializedError as error:
        raise Failure(str(error)) from None


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns, each as wide as its widest cell."""
    widths = [max(len(str(line[i])) for line in [header, *rows]) for i in range(len(header))]
    for line in [header, ["-" * width for width in widths], *rows]:
        click.echo("  ".join(str(cell).ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def shortened(value: Any, longest: int = 60) -> str:
    """``value`` as text of at most ``longest`` characters."""
    text = str(value)
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def write_file(path: Path, content: bytes) -> None:
    """Write what the person asked for, and the folders above it; Failure where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}") from None
