"""The page of the studies: one HTML file with the question, finding, figure and table of each that is there.

As the report: no script, nothing from the network, every number from a published table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from sessrec_pipeline.storage.lineage import Lineage
from sessrec_pipeline.storage.pages import Page
from sessrec_pipeline.studies.study import Study
from sessrec_pipeline.studies.tables import as_text
from sessrec_pipeline.text import printable

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Section:
    """One study on the page."""

    study: Study
    finding: str
    svg: Markup
    header: list[str]
    lines: list[list[str]]
    lineage: Lineage


def render(feed: str, found: Sequence[tuple[Study, pd.DataFrame, Lineage]], missing: Sequence[Study]) -> Page:
    """The whole page, from the published tables; ``missing`` are the studies that were not made yet."""
    sections = [
        # Safe: drawn by figures.py alone, which escapes every name.
        Section(study, study.finding(frame), Markup(study.figure(frame)), *as_text(frame), lineage)  # noqa: S704
        for study, frame, lineage in found
    ]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("studies.html.j2").render(feed=feed, sections=sections, missing=missing)
    return Page(html.rstrip(), tuple(section.lineage for section in sections))


def _finalize(value: Any) -> Any:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
