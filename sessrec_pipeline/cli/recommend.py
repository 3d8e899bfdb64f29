"""sessrec recommend: the next items of anonymous sessions."""

import csv
import difflib
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sessrec_pipeline.cli.common import (
    Failure,
    existing_feed,
    find_asset,
    print_table,
    store_of,
    wide_option,
)
from sessrec_pipeline.text import did_you_mean, say, say_json

if TYPE_CHECKING:
    from sessrec_pipeline.models.base import Card, Recommender
    from sessrec_pipeline.settings import LogSettings, Settings
    from sessrec_pipeline.storage.store import Store, Stored

LOOKED_AT = 20_000
"""Most popular items among which one like an unknown one is looked for."""
BY_POPULARITY = "by popularity"
FILE = re.compile(rf"{re.escape(os.sep)}|\.(txt|[ct]sv|lst|list|ids|json|jsonl|parquet|xlsx?)$", re.IGNORECASE)
"""What looks like the name of a file."""


@dataclass(frozen=True)
class Asked:
    """A session to answer: its name, None for the one of ``--items``, and its items as far as the model knows them."""

    name: str | None
    known: list[int]
    unknown: list[str]


@dataclass(frozen=True)
class Row:
    """An item of a list. ``share`` is None for a model that has none; ``padded``: ranked by popularity alone."""

    item: str
    share: float | None
    padded: bool


@click.command()
@click.option("--items", multiple=True, help="Items of the session so far, the oldest first: with commas between, one "
              "--items each, or - for one a line from stdin. An id with a comma stands in double quotes.")  # fmt: skip
@click.option("--sessions", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="File of sessions: a "
              "log as those of this feed; or a *.txt with the items of a session a line, commas between.")  # fmt: skip
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="How many items to recommend.")
@click.option("--model", help="Model of this feed that answers; by default the cheapest as good as the best.")
@click.option("--exclude-seen", is_flag=True, help="Leave out the items of the session itself.")
@click.option("--exclude", multiple=True, metavar="IDS", help="Leave out these: ids with commas between, or the name "
              "of a file with one a line.")  # fmt: skip
@click.option("--only", multiple=True, metavar="IDS", help="Choose from these alone, such as what is in stock; given "
              "as for --exclude.")  # fmt: skip
@click.option("--title", metavar="COLUMN", help="Show the last text that the logs have in this column for each item; "
              "one of [logs] extra_columns.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line for each session.")
@wide_option
@click.pass_obj
def recommend(
    home: Path | None,
    items: Sequence[str],
    sessions: Path | None,
    k: int,
    model: str | None,
    exclude_seen: bool,
    exclude: Sequence[str],
    only: Sequence[str],
    title: str | None,
    as_json: bool,
) -> None:
    """The next items of anonymous sessions.

    A share says how much of what the model goes by speaks for an item; what that is, a line on stderr says. Rows that
    popularity fills, because the model knows nothing for them, are marked.
    """
    if bool(items) == (sessions is not None):
        raise Failure("name the items of one session with --items, or a file of sessions with --sessions")
    settings = existing_feed(home)
    from sessrec_pipeline.training.fit import load_checkpoint

    store = store_of(settings)
    card, why = _choose(settings, store, model)
    stored = find_asset(store, card.checkpoint)
    checkpoint = stored.checkpoint()
    recommender = load_checkpoint(card, checkpoint)  # on the CPU: a few sessions are not worth waking a GPU for
    index = {item: i for i, item in enumerate(checkpoint.items)}
    given = [(None, _ids(items, index))] if sessions is None else _sessions_in(sessions, settings, index)
    if not any(ids for _, ids in given):
        raise Failure(f"{'--items' if sessions is None else sessions} names no item")
    asked = [
        Asked(name, [index[i] for i in ids if i in index], [i for i in ids if i not in index]) for name, ids in given
    ]
    _say_unknown([item for session in asked for item in session.unknown], checkpoint.items, "left out")
    empty = [session for session in asked if not session.known]
    if empty and len(empty) == len(asked):
        raise Failure("none of these items occurs in the training sessions of this feed: nothing can be recommended")
    if empty:
        say(f"{len(empty):,} of {len(asked):,} sessions have no other item, and get no list", err=True)
    allowed = _allowed(checkpoint.items, index, exclude, only)
    lists = list(_lists(card, recommender, checkpoint.items, [a.known for a in asked], k, allowed, exclude_seen))
    titles = {} if title is None else _titles(settings, store, title, {row.item for rows in lists for row in rows})
    say(why, err=True)
    if reason := _outdated(settings, store, stored):
        say(f"{card.name} is not up to date: {reason}; `sessrec materialize` makes it anew", err=True)
    if as_json:
        for session, rows in zip(asked, lists, strict=True):
            say_json(_answer(card, session, rows, None if title is None else titles))
        return
    shown = [
        [session.name, n, row.item, "" if row.share is None else _digits(row.share), titles.get(row.item, ""),
         BY_POPULARITY if row.padded else ""]
        for session, rows in zip(asked, lists, strict=True) for n, row in enumerate(rows, 1)
    ]  # fmt: skip
    columns = ["session", "rank", "item", "share", title or "", ""]
    there = [sessions is not None, True, True, card.share is not None, title is not None, any(r[-1] for r in shown)]
    print_table(
        [name for name, is_there in zip(columns, there, strict=True) if is_there],
        [[cell for cell, is_there in zip(row, there, strict=True) if is_there] for row in shown],
    )
    if card.share is not None:
        say(f"share: {card.share.meaning}", err=True)
    if there[-1]:
        say(f"{BY_POPULARITY}: {card.title} has nothing to go by for these items", err=True)


def _choose(settings: "Settings", store: "Store", model: str | None) -> tuple["Card[Any]", str]:
    """The model that answers, and a sentence that says why."""
    from sessrec_pipeline.feed import cards_of

    cards = {card.name: card for card in cards_of(settings)}
    if model is not None:
        if model not in cards:
            raise Failure(f"no model {model!r}{did_you_mean(model, cards)}; this feed has {', '.join(cards)}")
        return cards[model], f"by {model}, as asked"
    from sessrec_pipeline.evaluation.recommendation import recommended_by, sentence

    find_asset(store, "leaderboard")
    try:
        found = recommended_by(store, settings.evaluation)
    except KeyError:  # a column that is not there
        raise Failure(
            "what the models are compared by was made by an earlier version of sessrec: run `sessrec materialize`, or "
            "name a --model"
        ) from None
    return cards[found.model], f"by {sentence(found)}"


def _outdated(settings: "Settings", store: "Store", stored: "Stored") -> str | None:
    """Why the model is not what today's logs, settings and code would make."""
    from sessrec_pipeline.training.freshness import of_these_sources, outdated

    reason = outdated(store, stored)
    if reason is not None or of_these_sources(stored):
        return reason
    from assets.runs import stale  # which takes seconds, after an upgrade alone

    late = stale(settings, stored.node.asset)
    return None if late is None else f"the code of {late} changed since"


# --- what is asked ---------------------------------------------------------------------------------------------------


def _ids(values: Sequence[str], index: dict[str, int]) -> list[str]:
    """The ids in the values of an option."""
    from sessrec_pipeline.logs.ids import id_text

    found: list[str] = []
    for value in values:
        if value == "-":
            found += [line.rstrip("\r\n") for line in sys.stdin]
        elif id_text(value) in index:  # an id with a comma, as it stands in the catalogue
            found.append(value)
        else:
            found += next(csv.reader([value], skipinitialspace=True), [])
    return [text for text in map(id_text, found) if text]


def _sessions_in(path: Path, settings: "Settings", index: dict[str, int]) -> list[tuple[str | None, list[str]]]:
    """The sessions of a file by name, in the order of their first event."""
    if path.suffix == ".txt" and not _is_log(path, settings.logs):
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        return [(str(n), _ids([line], index)) for n, line in enumerate(lines, 1) if line.strip()]
    from sessrec_pipeline.logs.gate import LogRefusedError
    from sessrec_pipeline.logs.ingest import ingest_landed
    from sessrec_pipeline.storage.files import passing_folder

    with passing_folder("recommend") as folder:
        elsewhere = settings.model_copy(update={"home": folder})
        elsewhere.landing.mkdir()
        shutil.copyfile(path, elsewhere.landing / path.name)
        try:
            ingested = ingest_landed(elsewhere, path.name, lambda line: say(line, err=True))
        except LogRefusedError as error:
            raise Failure(f"{error}; sessions that are no log of this feed go into a *.txt, one a line") from None
        events = ingested.events.arrow()
    if bad := int(ingested.events.stats["quarantined"]):
        say(f"{bad:,} rows of {path.name} cannot be read and are left out", err=True)
    found: dict[str | None, list[str]] = {}
    events = events.sort_by([("time", "ascending"), ("line", "ascending")])
    for session, item in zip(events["session"].to_pylist(), events["item"].to_pylist(), strict=True):
        found.setdefault(session, []).append(item)
    return list(found.items())


def _is_log(path: Path, logs: "LogSettings") -> bool:
    """Whether the first line of a text file is that of a log of this feed."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        first = next((line for line in file if line.strip()), "")
    if logs.format not in ("tsv", "csv"):
        return logs.format == "jsonl" and first.lstrip().startswith("{")
    fields = next(csv.reader([first], delimiter=logs.separator), [])
    if logs.columns is None:
        return {logs.session, logs.item, logs.time} <= {field.strip() for field in fields}
    return logs.separator != "," and len(fields) == len(logs.columns)  # with commas it could be a list of ids as well


def _say_unknown(unknown: Iterable[str], items: Sequence[str], what: str) -> None:
    """Name the first of the ids that are not in the catalogue, and those that may be meant."""
    names = list(dict.fromkeys(unknown))
    if names:
        shown = ", ".join(f"{item}{_meant(item, items)}" for item in names[:5])
        more = f", and {len(names) - 5:,} more" if len(names) > 5 else ""
        say(f"not in the catalogue, {what}: {shown}{more}", err=True)


def _meant(item: str, items: Sequence[str]) -> str:
    """What may be meant: an item that differs in capitals, zeros or points, or is spelt nearly so; or several."""

    def bare(text: str) -> str:
        return "".join(c for c in text.casefold().removesuffix(".0") if c.isalnum()).lstrip("0")

    wanted = bare(item)
    near = next((other for other in items if wanted and bare(other) == wanted), None)
    if near is None and not item.isdigit():  # numbers that look alike have nothing in common
        near = next(iter(difflib.get_close_matches(item, items[:LOOKED_AT], 1, 0.8)), None)
    if near is None and any(part in items for part in re.split(r"[\s,;|]+", item) if part != item):
        return " (are these several ids? Put commas between them, or lines in a file of ids)"
    return "" if near is None else f" (did you mean {near}?)"


def _allowed(items: Sequence[str], index: dict[str, int], exclude: Iterable[str], only: Sequence[str]) -> Any:
    """Which items may be listed, bool (n_items,)."""
    import numpy as np

    from sessrec_pipeline.logs.ids import id_text

    def marked(option: str, values: Iterable[str]) -> Any:
        mask = np.zeros(len(index), dtype=bool)
        ids: list[str] = []
        for value in values:
            if value not in index and not _is_file(value) and FILE.search(value):
                raise Failure(f"{option} {value}: this is neither a file that is there nor an item of the catalogue")
            from_file = Path(value).read_text(encoding="utf-8-sig").splitlines() if _is_file(value) else None
            ids += _ids([value], index) if from_file is None else filter(None, map(id_text, from_file))
        mask[[index[item] for item in ids if item in index]] = True
        _say_unknown((item for item in ids if item not in index), items, f"of no effect in {option}")
        return mask

    allowed = ~marked("--exclude", exclude)
    if only:
        allowed &= marked("--only", only)
    if not allowed.any():
        raise Failure("--only and --exclude leave no item of the catalogue to recommend")
    return allowed


def _is_file(value: str) -> bool:
    try:
        return Path(value).is_file()
    except (OSError, ValueError):  # too long for a name
        return False


# --- the answer ------------------------------------------------------------------------------------------------------


def _lists(
    card: "Card[Any]",
    recommender: "Recommender",
    items: Sequence[str],
    sessions: Sequence[list[int]],
    k: int,
    allowed: Any,
    exclude_seen: bool,
) -> Iterator[list[Row]]:
    """The list of each session, the best item first; none for a session without items."""
    import numpy as np

    from sessrec_pipeline.evaluation.ranking import rows_at_once
    from sessrec_pipeline.models.base import Sessions, best_of

    batch = rows_at_once(len(items), 256)
    for start in range(0, len(sessions), batch):
        part = sessions[start : start + batch]
        rows = iter(recommender.score_last(Sessions.from_lists([session for session in part if session])))
        for session in part:
            if not session:
                yield []
                continue
            scores, mask = next(rows), allowed
            if exclude_seen:
                mask = allowed.copy()
                mask[session] = False
            free = np.flatnonzero(mask)
            best = free[best_of(scores[free], k)].tolist()
            shares = None if card.share is None else card.share(recommender, session, scores)
            yield [
                Row(items[i], None if shares is None else float(shares[i]), shares is not None and not bool(shares[i]))
                for i in best
            ]


def _digits(share: float) -> str:
    """Four decimals, and two digits of what is smaller than a hundredth."""
    return f"{share:.4f}" if share >= 0.01 else f"{share:.2g}"


def _titles(settings: "Settings", store: "Store", column: str, items: set[str]) -> dict[str, str]:
    """The last text of an extra column for each item that has one."""
    import duckdb

    from sessrec_pipeline.storage.sql import create_view, quoted

    kept = settings.logs.extra_columns
    if column not in kept:
        there = f"which keeps {', '.join(kept)}" if kept else "which keeps none"
        raise Failure(f"--title {column}: name a column of [logs] extra_columns, {there}, and materialize again")
    with duckdb.connect() as connection:
        create_view(
            connection, "logs", [stored.verified().path for stored in store.partitions("raw_sessions").values()]
        )
        rows = connection.execute(
            f"SELECT item, ARG_MAX({quoted(column)}, time) FROM logs WHERE item IN (SELECT UNNEST($items)) "
            f"AND TRIM({quoted(column)}) <> '' GROUP BY item",
            {"items": sorted(items)},
        ).fetchall()
    return dict(rows)


def _answer(card: "Card[Any]", session: Asked, rows: Sequence[Row], titles: dict[str, str] | None) -> dict[str, object]:
    return {
        "session": session.name,
        "model": card.name,
        "unknown": session.unknown,
        "items": [
            {
                "rank": n,
                "item": row.item,
                "share": row.share,
                "padded": row.padded,
                **({} if titles is None else {"title": titles.get(row.item)}),
            }
            for n, row in enumerate(rows, 1)
        ],
    }
