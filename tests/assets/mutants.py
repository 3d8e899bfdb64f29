"""Copies of the project's source with one statement changed, and the assets whose code digest that moves."""

import ast
import inspect
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Self

import dagster as dg

from assets.code_version import PACKAGES, Root, Tree, code_digest

PROJECT = Path(__file__).parents[2]


def roots_of(definitions: dg.Definitions) -> dict[str, Callable[..., Any]]:
    """The function of each asset that Dagster runs, by the name of its op."""
    assets = [asset for asset in definitions.assets or () if isinstance(asset, dg.AssetsDefinition)]
    return {asset.op.name: getattr(asset.op.compute_fn, "decorated_fn") for asset in assets}  # noqa: B009


class Project:
    """A copy of the packages under a folder. Changes stay in it until they are undone."""

    def __init__(self, root: Path, assets: dict[str, Callable[..., Any]], pages: Iterable[str] = ()) -> None:
        for package in PACKAGES:
            shutil.copytree(PROJECT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
        self.root, self.assets, self.pages = root, assets, set(pages)
        self.before = self.digests()

    def digests(self) -> dict[str, str]:
        """Each asset's digest as the copy stands."""
        tree = Tree(self.root)
        return {name: self._digest([root], name, tree) for name, root in self.assets.items()}

    def _digest(self, roots: list[Root], name: str, tree: Tree) -> str:
        return code_digest(roots, pages=name in self.pages, tree=tree)

    def moved(self, file: str, old: str, new: str) -> set[str]:
        """The assets whose digest moves when ``new`` stands in a file for its only ``old``; the file is put back."""
        path = self.root / file
        text = path.read_text()
        assert text.count(old) == 1, f"{file} has {text.count(old)} times {old!r}: choose a text that it has once"
        changed = text.replace(old, new)
        if path.suffix == ".py":
            assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(text)), f"{file}: {new!r} changes no code"
        path.write_text(changed)
        try:
            after = self.digests()
        finally:
            path.write_text(text)
        return {name for name, digest in after.items() if digest != self.before[name]}


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
    """Which definitions of the project run below each function, while ``with Watched(functions)``."""

    def __init__(self, functions: dict[str, Callable[..., Any]]) -> None:
        self.functions: dict[CodeType, list[str]] = {}
        """Names by code: functions that a factory made share theirs."""
        for name, function in functions.items():
            self.functions.setdefault(inspect.unwrap(function).__code__, []).append(name)
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
        if event == "call" and code in self.functions:
            self.stack.append(frame)
        elif event == "call" and self.stack and code.co_filename.startswith(str(PROJECT)):
            module, name = frame.f_globals.get("__name__", ""), code.co_qualname.split(".")[0]
            if module.split(".")[0] in PACKAGES and not name.startswith("<"):  # no lambda and no module
                self.ran.setdefault(self.stack[-1].f_code, set()).add((module, name))
        elif event == "return" and self.stack and self.stack[-1] is frame:
            self.stack.pop()
