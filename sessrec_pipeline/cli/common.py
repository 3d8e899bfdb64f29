"""What the commands share: finding the feed, ending in a sentence, printing tables."""

import difflib
import os
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sessrec_pipeline.caches import matplotlib_cache
from sessrec_pipeline.failures import RIGHTS
from sessrec_pipeline.text import did_you_mean, say, visible

if TYPE_CHECKING:
    from sessrec_pipeline.settings import Settings
    from sessrec_pipeline.storage.store import Store, Stored

TABLE_WIDTH = 100
"""Columns of a table that goes into a pipe or a file; in a terminal it is as wide as that."""
LEAST = 16
"""Characters to which the cells of a column are cut at most."""
NUMBER = re.compile(r"[-+]?[\d.,]+ ?%?( \[[-+\d., ]+\])?")
WIDE = "sessrec.wide"


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
    next(settings.lake.iterdir(), None)  # PermissionError, where patterns would find an empty lake
    return settings


def readable_feed(home: Path | None) -> "Settings":
    """``existing_feed`` for those who look at all of it: the OSError of the first folder that cannot be read."""
    settings = existing_feed(home)

    def refuse(error: OSError) -> None:
        raise error

    for _ in os.walk(settings.home, onerror=refuse):
        pass
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
            f"{problem} {Path.cwd()}: begin a feed with `sessrec init LOG`, or put logs into "
            f"{Path('data', 'landing').resolve()}; run `sessrec demo` for a feed to try; or name a feed's folder with "
            "--home"
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
    from sessrec_pipeline.storage.history import METRICS

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
    store.mend(lambda line: say(line, err=True))
    if store.has(METRICS):  # a run that died before it was remembered, or that was made before there was a history
        store.remember(store.find(METRICS))


def store_of(settings: "Settings") -> "Store":
    """The store of a feed."""
    from sessrec_pipeline.storage.store import Store

    return Store(settings)


def find_asset(store: "Store", asset: str) -> "Stored":
    """The current version of ``asset``; Failure where there is none, or no asset of this name."""
    from sessrec_pipeline.storage.store import NotMaterializedError

    try:
        return store.find(asset)
    except NotMaterializedError as error:
        from assets.graph import build

        known = {key.to_user_string() for key in build(store.settings).resolve_asset_graph().get_all_asset_keys()}
        if asset in known:
            raise Failure(str(error)) from None
        meant = did_you_mean(asset, store.names()) or did_you_mean(asset, known)
        raise Failure(f"this feed has no asset {asset!r}{meant}; `sessrec versions` lists what was made") from None


def _remember_wide(context: click.Context, option: click.Parameter, value: bool) -> None:
    context.meta[WIDE] = value


wide_option = click.option(
    "--wide", is_flag=True, expose_value=False, callback=_remember_wide, help="Print tables whole, however wide."
)
"""For every command that calls ``print_table``."""


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]], spare: Sequence[str] = ()) -> None:
    """Print columns, numbers to the right: by rich in a terminal, as plain text into a pipe.

    Without --wide, a table that is wider than the terminal (a pipe: 100 columns) does without the columns ``spare``,
    the first ones first, as far as needed; then its widest column of text is cut. A line says so.
    """
    table = [[" ".join(visible(str(cell)).split()) for cell in row] for row in rows]
    context, terminal = click.get_current_context(silent=True), sys.stdout.isatty()
    room = shutil.get_terminal_size((TABLE_WIDTH, 24)).columns if terminal else TABLE_WIDTH
    names, left_out = list(header), []
    if not (context and context.meta.get(WIDE)):
        for name in spare:
            if _width(names, table) > room and name in names:
                i = names.index(name)
                left_out.append(names.pop(i))
                table = [[*row[:i], *row[i + 1 :]] for row in table]
        table, cut = _cut(names, table, room)
        left_out += [f"the ends of {cut}"] if cut else []
    right = [_is_numeric([row[i] for row in table]) for i in range(len(names))]
    (_print_rich if terminal else _print_plain)(names, table, right)
    if left_out:
        say(f"(left out to fit {room} columns: {', '.join(left_out)}; --wide shows all)", err=True)


def _widths(names: Sequence[str], table: Sequence[Sequence[str]]) -> list[int]:
    return [max(len(line[i]) for line in [names, *table]) for i in range(len(names))]


def _width(names: Sequence[str], table: Sequence[Sequence[str]]) -> int:
    return sum(_widths(names, table)) + 2 * (len(names) - 1)


def _cut(names: Sequence[str], table: list[list[str]], room: int) -> tuple[list[list[str]], str]:
    """The table with its widest column cut so that it fits, and that column's name; "" where it fits already."""
    over, widths = _width(names, table) - room, _widths(names, table)
    widest = widths.index(max(widths))
    if over <= 0 or _is_numeric([row[widest] for row in table]):
        return table, ""
    longest = max(LEAST, widths[widest] - over)
    cut = [[*row[:widest], shortened(row[widest], longest), *row[widest + 1 :]] for row in table]
    return cut, names[widest] or "the first column"


def _is_numeric(cells: Sequence[str]) -> bool:
    """Whether a column holds numbers, with or without an interval, and nothing else but gaps."""
    found = [cell for cell in cells if cell not in ("", "-")]
    return bool(found) and all(NUMBER.fullmatch(cell) for cell in found)


def _print_plain(names: Sequence[str], table: Sequence[Sequence[str]], right: Sequence[bool]) -> None:
    widths = _widths(names, table)
    for line in [names, ["-" * width for width in widths], *table]:
        cells = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True)]
        say("  ".join(cells).rstrip())


def _print_rich(names: Sequence[str], table: Sequence[Sequence[str]], right: Sequence[bool]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for name, is_number in zip(names, right, strict=True):
        shown.add_column(Text(name), justify="right" if is_number else "left", no_wrap=True)
    for row in table:
        shown.add_row(*map(Text, row))
    Console(width=_width(names, table), highlight=False).print(shown)


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
