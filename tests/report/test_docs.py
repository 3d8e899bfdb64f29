"""The documents' blocks are what docs/make.py writes, the two languages have the same, and links lead somewhere."""

import ast
import importlib.util
import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, SecretStr
from test_answers import with_days
from test_page import full

from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.report.data import ReportData
from sessrec_pipeline.settings import Section

__all__ = ["full"]
ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_docs", DOCS / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(make: ModuleType, text: str) -> list[tuple[str, str]]:
    """Name and body of each block."""
    return [(found[2], found[0][len(found[1]) : -len(found[3])].strip()) for found in make.BLOCK.finditer(text)]


def shape(body: str) -> list[str]:
    """What a block is built of, whatever its values and however many its rows: headings, kinds of lines, pictures."""
    kinds = []
    for line in body.splitlines():
        if line.startswith("| ---"):
            kinds[-1] = f"heading {kinds[-1]}"
            kinds.append(line)
        elif line.startswith("|"):
            kinds.append(line if not kinds or not kinds[-1].startswith("| -") else f"{line.count(' | ')} cells")
        elif line.startswith("!["):
            kinds.append(re.sub(r"\]\(.*/", "](", line))
        elif line:
            kinds.append(line[:2] if line.startswith("- ") else "text")
    named = [kind for kind in kinds if kind.startswith(("heading", "![", "| ---"))]
    return named or sorted(set(kinds))


def test_blocks_are_built_as_the_command_builds_them(make: ModuleType, full: ReportData, tmp_path: Path) -> None:
    data = with_days(full, [0.6, 0.5])
    pages = make.pages()
    documents = {"summary.md", "report.md", "models.md", "settings.md"}
    assert {page.name for page in pages} == documents | {"README.md", "README.es.md"}
    for page in pages:
        there = blocks(make, page.read_text(encoding="utf-8"))
        made = blocks(make, make.filled(page, data, tmp_path))
        assert [name for name, _ in there] == [name for name, _ in made]
        for (name, body), (_, new) in zip(there, made, strict=True):
            assert shape(body) == shape(new), f"{page}: {name}: run docs/make.py again"
            assert body, f"{page}: {name} is empty: run docs/make.py"


def test_tables_of_models_and_settings_are_current(make: ModuleType, tmp_path: Path) -> None:
    found = {page: page.read_text(encoding="utf-8") for page in make.pages()}
    stale = [page for page, text in found.items() if make.filled(page, None, tmp_path) != text]
    assert stale == [], "run `python docs/make.py`"
    names = [name for page, text in found.items() if page.parent == DOCS for name, _ in blocks(make, text)]
    assert set(names) > set(make.CARD_BLOCKS)


def test_readme_shows_the_demo_as_the_command_prints_it(make: ModuleType, full: ReportData) -> None:
    """All but the values is what a leaderboard prints today; the values are those of the report in docs/."""

    def frame(printed: str) -> list[str]:
        """The lines around the rows of the table, and its heading without the room that names and values take."""
        lines = printed.splitlines()
        first = next(n for n, line in enumerate(lines) if line.startswith("---")) + 1
        after = next(n for n, line in enumerate(lines) if line.startswith("(left out"))
        return [*lines[: first - 2], *lines[first - 2].split(), *lines[after:]]

    def values(page: Path, block: str, row: str) -> list[tuple[str, str]]:
        """Recall and MRR of each line of a block."""
        body = dict(blocks(make, page.read_text(encoding="utf-8")))[block]
        return re.findall(row, body, re.MULTILINE)

    as_wide = {"model": {"markov": "session_popularity"}, "vs_best": {"differs": "equivalent"}}
    board = full.leaderboard.replace(as_wide | {"vs_next": {"differs": "not told apart"}})
    pages = [ROOT / "README.md", ROOT / "README.es.md"]
    (printed,) = {dict(blocks(make, page.read_text(encoding="utf-8")))["printed"] for page in pages}
    assert frame(printed) == frame(make.printed(replace(full, leaderboard=board)).strip()), "run docs/make.py again"
    told = values(ROOT / "README.md", "printed", r"^\w+ +([\d.]+) \[.*?\] +([\d.]+) \[")
    assert len(told) > 10
    assert told == values(DOCS / "report.md", "leaderboard", r"^\| [^|]+ \| ([\d.]+) [^|]+\| ([\d.]+) ")


def test_every_setting_is_in_the_tables(make: ModuleType) -> None:
    text = (DOCS / "settings.md").read_text(encoding="utf-8")
    for name, field in FeedSettings.model_fields.items():
        section = make.model_in(field)
        assert f"`{name}`" in text if section is None else f"[{name}]" in text
        for inner in section.model_fields if section else ():
            assert f"| `{inner}` |" in text


def test_types_are_written_with_their_bounds(make: ModuleType) -> None:
    class Example(Section):
        one: Annotated[int, Field(ge=1, lt=5)] | None = None
        two: Literal["a", "b"] = "a"
        three: list[Annotated[float, Field(gt=0)]] = [1.0]
        four: dict[str, Any] = {}
        five: SecretStr

    types = [make.type_of(field) for field in Example.model_fields.values()]
    assert types == ["int >= 1, < 5", '"a" | "b"', "list[float > 0]", "table", "str"]
    defaults = [make.default_of(field) for field in Example.model_fields.values()]
    assert defaults == ["", '`"a"`', "`[1.0]`", "`{}`", "required"]
    assert make.markdown("a ``b*c`` d*e <x>\nf\n\ng") == "a `b*c` d\\*e \\<x> f\n\ng"


def test_filling_twice_changes_nothing(make: ModuleType, full: ReportData, tmp_path: Path) -> None:
    folder = tmp_path / "es"
    folder.mkdir()
    page = folder / "page.md"
    page.write_text("a\n<!-- made by docs/make.py: ties -->\nold\n<!-- made by docs/make.py: end -->\nb\n")
    page.write_text(once := make.filled(page, full, tmp_path))
    assert "old" not in once
    assert "los empates no influyen" in once
    assert make.filled(page, full, tmp_path) == once


def test_every_spanish_page_has_an_english_one_with_the_same_blocks(make: ModuleType) -> None:
    for page in (DOCS / "es").glob("*.md"):
        english, spanish = ((path / page.name).read_text(encoding="utf-8") for path in (DOCS, DOCS / "es"))
        assert [name for name, _ in blocks(make, english)] == [name for name, _ in blocks(make, spanish)]
        assert f"(../{page.name})" in spanish


def test_links_between_documents_lead_somewhere() -> None:
    pages = [*DOCS.glob("**/*.md"), *ROOT.glob("*.md"), *ROOT.glob("*/README.md")]
    assert len(pages) > 12
    for page in pages:
        for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert link.startswith("http") or (page.parent / link).exists(), f"{page}: {link}"


def test_files_that_documents_name_are_there() -> None:
    """Paths of code, from the root, from the package or from anywhere below."""
    pages = [*DOCS.glob("**/*.md"), *ROOT.glob("*.md"), *ROOT.glob("*/README.md")]
    rooms = ("assets", "benchmarks", "docs", "sessrec_pipeline", "tests")
    code = [path for room in rooms for suffix in ("py", "sql") for path in (ROOT / room).glob(f"**/*.{suffix}")]
    named = {
        (page, path)
        for page in pages
        for path in re.findall(r"[`( ]((?:[\w-]+/)+[\w-]+\.(?:py|sql))\b", page.read_text(encoding="utf-8"))
    }
    assert len(named) > 30
    assert [
        f"{page}: {path}" for page, path in named if not any(f"/{file}".endswith(f"/{path}") for file in code)
    ] == []


def said(node: ast.AST) -> str:
    """A text as the code has it, with a hole where a value goes."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.BinOp):
        return said(node.left) + said(node.right)
    return "".join(map(said, node.values)) if isinstance(node, ast.JoinedStr) else "…"


def test_messages_of_the_on_call_page_are_those_of_the_commands() -> None:
    english, spanish = (
        re.findall(r"^\| `([^`]*…[^`]*|stopped; [^`]*)` \|", (path / "operations.md").read_text(encoding="utf-8"), re.M)
        for path in (DOCS, DOCS / "es")
    )
    assert english == spanish
    assert len(english) > 30
    files = [path for room in ("assets", "sessrec_pipeline") for path in (ROOT / room).rglob("*.py")]
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in files]
    kinds = (ast.Constant, ast.JoinedStr, ast.BinOp)
    texts = {said(node) for tree in trees for node in ast.walk(tree) if isinstance(node, kinds)}
    patterns = {message: ".*".join(re.escape(part.strip(" ;")) for part in message.split("…")) for message in english}
    unsaid = [m for m, p in patterns.items() if not any(re.search(p, text, re.DOTALL) for text in texts)]
    assert unsaid == []
