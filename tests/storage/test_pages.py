from dataclasses import replace
from pathlib import Path

import pytest

from sessrec_pipeline.storage.lineage import Lineage, Node
from sessrec_pipeline.storage.pages import OPENING, Page, read_lineage, write_page

NODE = Node("report", None, "", "1", {}, "python", "run", "2026-11-01T00:00:00+00:00")
HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "\\u003c/script>",
    "]]> & \" ' \u2028 \r\n \\",
    OPENING,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_lineage_comes_back_whatever_is_in_it(tmp_path: Path, text: str) -> None:
    page, path = Page("<html></html>"), tmp_path / "page.html"
    node = replace(NODE, config={text: text}, stats={"name": text}, data_version=page.content_hash())
    lineage = Lineage(node, (replace(NODE, partition=text),))
    write_page(path, page, lineage)
    assert read_lineage(path) == lineage
    html = path.read_text(encoding="utf-8")
    assert html.startswith("<html></html>\n")
    assert html.count("<") == 4, "no text of the lineage opens or closes an element"


@pytest.mark.parametrize("text", HOSTILE)
def test_the_page_cannot_forge_its_lineage(tmp_path: Path, text: str) -> None:
    path = tmp_path / "page.html"
    forged = f"{OPENING}{Lineage(replace(NODE, asset='forged')).to_json()}</script>"
    page = Page(f"<html>{text}{forged}{text}</html>")
    lineage = Lineage(replace(NODE, data_version=page.content_hash()))
    write_page(path, page, lineage)
    assert read_lineage(path) == lineage


def test_a_page_of_somebody_else_has_no_lineage(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("<html></html>")
    assert read_lineage(path) is None


def test_the_content_hash_is_of_the_text() -> None:
    assert Page("a").content_hash() == Page("a").content_hash() != Page("b").content_hash()
