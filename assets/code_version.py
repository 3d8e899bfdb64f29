"""Code versions from the code itself: what a function can reach, read as syntax trees, and nothing else.

From the function of an asset, names lead to definitions and imports lead on to other modules, inside this project and
the package of a model that somebody added. The digest is over the definitions that are reached this way and the SQL,
TOML and template files that they name. So an asset is stale when a statement changed that it can run, and at no other
time: comments, docstrings, type annotations, the order of definitions and every definition that it does not reach have
no part in it.

What is not followed, because no name leads to it: methods of an object that somebody else hands in (a resource, an
instance in a variable of an outer function), functions that another module registers, modules imported under a name
that is computed, what the ``__init__.py`` above a module does at import. Give these as further roots.
"""

import ast
import functools
import hashlib
import importlib.util
import inspect
import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import dagster as dg

PACKAGES = ("assets", "sessrec_pipeline")
"""Packages that are followed, beside those of the roots."""
SETTINGS = "sessrec_pipeline.settings"
"""Settings count by value. Of a class that extends one from here, a model's own section, the defaults do not count."""
EXCLUDED = (
    # How results are stored, shown and logged, and when and where something runs. None of it decides the content.
    "sessrec_pipeline.cli",
    "sessrec_pipeline.definitions",
    "sessrec_pipeline.progress",
    "sessrec_pipeline.retention",
    "sessrec_pipeline.storage",
    "assets.alerts",
    "assets.automation",
    "assets.code_version",
    "assets.io_manager",
    "assets.progress",
    "assets.retries",
    "assets.runs",
    "assets.stage",
    # The same rooms in the library.
    "sessrec_pipeline.alerts",
    "sessrec_pipeline.automation",
    "sessrec_pipeline.retries",
    "sessrec_pipeline.runs",
    "sessrec_pipeline.versions",
    SETTINGS,
    # It knows every model: the models that an asset uses are roots of their own.
    "sessrec_pipeline.models.registry",
)
"""Modules, and packages with all below them, that are never followed."""
DRAWING = "sessrec_pipeline.report"
"""Draws the metadata of most assets; it decides the content of pages only."""
DATA_SUFFIXES = (".sql", ".toml", ".j2")
"""Files that count where a text in the code names them."""
SQL_TEXT = "sql_text"
"""The function of ``storage.sql`` that reads ``<name>.sql`` of a package; its arguments name the files that count."""

Root = Callable[..., Any] | ModuleType | str


def code_version(
    roots: Iterable[Root], config: Mapping[str, Any], pages: bool = False, tree: "Tree | None" = None
) -> str:
    """``<digest of the code>-<digest of the settings>``; ``config`` are the settings' values as JSON types."""
    settings = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    return f"{code_digest(roots, pages=pages, tree=tree)}-{settings[:8]}"


def code_digest(
    roots: Iterable[Root], *, exclude: Iterable[str] = EXCLUDED, pages: bool = False, tree: "Tree | None" = None
) -> str:
    """12 hexadecimal digits over all that ``code_parts`` finds."""
    parts = code_parts(roots, exclude=exclude, pages=pages, tree=tree)
    text = "\n".join(f"{name} {digest}" for name, digest in sorted(parts.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def code_parts(
    roots: Iterable[Root], *, exclude: Iterable[str] = EXCLUDED, pages: bool = False, tree: "Tree | None" = None
) -> dict[str, str]:
    """A digest for each definition (``module:name``) and file that the roots reach.

    A root is a function, a class, a functools.partial, an asset, a module, or the dotted name of any of these as text;
    a module stands for everything in it, a package for every module in it. The decorators of a function that is a root
    do not count: they say what the asset is called and described as. Of a function inside a function, those statements
    of the outer one count that the inner one needs, and what its variables hold (functions, modules and plain values).

    ``pages``: whether the roots make a page, so that the drawing counts. ``tree``: the source to read instead of the
    one that runs.

    ValueError if the source of a root cannot be found or is excluded, FileNotFoundError if the code asks for SQL that
    is not there, TypeError for other objects.
    """
    found = _Objects()
    for root in roots:
        found.add(root, is_root=True)
    tree = tree or installed()
    closure = tree.closure(
        frozenset(PACKAGES) | found.packages,
        tuple(exclude) if pages else (*exclude, DRAWING),
    )
    parts = dict(found.values)
    todo: list[str] = []
    for place in found.places:
        key, unit = closure.start(place)
        if not key:
            continue
        if unit is None and ":" in key:
            todo.append(key)
        elif unit is None:  # a library's
            parts[key] = ""
        else:
            parts[key] = unit.digest
            todo += unit.needs
    while todo:
        key = todo.pop()
        if key not in parts and (unit := closure.unit(key)):
            parts[key] = unit.digest
            todo += unit.needs
    return parts


# ---------------------------------------------------------------- objects


@dataclass(frozen=True)
class _Place:
    """Where an object was defined."""

    module: str
    names: tuple[str, ...]
    """Top-level name, then names of functions inside functions; empty for the whole module."""
    is_root: bool


class _Objects:
    """Where roots were defined, and what the variables of functions among them hold."""

    def __init__(self) -> None:
        self.places: list[_Place] = []
        self.values: dict[str, str] = {}
        self.packages: set[str] = set()
        self.seen: dict[tuple[int, bool], Any] = {}  # holds the objects, so that no id is used twice

    def add(self, thing: Any, is_root: bool = False, label: str = "") -> None:
        """Enter an object; ``label`` says which variable held it."""
        if isinstance(thing, str) and is_root:
            module, _, name = thing.partition(":")
            self._place(module, tuple(name.split(".")[:1]) if name else (), is_root, label)
        elif _is_plain(thing):
            self.values[f"{label} = {thing!r}"] = ""
        elif (id(thing), is_root) not in self.seen:
            self.seen[id(thing), is_root] = thing
            self._add_object(thing, is_root, label)

    def _add_object(self, thing: Any, is_root: bool, label: str) -> None:
        if isinstance(thing, ModuleType):
            self._place(thing.__name__, (), is_root, label)
        elif isinstance(thing, dg.AssetsDefinition):
            self.add(getattr(thing.op.compute_fn, "decorated_fn", thing.op.compute_fn), is_root, label)
        elif isinstance(thing, functools.partial):
            self.add(thing.func, is_root, f"{label}()" if label else "")
            for name, value in [*enumerate(thing.args), *thing.keywords.items()]:
                self.add(value, label=f"{label} {getattr(thing.func, '__qualname__', '')}({name})")
        elif isinstance(thing, (type, MethodType)):
            owner = thing.__self__ if isinstance(thing, MethodType) else thing
            owner = owner if isinstance(owner, type) else type(owner)
            self._place(owner.__module__, (owner.__qualname__.split(".")[0],), is_root, label)
        elif type(thing) in (dict, list, tuple, set, frozenset):
            self._contents(thing, label)
        elif isinstance(thing, BuiltinFunctionType):
            self.values[f"{label} = {thing.__module__}.{thing.__qualname__}"] = ""
        elif isinstance(function := inspect.unwrap(getattr(thing, "py_func", thing)), FunctionType):
            self._function(function, is_root, label)
        elif is_root:
            raise TypeError(
                f"{thing!r} has no source that a code version could read: give functions, classes, modules, or names"
            )

    def _contents(self, thing: Any, label: str) -> None:
        if isinstance(thing, dict):
            for name, value in thing.items():
                self.add(value, label=f"{label}[{name!r}]")
        elif isinstance(thing, (list, tuple)):
            for i, value in enumerate(thing):
                self.add(value, label=f"{label}[{i}]")
        else:
            for value in thing:
                self.add(value, label=f"{label}{{}}")

    def _function(self, function: FunctionType, is_root: bool, label: str) -> None:
        code, module = function.__code__, str(function.__globals__.get("__name__"))
        path = code.co_qualname.split(".<locals>.")
        top = path[0].split(".")
        if top[0] == "<lambda>":  # it has no name: what the statement defines that it stands in
            self.packages |= {module.split(".", maxsplit=1)[0]} if is_root else set()
            for name in _names_at(Path(code.co_filename), code.co_firstlineno) or ("*",):
                self._place(module, (name,), False, label)
        else:
            self._place(module, (top[0], *path[1:]) if len(top) == 1 else (top[0],), is_root, label)
        label = f"{module}:{code.co_qualname}"
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:  # not bound yet
                continue
            self.add(value, label=f"{label} {name}")
        for i, value in enumerate(function.__defaults__ or ()):
            self.add(value, label=f"{label} default {i}")
        for name, value in (function.__kwdefaults__ or {}).items():
            self.add(value, label=f"{label} default {name}")

    def _place(self, module: str, names: tuple[str, ...], is_root: bool, label: str) -> None:
        top = module.split(".", maxsplit=1)[0]
        if is_root and top not in sys.stdlib_module_names:
            self.packages.add(top)
        if label:
            self.values[f"{label} = {module}:{'.'.join(names)}"] = ""
        self.places.append(_Place(module, names, is_root))


def _is_plain(thing: Any) -> bool:
    """Whether an object is a value that is the same in every process."""
    if isinstance(thing, (bool, int, float, str, bytes, type(None))):
        return True
    return type(thing) in (list, tuple) and all(_is_plain(part) for part in thing)


def _names_at(file: Path, line: int) -> tuple[str, ...]:
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError):
        return ()
    for statement in tree.body:
        if statement.lineno <= line <= (statement.end_lineno or statement.lineno):
            return tuple(sorted(_bound([statement])[0]))
    return ()


# ---------------------------------------------------------------- one module

Function = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
SCOPES = (*FUNCTIONS, ast.ClassDef, ast.Lambda, *COMPREHENSIONS)
DECLARED = "<dagster>"
"""Stands in the tree for a decorator of Dagster's: what an asset is called and described as is no code of it."""


@dataclass(frozen=True)
class _Import:
    """``import module``, or ``from module import name``."""

    module: str
    name: str | None = None


@dataclass(frozen=True)
class _Uses:
    """What statements use that they do not define themselves."""

    names: frozenset[tuple[str | _Import, tuple[str, ...]]]
    """A name of the module, or what an import inside a function binds; and the attributes that follow it."""
    texts: frozenset[str]
    files: frozenset[str]
    """Patterns of files beside the module."""
    sql: frozenset[str]
    """Patterns of files that ``sql_text`` reads."""


@dataclass(frozen=True)
class _Module:
    """The top level of a module, as plain trees."""

    name: str
    is_package: bool
    definitions: Mapping[str, tuple[ast.stmt, ...]]
    """Every name that the module binds, with the statements that bind or change it."""
    imports: Mapping[str, tuple[_Import, ...]]
    stars: tuple[str, ...]
    """Modules of ``from module import *``."""
    effects: tuple[ast.stmt, ...]
    """Statements that define nothing here and run at import."""


def _runs_as_main(statement: ast.stmt) -> bool:
    """Whether this is ``if __name__ == "__main__":``."""
    test = statement.test if isinstance(statement, ast.If) else None
    return isinstance(test, ast.Compare) and isinstance(test.left, ast.Name) and test.left.id == "__name__"


@functools.cache
def _module(name: str, is_package: bool, text: str) -> _Module:
    tree = _Plain(name, is_package).visit(ast.parse(text))
    known = _objects(tree.body)
    definitions: dict[str, list[ast.stmt]] = {}
    imports: dict[str, list[_Import]] = {}
    stars: list[str] = []
    effects: list[ast.stmt] = []
    for statement in tree.body:
        bound, imported = _bound([statement])
        for alias, origins in imported.items():
            imports.setdefault(alias, []).extend(origins)
        stars += [
            node.module or ""
            for node in _own([statement])
            if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
        ]
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            continue
        changed, foreign = _changed(statement, known)
        if _runs_as_main(statement):
            bound, foreign = bound | {"__main__"}, False  # runs when the module does, not when others import it
        for defined in sorted(bound | changed):
            definitions.setdefault(defined, []).append(statement)
        if foreign:
            effects.append(statement)
    return _Module(
        name,
        is_package,
        {name: tuple(statements) for name, statements in definitions.items()},
        {name: tuple(origins) for name, origins in imports.items()},
        tuple(stars),
        tuple(effects),
    )


class _Plain(ast.NodeTransformer):
    """Without docstrings, annotations outside class bodies, TYPE_CHECKING blocks and relative imports."""

    def __init__(self, module: str, is_package: bool) -> None:
        self.module, self.is_package = module, is_package
        self.dagster: set[str] = set()
        self.in_class = False

    def generic_visit(self, node: ast.AST) -> Any:
        """Visit the statements of each block: expressions stay as they are."""
        for field in ("body", "orelse", "finalbody", "handlers", "cases"):
            block = getattr(node, field, None)
            if isinstance(block, list):
                visited = [self.visit(part) for part in block]
                block[:] = [
                    part for found in visited for part in (found if isinstance(found, list) else [found]) if part
                ]
                if field == "body" and not block and not isinstance(node, ast.Module):
                    block.append(ast.Pass())
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """Drop docstrings, of attributes too."""
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Drop annotations, and what Dagster's decorators say."""
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        """As any function."""
        return self._function(node)

    def _function(self, node: Function) -> ast.AST:
        node.returns = None
        arguments = node.args
        for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
            argument.annotation = None
        for rest in (arguments.vararg, arguments.kwarg):
            if rest is not None:
                rest.annotation = None
        node.decorator_list = [
            ast.Name(DECLARED, ast.Load()) if _base(decorator) in self.dagster else decorator
            for decorator in node.decorator_list
        ]
        outside, self.in_class = self.in_class, False
        self.generic_visit(node)
        self.in_class = outside
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """Keep annotations in the body: pydantic and dataclasses make fields of them."""
        outside, self.in_class = self.in_class, True
        self.generic_visit(node)
        self.in_class = outside
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        """Keep the value alone, except for fields."""
        if self.in_class:
            if isinstance(node.annotation, ast.Constant) and isinstance(node.annotation.value, str):
                node.annotation = ast.parse(node.annotation.value, mode="eval").body
            return self.generic_visit(node)
        if node.value is None:
            return None
        return self.generic_visit(ast.copy_location(ast.Assign(targets=[node.target], value=node.value), node))

    def visit_If(self, node: ast.If) -> Any:
        """Drop what only type checkers read."""
        if _last_name(node.test) == "TYPE_CHECKING":
            return self.generic_visit(ast.Module(body=node.orelse, type_ignores=[])).body
        return self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> ast.AST:
        """Remember what Dagster is called."""
        self.dagster |= {a.asname or "dagster" for a in node.names if a.name.split(".")[0] == "dagster"}
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        """Make the module's name absolute."""
        if node.level:
            parts = self.module.split(".")
            parts = parts[: len(parts) - node.level + self.is_package]
            node.module, node.level = ".".join([*parts, *([node.module] if node.module else [])]), 0
        if (node.module or "").split(".")[0] == "dagster":
            self.dagster |= {a.asname or a.name for a in node.names}
        return node


def _own(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """The nodes of one scope: inner functions, classes and comprehensions as one node each."""
    for node in nodes:
        yield node
        if not isinstance(node, SCOPES):
            yield from _own(ast.iter_child_nodes(node))


def _bound(nodes: Iterable[ast.AST]) -> tuple[set[str], dict[str, list[_Import]]]:
    """The names that a scope binds, and what those are that imports bind."""
    names: set[str] = set()
    imports: dict[str, list[_Import]] = {}
    elsewhere: set[str] = set()
    for node in _own(nodes):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, (*FUNCTIONS, ast.ClassDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar)):
            names |= {node.name} if node.name else set()
        elif isinstance(node, ast.MatchMapping) and node.rest:
            names.add(node.rest)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.asname or alias.name.split(".")[0]
                imports.setdefault(name, []).append(_Import(alias.name if alias.asname else name))
        elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
            for alias in node.names:
                if alias.name != "*":
                    imports.setdefault(alias.asname or alias.name, []).append(_Import(node.module or "", alias.name))
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            elsewhere |= set(node.names)
    return (names | set(imports)) - elsewhere, imports


def _objects(nodes: Iterable[ast.AST]) -> set[str]:
    """The names that a scope binds to something of its own, not to what it imports."""
    names, imports = _bound(nodes)
    return names - set(imports)


def _changed(statement: ast.stmt, known: set[str]) -> tuple[set[str], bool]:
    """Which of the ``known`` names a statement changes in place, and whether it does something to anything else."""
    bases: list[str | None] = []
    for node in _own([statement]):
        if isinstance(node, (ast.Attribute, ast.Subscript)) and not isinstance(node.ctx, ast.Load):
            bases.append(_base(node))
        elif isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant):
            bases.append(_base(node.value) if isinstance(getattr(node.value, "func", None), ast.Attribute) else None)
        elif isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            called = [d.func if isinstance(d, ast.Call) else d for d in node.decorator_list]
            own = {_base(decorator) for decorator in called if isinstance(decorator, ast.Attribute)}
            bases += [name for name in own if name in known]  # such as @registry.register
    return {name for name in bases if name in known}, any(name not in known for name in bases)


def _base(node: ast.AST) -> str | None:
    """The name that a chain of attributes, items and calls begins with."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def _last_name(node: ast.AST) -> str:
    """What is named at the end of a chain of attributes, or called there."""
    node = node.func if isinstance(node, ast.Call) else node
    return node.id if isinstance(node, ast.Name) else str(getattr(node, "attr", ""))


@functools.cache
def _text(node: ast.AST) -> str:
    """The tree as text, without positions and without what differs between versions of Python."""
    return _written(node)


def _written(value: Any) -> str:
    if isinstance(value, ast.AST):
        fields = (
            f"{field}={_written(part)}"
            for field, part in ast.iter_fields(value)
            if field not in ("ctx", "kind", "type_comment", "type_params") and part is not None and part != []
        )
        return f"{type(value).__name__}({','.join(fields)})"
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    return repr(value)


@functools.cache
def _uses(node: ast.AST) -> _Uses:
    visitor = _Visitor()
    visitor.visit(node)
    return _Uses(frozenset(visitor.names), frozenset(visitor.texts), frozenset(visitor.files), frozenset(visitor.sql))


class _Visitor(ast.NodeVisitor):
    """Collects what a statement at the top level of a module uses."""

    def __init__(self) -> None:
        self.names: set[tuple[str | _Import, tuple[str, ...]]] = set()
        self.texts: set[str] = set()
        self.files: set[str] = set()
        self.sql: set[str] = set()
        self.scopes: list[tuple[set[str], dict[str, list[_Import]]]] = []

    def visit_Name(self, node: ast.Name) -> None:
        """A name by itself."""
        if node.id == SQL_TEXT:  # handed on: nobody knows what it will be asked for
            self.sql.add("*")
        if self.scopes or isinstance(node.ctx, ast.Load):
            self._use(node.id, ())

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """A name with attributes."""
        attributes: list[str] = []
        inner: ast.expr = node
        while isinstance(inner, ast.Attribute):
            attributes.insert(0, inner.attr)
            inner = inner.value
        if SQL_TEXT in attributes:
            self.sql.add("*")
        if isinstance(inner, ast.Name):
            self._use(inner.id, tuple(attributes))
        else:
            self.visit(inner)

    def visit_Call(self, node: ast.Call) -> None:
        """The SQL that ``sql_text(package, name)`` names."""
        if _last_name(node.func) != SQL_TEXT:
            self.generic_visit(node)
            return
        given = dict(zip(("package", "name"), node.args, strict=False))
        given |= {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
        folder, file = (_pattern(given[part]) if part in given else "*" for part in ("package", "name"))
        self.sql.add(f"{folder.replace('.', '/')}/{file}.sql")
        for argument in [*node.args, *(keyword.value for keyword in node.keywords)]:
            self.visit(argument)

    def visit_Constant(self, node: ast.Constant) -> None:
        """Names of files and modules."""
        if isinstance(node.value, str):
            self._file(node.value if node.value not in DATA_SUFFIXES else f"*{node.value}")
            if re.fullmatch(r"[A-Za-z_]\w*(\.\w+)+(:\w+)?", node.value):
                self.texts.add(node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Names of files that are put together."""
        self._file(_pattern(node))
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                self.visit(part)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """A scope."""
        self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        """A scope."""
        self._function(node)

    def _function(self, node: Function) -> None:
        for outside in [*node.decorator_list, *node.args.defaults, *node.args.kw_defaults]:
            if outside is not None:
                self.visit(outside)
        self._scope(_bound(node.body), _parameters(node.args), node.body)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """A scope."""
        for outside in [*node.args.defaults, *node.args.kw_defaults]:
            if outside is not None:
                self.visit(outside)
        self._scope(_bound([node.body]), _parameters(node.args), [node.body])

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """No scope: methods do not see the names of a class body."""
        for statement in node.body:
            if isinstance(statement, (ast.Import, ast.ImportFrom)):
                self.names |= {(origin, ()) for origins in _bound([statement])[1].values() for origin in origins}
        fields_are_checked = node.bases and not any(_last_name(part) == "dataclass" for part in node.decorator_list)
        for part in ast.iter_child_nodes(node):
            if isinstance(part, ast.AnnAssign) and not fields_are_checked:  # the types are only text
                if part.value is not None:
                    self.visit(part.value)
            else:
                self.visit(part)

    def visit_ListComp(self, node: ast.ListComp) -> None:
        """A scope."""
        self._comprehension(node, [node.elt])

    def visit_SetComp(self, node: ast.SetComp) -> None:
        """A scope."""
        self._comprehension(node, [node.elt])

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        """A scope."""
        self._comprehension(node, [node.elt])

    def visit_DictComp(self, node: ast.DictComp) -> None:
        """A scope."""
        self._comprehension(node, [node.key, node.value])

    def _comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp, results: list[ast.expr]
    ) -> None:
        first, *others = node.generators
        self.visit(first.iter)
        inside: list[ast.AST] = [*first.ifs, *others, *results]
        self._scope(_bound([generator.target for generator in node.generators]), set(), inside)

    def _scope(
        self, bound: tuple[set[str], dict[str, list[_Import]]], parameters: set[str], nodes: Iterable[ast.AST]
    ) -> None:
        names, imports = bound
        self.scopes.append((names | parameters, imports))
        for node in nodes:
            self.visit(node)
        self.scopes.pop()

    def _use(self, name: str, attributes: tuple[str, ...]) -> None:
        for names, imports in reversed(self.scopes):
            if name in names:
                self.names |= {(origin, attributes) for origin in imports.get(name, ())}
                return
        self.names.add((name, attributes))

    def _file(self, pattern: str) -> None:
        if pattern.endswith(DATA_SUFFIXES):
            self.files.add(pattern)


def _parameters(arguments: ast.arguments) -> set[str]:
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return {argument.arg for argument in every if argument is not None}


def _pattern(node: ast.AST) -> str:
    """A text as a pattern of file names; what is not written out can be anything."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_pattern(part) for part in node.values)
    return "*"


@functools.cache
def _as_root(function: ast.stmt, inner: tuple[str, ...]) -> ast.stmt:
    """A function without its decorators, or the outer function of it with what the inner one needs."""
    if not isinstance(function, FUNCTIONS):
        return function
    kind = type(function)
    if not inner:
        return kind(name=function.name, args=function.args, body=function.body, decorator_list=[])
    places = [i for i, part in enumerate(function.body) if isinstance(part, FUNCTIONS) and part.name == inner[0]]
    if len(places) != 1:
        return function
    root = _as_root(function.body[places[0]], inner[1:])
    others = [statement for i, statement in enumerate(function.body) if i != places[0]]
    known = _objects(function.body) | _parameters(function.args)
    bound = {statement: _bound([statement])[0] | _changed(statement, known)[0] for statement in others}
    kept = {statement for statement in others if _changed(statement, known)[1]}
    needed = _free(root, *kept)
    while found := {statement for statement in others if statement not in kept and bound[statement] & needed}:
        kept |= found
        needed |= _free(*found)
    body = [statement for statement in others if statement in kept]
    return kind(name=function.name, args=function.args, body=[*body, root], decorator_list=function.decorator_list)


def _free(*statements: ast.stmt) -> set[str]:
    return {name for statement in statements for name, _ in _uses(statement).names if isinstance(name, str)}


@functools.cache
def _without_defaults(node: ast.ClassDef) -> ast.ClassDef:
    """A settings class: the values that its fields get are hashed apart."""
    body = [
        ast.AnnAssign(target=part.target, annotation=part.annotation, value=None, simple=part.simple)
        if isinstance(part, ast.AnnAssign)
        else part
        for part in node.body
    ]
    return ast.ClassDef(
        name=node.name, bases=node.bases, keywords=node.keywords, body=body, decorator_list=node.decorator_list
    )


# ---------------------------------------------------------------- all modules


@dataclass(frozen=True)
class _Unit:
    """A definition or a file, with what it needs."""

    digest: str
    needs: tuple[str, ...]


class Tree:
    """Source text under one folder, read once: the packages of this project, and others where they are installed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.modules: dict[str, _Module | None] = {}
        self.closures: dict[tuple[frozenset[str], tuple[str, ...]], _Closure] = {}
        self.folders: dict[str, Path | None] = {}
        self.data: dict[str, dict[str, Path]] = {}

    def closure(self, packages: frozenset[str], excluded: tuple[str, ...]) -> "_Closure":
        """The rules by which to follow names."""
        if (packages, excluded) not in self.closures:
            self.closures[packages, excluded] = _Closure(self, packages, excluded)
        return self.closures[packages, excluded]

    def module(self, name: str) -> _Module | None:
        """A module by its dotted name; None if there is no source of it."""
        if name not in self.modules:
            self.modules[name] = self._read(name)
        return self.modules[name]

    def _read(self, name: str) -> _Module | None:
        file = self.file(name)
        if file is None:
            return None
        if file.is_dir():  # without an __init__.py
            return _module(name, True, "")
        return _module(name, file.name == "__init__.py", file.read_text(encoding="utf-8"))

    def file(self, name: str) -> Path | None:
        """The file of a module."""
        top, *parts = name.split(".")
        folder = self._top(top)
        if folder is None or folder.is_file():
            return folder if folder and not parts else None
        path = folder.joinpath(*parts)
        for file in (path / "__init__.py", path.with_name(f"{path.name}.py")):
            if file.is_file():
                return file
        return path if path.is_dir() else None

    def _top(self, package: str) -> Path | None:
        if package in PACKAGES:
            return self.root / package
        if package not in self.folders:
            try:
                spec = importlib.util.find_spec(package)
            except ValueError:  # __main__
                spec = None
            place = None
            if spec is not None:
                place = next(iter(spec.submodule_search_locations or ()), spec.origin)
            self.folders[package] = Path(place) if place and Path(place).exists() else None
        return self.folders[package]

    def submodules(self, name: str) -> list[str]:
        """Modules and packages right below a package."""
        file = self.file(name)
        if file is None or not (file.is_dir() or file.name == "__init__.py"):
            return []
        folder = file if file.is_dir() else file.parent
        found = {path.stem for path in folder.glob("*.py")} | {
            path.parent.name for path in folder.glob("*/__init__.py")
        }
        return [f"{name}.{part}" for part in sorted(found - {"__init__"})]

    def files(self, package: str) -> dict[str, Path]:
        """Data files of a top-level package by their names under it, ``/`` between parts."""
        if package not in self.data:
            folder = self._top(package)
            paths = [] if folder is None or folder.is_file() else folder.rglob("*")
            self.data[package] = {
                path.relative_to(folder).as_posix(): path
                for path in sorted(paths)
                if folder is not None and path.suffix in DATA_SUFFIXES
            }
        return self.data[package]


class _Closure:
    """Follows names from module to module. A key is ``module:name``, ``module:*`` or ``file:package/path``."""

    def __init__(self, tree: Tree, packages: frozenset[str], excluded: tuple[str, ...]) -> None:
        self.tree, self.packages, self.excluded = tree, packages, excluded
        self.units: dict[str, _Unit | None] = {}

    def start(self, place: _Place) -> tuple[str, _Unit | None]:
        """The key of an object; with its unit, if the object is a root that is read in another way than others are."""
        module, names, is_root = place.module, place.names, place.is_root
        if is_root and not names and "." in module and self.tree.module(module) is None:
            module, _, name = module.rpartition(".")  # a dotted name that is no module's
            names = (name,)
        if module.split(".")[0] not in self.packages:
            return f"{module}.{'.'.join(names)}", None  # of a library
        source = self.tree.module(module)
        if source is None:
            raise ValueError(f"no source of {module} was found: a code version is read from .py files")
        if self.is_excluded(module):
            if is_root:
                raise ValueError(f"{module} is a room that code versions leave out (assets.code_version.EXCLUDED)")
            return "", None
        if not names or names[0] == "*":
            return f"{module}:*", None
        statements = source.definitions.get(names[0], ())
        if not statements:
            found = self.find(module, names[:1])
            if not found and is_root:
                raise ValueError(f"{module} defines no {names[0]}")
            return found[0] if found else f"{module}:*", None
        if is_root and len(statements) == 1 and isinstance(statements[0], FUNCTIONS):
            root = _as_root(statements[0], names[1:])
            return f"{module}:{'.'.join(names)} (root)", self._read(module, [root], {f"{module}:<import>"})
        return f"{module}:{names[0]}", None

    def is_excluded(self, module: str) -> bool:
        """Whether a module lies in one of the rooms that are left out."""
        return any(module == name or module.startswith(f"{name}.") for name in self.excluded)

    def unit(self, key: str) -> _Unit | None:
        """What stands behind a key; None for what belongs to other libraries."""
        if key not in self.units:
            self.units[key] = self._unit(key)
        return self.units[key]

    def _unit(self, key: str) -> _Unit | None:
        module, colon, name = key.partition(":")
        if not colon:
            return None
        if module == "file":
            return self._file(name)
        source = self.tree.module(module)
        if source is None:
            return None
        if name == "*":
            return _Unit(_hash("*"), tuple(self._everything(source)))
        if name == "<import>":
            return self._read(module, source.effects, set()) if source.effects else None
        statements = [
            _without_defaults(statement)
            if isinstance(statement, ast.ClassDef) and self._is_settings(module, statement)
            else statement
            for statement in source.definitions[name]
        ]
        return self._read(module, statements, {f"{module}:<import>"})

    def _everything(self, source: _Module) -> set[str]:
        found = {f"{source.name}:{name}" for name in source.definitions} | {f"{source.name}:<import>"}
        for module in source.stars:
            found |= set(self.find(module, ()))
        if source.is_package:  # what it imports is what it offers
            for origins in source.imports.values():
                for origin in origins:
                    found |= set(self._imported(origin, ()))
            for module in self.tree.submodules(source.name):
                found |= set(self.find(module, ()))
        return found

    def _read(self, module: str, statements: Iterable[ast.stmt], needs: set[str]) -> _Unit:
        lines: list[str] = []
        targets: set[str] = set()
        for statement in statements:
            lines.append(_text(statement))
            uses = _uses(statement)
            for name, attributes in uses.names:
                if isinstance(name, str):
                    found = self.find(module, (name, *attributes))
                    targets |= {f"{'.'.join((name, *attributes))} = {key}" for key in found}
                else:  # the tree says what it is
                    found = self._imported(name, attributes)
                needs = needs | set(found)
            for text in uses.texts:
                package, *parts = re.split(r"[.:]", text)
                if package in self.packages:
                    needs = needs | set(self.find(package, tuple(parts)))
            needs = needs | {key for pattern in uses.files for key in self._files(module, pattern)}
            needs = needs | {key for pattern in uses.sql for key in self._sql(module, pattern)}
        return _Unit(_hash("\n".join([*lines, *sorted(targets)])), tuple(sorted(needs)))

    def find(self, module: str, names: tuple[str, ...], seen: frozenset[tuple[str, ...]] = frozenset()) -> list[str]:
        """Keys of what ``module.name.name...`` names, as far as modules go."""
        if self.is_excluded(module) or (module, *names) in seen or names[:1] == (SQL_TEXT,):
            return []
        seen |= {(module, *names)}
        source = self.tree.module(module) if module.split(".", maxsplit=1)[0] in self.packages else None
        if source is None:
            return [".".join((module, *names[:1]))]
        if not names:
            return [f"{module}:*"]
        name, rest = names[0], names[1:]
        found = [f"{module}:{name}"] if name in source.definitions else []
        imports = [origin for origin in source.imports.get(name, ()) if origin != _Import(module, name)]
        for origin in imports:
            found += self._imported(origin, rest, seen)
        if found or imports:
            return found
        if source.is_package and self.tree.file(f"{module}.{name}"):
            return self.find(f"{module}.{name}", rest, seen)
        for star in source.stars:
            found += self.find(star, (), seen)
        return found + ([f"{module}:__getattr__"] if "__getattr__" in source.definitions else [])

    def _imported(
        self, origin: _Import, attributes: tuple[str, ...], seen: frozenset[tuple[str, ...]] = frozenset()
    ) -> list[str]:
        return self.find(origin.module, (origin.name, *attributes) if origin.name else attributes, seen)

    def _is_settings(self, module: str, node: ast.ClassDef) -> bool:
        """Whether a class extends one of the settings."""
        everywhere = self.tree.closure(self.packages, ())
        for base in node.bases:
            for name, attributes in _uses(base).names:
                for key in everywhere.find(module, (str(name), *attributes)):
                    place, _, found = key.partition(":")
                    if place == SETTINGS or place.startswith(f"{SETTINGS}."):
                        return True
                    source = self.tree.module(place) if found else None
                    for parent in source.definitions.get(found, ()) if source else ():
                        if isinstance(parent, ast.ClassDef) and parent is not node and self._is_settings(place, parent):
                            return True
        return False

    def _files(self, module: str, pattern: str) -> list[str]:
        """Files that a text names: below the module's own folder, else anywhere in its package."""
        package, file = module.split(".", maxsplit=1)[0], self.tree.file(module)
        files = self.tree.files(package)
        named = [name for name in files if fnmatchcase(f"/{name}", f"*/{pattern}")]
        near = [name for name in named if file is not None and files[name].is_relative_to(file.parent)]
        return [f"file:{package}/{name}" for name in near or named]

    def _sql(self, module: str, pattern: str) -> list[str]:
        package = PACKAGES[1]
        found = [name for name in self.tree.files(package) if name.endswith(".sql") and fnmatchcase(name, pattern)]
        if not found:
            raise FileNotFoundError(f"{module} asks sql_text for {package}/{pattern}, and there is no such file")
        return [f"file:{package}/{name}" for name in found]

    def _file(self, name: str) -> _Unit:
        package, _, path = name.partition("/")
        text = self.tree.files(package)[path].read_text(encoding="utf-8")
        if path.endswith(".toml"):
            return _Unit(_hash(json.dumps(tomllib.loads(text), default=str)), ())
        if path.endswith(".sql"):
            return _Unit(_hash(_plain_sql(text)), ())
        folder = path.rpartition("/")[0]
        others = [
            other
            for other in self.tree.files(package)
            if other.rpartition("/")[0] == folder and re.search(rf"[\"']{re.escape(other.split('/')[-1])}[\"']", text)
        ]
        plain = re.sub(r"\{#.*?#\}", "", text, flags=re.DOTALL)
        return _Unit(_hash(plain), tuple(f"file:{package}/{other}" for other in others))


SQL_TOKEN = re.compile(
    r"""('(?:[^']|'')*' | "(?:[^"]|"")*") | (?: --[^\n]* | /\*.*?\*/ | \s )+""", re.VERBOSE | re.DOTALL
)


def _plain_sql(text: str) -> str:
    """SQL without comments, with one space for any other white space outside of quotes."""
    token = re.compile(
        r"""('(?:[^']|'')*' | "(?:[^"]|"")*") | (?: --[^\n]* | /\*.*?\*/ | \s )+""", re.VERBOSE | re.DOTALL
    )
    return token.sub(lambda found: found[1] or " ", text).strip()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def installed() -> Tree:
    """The source that runs. It is read once per process, as its modules are."""
    return Tree(Path(__file__).resolve().parents[1])
