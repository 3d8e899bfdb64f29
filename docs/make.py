"""Fill the blocks of the documents, English and Spanish: tables of models and settings, and results of a feed.

    python docs/make.py                                                   # models, settings, search spaces
    sessrec --home data/demo demo && python docs/make.py data/demo        # the results of a materialized feed as well

A block stands between ``<!-- made by docs/make.py: NAME -->`` and ``<!-- made by docs/make.py: end -->``; what was in
it is replaced. Pages in docs/es and README.es.md are written in Spanish. Figures go to docs/images/LANGUAGE.
"""

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from inspect import cleandoc
from io import StringIO
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pyarrow as pa
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sessrec_pipeline.cli.run import print_leaderboard
from sessrec_pipeline.feed import cards_of, load_settings
from sessrec_pipeline.models.base import Choice, Span
from sessrec_pipeline.models.registry import CARDS
from sessrec_pipeline.report import figures
from sessrec_pipeline.report.ageing import ageing_figure, ageing_note
from sessrec_pipeline.report.collect import NEEDED, collect
from sessrec_pipeline.report.costs import cost_figure, cost_rows
from sessrec_pipeline.report.data import ReportData
from sessrec_pipeline.report.funnel import make_funnel
from sessrec_pipeline.report.looks import METRIC_NAMES
from sessrec_pipeline.report.protocol import protocol
from sessrec_pipeline.report.recommendation import cheaper_models, headline, how_surely, metric_text
from sessrec_pipeline.report.standings import ceiling, leaderboard_rows, tie_notes, tie_rows
from sessrec_pipeline.report.translation import gettext, using_language
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.store import NotMaterializedError, Store

DOCS = Path(__file__).parent
MARK = r"<!-- made by docs/make\.py: "
BLOCK = re.compile(rf"({MARK}(?!end)([a-z-]+) -->\n).*?({MARK}end -->)", re.DOTALL)


# --- what stands in the blocks: from the cards and the settings classes ----------------------------------------------


def models() -> str:
    """Each model with what it ranks by and its source."""
    heading = [gettext("Model"), gettext("Name"), gettext("It ranks by"), gettext("Source")]
    rows = [
        [f"`{card.name}`", gettext(card.title), markdown(gettext(card.summary)), gettext(card.source)]
        for card in CARDS
        if card.kind == "model"
    ]
    return table(heading, rows)


def spaces() -> str:
    """What tuning searches."""
    rows = [
        [f"`{card.name}`", "; ".join(f"`{name}` {searched(where)}" for name, where in card.space.items())]
        for card in CARDS
        if card.space
    ]
    return table([gettext("Model"), gettext("What is searched")], rows)


def shares() -> str:
    """What the shares of each model are shares of."""
    rows = [[f"`{card.name}`", markdown(gettext(card.share.meaning))] for card in CARDS if card.share]
    return table([gettext("Model"), gettext("The share of an item")], rows)


def searched(where: Span | Choice) -> str:
    """The values that a search may choose."""
    if isinstance(where, Choice):
        text = " | ".join(f"`{json.dumps(option)}`" for option in where.options)
    else:
        text = f"{where.low:,} … {where.high:,}"
    how = [gettext("logarithmic")] if isinstance(where, Span) and where.log else []
    how += [gettext("in steps of {step}", step=where.step)] if isinstance(where, Span) and where.step else []
    if where.when is not None:
        name, value = (f"`{part}`" for part in where.when)
        how.append(gettext("where {name} is {value}", name=name, value=value))
    return f"{text} ({', '.join(how)})" if how else text


def settings_of_the_feed() -> str:
    """Every core section, and the settings that stand above the first one."""
    sections = {name: model_in(field) for name, field in Settings.model_fields.items()}
    top = {name: field for name, field in Settings.model_fields.items() if sections[name] is None}
    heading = gettext("Above the first section")
    parts = [f"### {heading}\n\n{fields(top)}"]
    for name, section in sections.items():
        if section is not None:
            is_list = get_origin(Settings.model_fields[name].annotation) is list
            parts.append(described(f"[[{name}]]" if is_list else f"[{name}]", section))
    return "\n".join(parts)


def settings_of_models() -> str:
    """The section of every model."""
    return "\n".join(described(f"[{card.section}]", card.settings) for card in CARDS if card.kind == "model")


def described(heading: str, section: type[BaseModel]) -> str:
    """A section of ``sessrec.toml``, and the tables inside it."""
    text = f"### `{heading}`\n\n{markdown(cleandoc(section.__doc__ or ''))}\n"
    if section.model_fields:
        text += f"\n{fields(section.model_fields)}"
    for name, field in section.model_fields.items():
        if inner := model_in(field):
            whose = gettext("Each entry of {name}.", name=f"`{name}`")
            text += f"\n{whose} {markdown(cleandoc(inner.__doc__ or ''))}\n\n{fields(inner.model_fields)}"
    return text


def fields(of: dict[str, FieldInfo]) -> str:
    """Each field with its type, default and docstring."""
    heading = [gettext("Setting"), gettext("Type"), gettext("Default"), gettext("Meaning")]
    rows = [
        [f"`{name}`", f"`{type_of(field)}`", default_of(field), markdown(field.description or "")]
        for name, field in of.items()
    ]
    return table(heading, rows)


def default_of(field: FieldInfo) -> str:
    """As it would be written in TOML; nothing where there is no value."""
    if field.is_required():
        return gettext("required")
    value = field.get_default(call_default_factory=True)
    return "" if value is None else f"`{json.dumps(value, default=str)}`"


def type_of(field: FieldInfo) -> str:
    """Type and bounds, as in ``int >= 1``."""
    return " | ".join(_types(field.annotation, field.metadata))


def _types(annotation: Any, bounds: list[Any]) -> Iterator[str]:
    kind = get_origin(annotation)
    if kind is Annotated:
        inner, *more = get_args(annotation)
        yield from _types(inner, [*bounds, *(part for found in more for part in getattr(found, "metadata", [found]))])
    elif kind in (UnionType, Union):
        for part in get_args(annotation):
            if part is not NoneType:
                yield from _types(part, bounds)
    elif kind is Literal:
        yield from (json.dumps(option) for option in get_args(annotation))
    elif kind is list:
        yield f"list[{' | '.join(_types(get_args(annotation)[0], []))}]"
    elif kind is dict or is_model(annotation):
        yield "table"
    else:
        name = annotation.__name__ if annotation in (bool, int, float) else "str"
        signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
        found = [f"{sign} {getattr(b, key)}" for key, sign in signs.items() for b in bounds if hasattr(b, key)]
        yield " ".join([name, ", ".join(found)]).strip()


def is_model(annotation: object) -> bool:
    """Whether a type is a table of settings."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def model_in(field: FieldInfo) -> type[BaseModel] | None:
    """The class of a field that is a table, or a list of tables."""
    found = [part for part in (field.annotation, *get_args(field.annotation)) if is_model(part)]
    return found[0] if found else None


def markdown(docstring: str) -> str:
    """A docstring as Markdown, on one line for each paragraph."""
    paragraphs = [" ".join(part.split()) for part in docstring.split("\n\n")]
    parts = re.split(r"(``.*?``)", "\n\n".join(paragraphs))
    return "".join(
        part[1:-1] if part.startswith("``") else re.sub(r"[*<]", lambda c: f"\\{c[0]}", part) for part in parts
    )


# --- what stands in the blocks: results of a feed --------------------------------------------------------------------


def answers(data: ReportData) -> str:
    """Which model to take, how surely, what the ceiling is, what cheaper models give up, how long a training lasts."""
    said = [headline(data), *how_surely(data), ceiling(data), " ".join(cheaper_models(data)), ageing_note(data)]
    return "".join(f"- {sentence}\n" for sentence in said if sentence)


def leaderboard(data: ReportData) -> str:
    """Each model with its metrics and their intervals at the largest cutoff."""
    at_k = [n for n in range(len(METRIC_NAMES) * len(data.cutoffs)) if (n + 1) % len(data.cutoffs) == 0]
    heading = [
        gettext("Model"),
        *[f"{name}@{data.k}" for name in METRIC_NAMES.values()],
        gettext("Distinguishable from the best"),
    ]
    rows = [
        [
            row.name,
            *[row.values[n].with_interval for n in at_k],
            (f"{mark} ({mark.text})" if mark.text else str(mark)) if (mark := row.marks[0]) else "–",  # noqa: RUF001
        ]
        for row in leaderboard_rows(data)
    ]
    return table(heading, rows)


def printed(data: ReportData) -> str:
    """The leaderboard as the command line prints it into a pipe."""
    told = StringIO()
    with redirect_stdout(told), redirect_stderr(told):
        print_leaderboard(pa.Table.from_pandas(data.leaderboard).to_pylist(), data.settings)
    return f"```\n{told.getvalue().strip()}\n```\n"


def ties(data: ReportData) -> str:
    """What the tie rule decides."""
    return "".join(f"- {note}\n" for note in tie_notes(tie_rows(data), data.tie_rule))


def costs(data: ReportData) -> str:
    """What each model costs."""
    heading = [
        gettext("Model"),
        gettext("Time to fit"),
        gettext("Time per prediction"),
        gettext("In memory"),
        gettext("On disk"),
    ]
    return table(heading, [[row.name, row.fit, row.predict, row.memory, row.size] for row in cost_rows(data)])


def funnel(data: ReportData) -> str:
    """Where every row of the logs went."""
    found = make_funnel(data)
    heading = [gettext("Step"), gettext("Events"), gettext("Of all rows")]
    rows = [
        [f"− {row.label}" if row.kind != "total" else f"**{row.label}**", f"{row.count:,}", found.share(row)]  # noqa: RUF001
        for row in found.rows
    ]
    return f"{table(heading, rows)}\n{found.sum_text}\n"


def how(data: ReportData) -> str:
    """The protocol, from the settings in force."""
    return "".join(f"- **{name}.** {text}\n" for name, text in protocol(data))


def table(heading: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


CARD_BLOCKS: dict[str, Callable[[], str]] = {
    "models": models,
    "spaces": spaces,
    "shares": shares,
    "settings": settings_of_the_feed,
    "settings-of-models": settings_of_models,
}
"""Blocks that need no feed."""
BLOCKS: dict[str, Callable[[ReportData], str]] = {
    "answers": answers,
    "leaderboard": leaderboard,
    "printed": printed,
    "ties": ties,
    "costs": costs,
    "funnel": funnel,
    "how": how,
}
FIGURES: dict[str, Callable[[ReportData], tuple[str, str]]] = {
    "figure-models": lambda data: (
        gettext("{metric}, best on top", metric=metric_text(data)),
        figures.model_comparison(data.leaderboard, *data.primary),
    ),
    "figure-costs": lambda data: (
        gettext("{metric} beside the time of a prediction", metric=metric_text(data)),
        cost_figure(data),
    ),
    "figure-ageing": lambda data: (gettext("Recall@{k} over the days since training", k=data.k), ageing_figure(data)),
    "figure-time": lambda data: (
        gettext("Events over time"),
        figures.events_over_time(data.times_us, data.boundary_us),
    ),
}
"""Title and drawing."""


# --- filling them ----------------------------------------------------------------------------------------------------


def pages() -> list[Path]:
    """Documents that have blocks."""
    found = sorted([*DOCS.glob("**/*.md"), *DOCS.parent.glob("README*.md")])
    return [page for page in found if BLOCK.search(page.read_text(encoding="utf-8"))]


def filled(page: Path, data: ReportData | None, images: Path) -> str:
    """The text of ``page`` with its blocks made anew; figures are written below ``images``.

    Without ``data`` the blocks with results stay as they are.
    """
    language = "es" if page.parent.name == "es" or page.name.endswith(".es.md") else "en"

    def block(found: re.Match[str]) -> str:
        name = found[2]
        if name in CARD_BLOCKS:
            text = CARD_BLOCKS[name]()
        elif data is None:
            return found[0]
        elif name in BLOCKS:
            text = BLOCKS[name](data)
        else:
            title, svg = FIGURES[name](data)
            path = images / language / f"{name.removeprefix('figure-')}.svg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(svg, encoding="utf-8")
            text = f"![{title}]({Path(os.path.relpath(path, page.parent)).as_posix()})\n"
        return f"{found[1]}\n{text}\n{found[3]}"

    with using_language(language):
        return BLOCK.sub(block, page.read_text(encoding="utf-8"))


def read(settings: Settings) -> ReportData:
    """What the feed's report tells. NotMaterializedError where something is not there."""
    store = Store(settings)
    trained = [card.checkpoint for card in cards_of(settings) if card.training]
    found = {name: store.find(name) for name in (*NEEDED, *trained)}
    nodes = found["sessions"].lineage.nodes
    logs = sorted(node.partition for node in nodes if node.asset == "raw_sessions" and node.partition is not None)
    raw, quarantine = ([store.find(name, log) for log in logs] for name in ("raw_sessions", "quarantine"))
    return collect(settings, found, raw, quarantine)


def main() -> None:
    """The command."""
    if len(sys.argv) > 2 or sys.argv[1:2] in (["-h"], ["--help"]):
        sys.exit("usage: python docs/make.py [HOME]")
    try:
        data = read(load_settings(Path(sys.argv[1]))) if len(sys.argv) > 1 else None
    except NotMaterializedError as error:
        sys.exit(f"{error}: run `sessrec --home {sys.argv[1]} materialize`")
    for page in pages():
        page.write_text(filled(page, data, DOCS / "images"), encoding="utf-8")
        print(page)


if __name__ == "__main__":
    main()
