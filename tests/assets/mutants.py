"""The project's source with one statement changed, and the assets whose code digest that moves."""

import ast
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Self

import dagster as dg

from assets.code_version import PACKAGES, Root, Tree, code_digest
from assets.stage import uses_of

PROJECT = Path(__file__).parents[2]
TEXTS: dict[Path, str] = {}
"""What stands in the files, read once for all tests."""


def body_of(asset: dg.AssetsDefinition) -> Callable[..., Any]:
    """The function that Dagster runs for an asset."""
    body: Callable[..., Any] = getattr(asset.op.compute_fn, "decorated_fn")  # noqa: B009
    return body


def roots_of(asset: dg.AssetsDefinition) -> list[Root]:
    """What an asset's code version begins with."""
    return [asset, *uses_of(asset)]


def is_page(asset: dg.AssetsDefinition) -> bool:
    """Whether the drawing decides what is in it."""
    return any("html" in spec.kinds for spec in asset.specs)


class Mutant(Tree):
    """The source of this project, but for some files."""

    def __init__(self, changed: Mapping[Path, str] | None = None) -> None:
        super().__init__(PROJECT)
        self.changed = changed or {}

    def text(self, path: Path) -> str:
        if path not in TEXTS:
            TEXTS[path] = super().text(path)
        return self.changed.get(path, TEXTS[path])


class Graph:
    """Assets, and which of them a changed file makes stale."""

    def __init__(self, assets: Iterable[dg.AssetsDefinition]) -> None:
        self.assets = {asset.op.name: asset for asset in assets}
        self.before = self.digests(Mutant())

    def digests(self, tree: Tree) -> dict[str, str]:
        return {
            name: code_digest(roots_of(asset), pages=is_page(asset), tree=tree) for name, asset in self.assets.items()
        }

    def moved(self, changed: Mapping[Path, str]) -> set[str]:
        """The assets whose digest is another one when the files have these texts."""
        after = self.digests(Mutant(changed))
        return {name for name, digest in after.items() if digest != self.before[name]}

    def moved_by(self, file: str | Path, old: str, new: str) -> set[str]:
        """The same, where ``new`` stands in a file for its only ``old``."""
        path = PROJECT / file
        text = path.read_text()
        assert text.count(old) == 1, f"{file} has {text.count(old)} times {old!r}: choose a text that it has once"
        changed = text.replace(old, new)
        if path.suffix == ".py":
            assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(text)), f"{file}: {new!r} changes no code"
        return self.moved({path: changed})


def reworded(text: str) -> str:
    """A module with other docstrings and more comments and blank lines."""
    lines = text.splitlines(keepends=True)
    found: list[tuple[ast.stmt, str]] = []
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        for statement in body:
            if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
                continue
            if isinstance(statement.value.value, str):
                found.append((statement, '"""Other words."""'))
    for statement, words in sorted(found, key=lambda pair: -pair[0].lineno):
        begin, end = statement.lineno - 1, statement.end_lineno or statement.lineno
        indent = lines[begin][: statement.col_offset]
        lines[begin:end] = [f"{indent}{words}\n", f"{indent}# A comment.\n", "\n"]
    return "".join(["# A comment before everything.\n\n", *lines, "\n# A comment at the end.\n"])


class Watched:
    """Which definitions of the project run below each asset's function, while ``with Watched(assets)``."""

    def __init__(self, assets: Iterable[dg.AssetsDefinition]) -> None:
        self.assets: dict[CodeType, list[dg.AssetsDefinition]] = {}
        """By code: assets that a factory made share theirs."""
        for asset in assets:
            self.assets.setdefault(inspect.unwrap(body_of(asset)).__code__, []).append(asset)
        self.ran: dict[CodeType, set[tuple[str, str]]] = {}
        """For each function that was called the module and top-level name of all that ran before it returned."""
        self.stack: list[FrameType] = []

    def __enter__(self) -> Self:
        sys.setprofile(self._event)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _event(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code in self.assets:
            self.stack.append(frame)
        elif event == "call" and self.stack and code.co_filename.startswith(str(PROJECT)):
            module, name = frame.f_globals.get("__name__", ""), code.co_qualname.split(".")[0]
            if module.split(".")[0] in PACKAGES and not name.startswith("<"):  # no lambda and no module
                self.ran.setdefault(self.stack[-1].f_code, set()).add((module, name))
        elif event == "return" and self.stack and self.stack[-1] is frame:
            self.stack.pop()
