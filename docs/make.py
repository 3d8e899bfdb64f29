"""Fill the result blocks of the documents, English and Spanish, from a materialized feed.

    sessrec --home data/demo demo && python docs/make.py data/demo

A block stands between ``<!-- made by docs/make.py: NAME -->`` and ``<!-- made by docs/make.py: end -->``; what was in
it is replaced. Pages in docs/es are written in Spanish. Figures go to docs/images/LANGUAGE.
"""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from sessrec_pipeline.feed import FeedSettings, load_settings
from sessrec_pipeline.report import figures
from sessrec_pipeline.report.ageing import ageing_figure, ageing_note
from sessrec_pipeline.report.costs import cost_figure, cost_rows
from sessrec_pipeline.report.data import ReportData
from sessrec_pipeline.report.enough import enough
from sessrec_pipeline.report.funnel import make_funnel
from sessrec_pipeline.report.gather import NEEDED, gather
from sessrec_pipeline.report.looks import METRIC_NAMES
from sessrec_pipeline.report.protocol import protocol
from sessrec_pipeline.report.standings import ceiling, headline, leaderboard_rows, tie_notes, tie_rows
from sessrec_pipeline.report.translation import gettext, using_language
from sessrec_pipeline.storage.store import NotMaterializedError, Store

DOCS = Path(__file__).parent
MARK = r"<!-- made by docs/make\.py: "
BLOCK = re.compile(rf"({MARK}(?!end)([a-z-]+) -->\n).*?({MARK}end -->)", re.DOTALL)


# --- what stands in the blocks ---------------------------------------------------------------------------------------


def answers(data: ReportData) -> str:
    """Who wins and how surely, what the ceiling is, when a simpler model is enough, how long a training lasts."""
    said = [headline(data), ceiling(data), " ".join(enough(data)), ageing_note(data)]
    return "".join(f"- {sentence}\n" for sentence in said if sentence)


def leaderboard(data: ReportData) -> str:
    """Each model with its metrics and their intervals at the largest cutoff."""
    at_k = [n for n in range(len(METRIC_NAMES) * len(data.cutoffs)) if (n + 1) % len(data.cutoffs) == 0]
    heading = [
        gettext("Model"),
        *[f"{name}@{data.k}" for name in METRIC_NAMES.values()],
        f"{gettext('Told from')} {gettext('best')}",
    ]
    rows = [
        [
            row.name,
            *[row.values[n].with_interval for n in at_k],
            f"{mark} ({mark.text})" if (mark := row.marks[0]) else "–",  # noqa: RUF001 - a dash for nothing
        ]
        for row in leaderboard_rows(data)
    ]
    return table(heading, rows)


def ties(data: ReportData) -> str:
    """What the tie rule decides."""
    return "".join(f"- {note}\n" for note in tie_notes(tie_rows(data), data.tie_rule))


def costs(data: ReportData) -> str:
    """What each model costs."""
    heading = [gettext("Model"), gettext("To fit"), gettext("A prediction"), gettext("In memory"), gettext("On disk")]
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


BLOCKS: dict[str, Callable[[ReportData], str]] = {
    "answers": answers,
    "leaderboard": leaderboard,
    "ties": ties,
    "costs": costs,
    "funnel": funnel,
    "how": how,
}
FIGURES: dict[str, Callable[[ReportData], tuple[str, str]]] = {
    "figure-models": lambda data: (
        gettext("Recall@{k}, best on top", k=data.k),
        figures.model_comparison(data.leaderboard, "recall", data.k),
    ),
    "figure-costs": lambda data: (
        gettext("Recall@{k} against the time that a prediction takes", k=data.k),
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
    return [page for page in sorted(DOCS.glob("**/*.md")) if BLOCK.search(page.read_text(encoding="utf-8"))]


def filled(page: Path, data: ReportData, images: Path) -> str:
    """The text of ``page`` with its blocks made from ``data``; figures are written below ``images``."""
    language = "es" if page.parent.name == "es" else "en"

    def block(found: re.Match[str]) -> str:
        name = found[2]
        if name in BLOCKS:
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


def read(settings: FeedSettings) -> ReportData:
    """What the feed's report tells. NotMaterializedError where something is not there."""
    store = Store(settings)
    found = {name: store.find(name) for name in NEEDED}
    if "gru4rec" in settings.models:
        found["gru4rec_checkpoint"] = store.find("gru4rec_checkpoint")
    nodes = found["sessions"].lineage.nodes
    logs = sorted(node.partition for node in nodes if node.asset == "raw_sessions" and node.partition is not None)
    raw, quarantine = ([store.find(name, log) for log in logs] for name in ("raw_sessions", "quarantine"))
    return gather(settings, found, raw, quarantine)


def main() -> None:
    """The command."""
    if len(sys.argv) != 2:
        sys.exit("usage: python docs/make.py HOME")
    try:
        data = read(load_settings(Path(sys.argv[1])))
    except NotMaterializedError as error:
        sys.exit(f"{error}: run `sessrec --home {sys.argv[1]} materialize`")
    for page in pages():
        page.write_text(filled(page, data, DOCS / "images"), encoding="utf-8")
        print(page)


if __name__ == "__main__":
    main()
