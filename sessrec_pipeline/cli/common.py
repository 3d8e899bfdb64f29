"""What the commands share: finding the feed, ending in a sentence, printing tables."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from sessrec_pipeline.settings import Settings
    from sessrec_pipeline.storage.store import Store, Stored

TABLE_WIDTH = 120


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
    # The code location is imported by name, here and in every step process, and finds the feed by this.
    os.environ["SESSREC_HOME"] = str(settings.home)
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)
    return settings


def existing_feed(home: Path | None) -> "Settings":
    """The settings of a feed that has results; a mistyped home is not made."""
    settings = settings_of(home)
    if not settings.lake.is_dir():
        raise Failure(f"nothing is materialized in {settings.home}; run `sessrec materialize`, or name another --home")
    return settings


def prepare_home(settings: "Settings") -> None:
    """Make folders and Dagster's configuration, and remove what processes that died left behind."""
    from importlib.resources import files

    store = store_of(settings)  # refuses a home of an earlier layout before anything is written
    settings.landing.mkdir(parents=True, exist_ok=True)
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    shipped = (files("sessrec_pipeline") / "dagster.yaml").read_text(encoding="utf-8")
    config = settings.dagster_home / "dagster.yaml"
    if not config.exists():
        config.write_text(shipped, encoding="utf-8")
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
