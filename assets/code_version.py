"""Code versions from the code itself: a digest over every definition that an asset's function can reach.

From the function, names lead to definitions and imports lead on to other modules, inside this project and the package
of a model that somebody added. What counts of a definition is its syntax tree without comments, docstrings, type
annotations (fields of classes keep theirs) and Dagster's decorators, and the SQL, TOML, template and message files that
it names. So an asset is stale when something changed that it can run, and at no other time.

- A class counts whole, a function with all functions inside it; so does the factory that an asset is defined in, with
  the functions, classes and plain values that its variables hold for the asset.
- A name counts wherever it stands: a parameter that is called like something of the module leads there, too.
- A statement that binds no name and runs at import counts for everything in its module.
- ``EXCLUDED`` says which rooms are not followed, and why.

What no name leads to is not found: functions that are handed over inside an object (those of a model's card, a study),
methods of a resource, modules that are run by name. ``@uses`` beside the asset names these.
"""

import ast
import functools
import hashlib
import importlib.util
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any

import dagster as dg

PACKAGES = ("assets", "sessrec_pipeline")
"""Packages that are followed, beside those of the roots."""
SETTINGS = "sessrec_pipeline.settings"
EXCLUDED = (
    # How results are stored, shown and logged, and when and where something runs. None of it decides the content.
    "sessrec_pipeline.caches",
    "sessrec_pipeline.cli",
    "sessrec_pipeline.definitions",
    "sessrec_pipeline.failures",
    "sessrec_pipeline.progress",
    "sessrec_pipeline.stopping",
    "sessrec_pipeline.storage",
    "assets.alerts",
    "assets.automation",
    "assets.code_version",
    "assets.compute",
    "assets.io_manager",
    "assets.logger",
    "assets.retries",
    "assets.runs",
    "assets.stage",
    # Settings count by their values, which are the other half of a version.
    SETTINGS,
    # It knows every model: the functions of the models that an asset uses are roots of their own.
    "sessrec_pipeline.models.registry",
    # Spark gives the rows that DuckDB gives, to the content hash, which tests hold: where it runs changes nothing.
    "sessrec_pipeline.engine.spark",
)
"""Modules, and packages with all below them, that are never followed."""
DRAWING = "sessrec_pipeline.report"
"""Draws the metadata of most assets; it decides the content of pages only."""
DATA_SUFFIXES = (".sql", ".toml", ".j2", ".po")
"""Files that count where a text in the code names them."""

Root = Callable[..., Any] | str


def code_version(
    roots: Iterable[Root], config: Mapping[str, Any], pages: bool = False, tree: "Tree | None" = None
) -> str:
    """``<digest of the code>-<digest of the settings>``; ``config`` are the settings' values as JSON types."""
    settings = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    return f"{code_digest(roots, pages=pages, tree=tree)}-{settings[:8]}"


def code_digest(roots: Iterable[Root], *, pages: bool = False, tree: "Tree | None" = None) -> str:
    """12 hexadecimal digits over all that ``code_parts`` finds."""
    parts = code_parts(roots, pages=pages, tree=tree)
    return _hash("\n".join(f"{name} {digest}" for name, digest in sorted(parts.items())))[:12]


def code_parts(roots: Iterable[Root], *, pages: bool = False, tree: "Tree | None" = None) -> dict[str, str]:
    """A digest for each definition (``module:name``, all of a module ``module:*``) and file that the roots reach.

    A root is a function, a class, a functools.partial, an asset, or the name of a definition as ``module:name``.
    pages: whether the roots make a page, so that the drawing counts. tree: the source, by default that which runs.
    TypeError for other roots, ValueError for one that has no source or is excluded, FileNotFoundError for missing SQL.
    """
    found, tree = _Roots(), tree or installed()
    for root in roots:
        found.add(root)
    packages = frozenset({*PACKAGES, *found.packages})
    parts = dict.fromkeys(found.values, "")
    todo = [key for module, name in found.places for key in tree.locate(module, (name,), packages)]
    while todo:
        key = todo.pop()
        if key not in parts and ":" in key and (pages or not _is_below(key, [DRAWING])):
            parts[key], needs = tree.unit(key, packages)
            todo += needs
    return parts


def _top(module: str) -> str:
    return module.partition(".")[0]


def _is_below(key: str, modules: Iterable[str]) -> bool:
    module = key.partition(":")[0]
    return any(module == name or module.startswith(f"{name}.") for name in modules)


class _Roots:
    """Where roots were defined, and what the variables of functions among them hold."""

    def __init__(self) -> None:
        self.places: list[tuple[str, str]] = []
        """Module and top-level name."""
        self.values: list[str] = []
        self.packages: set[str] = set()
        self.seen: set[FunctionType] = set()

    def add(self, thing: Any, held_by: str = "") -> None:
        """Enter a root, or what the variable ``held_by`` of one holds."""
        thing = getattr(thing, "py_func", thing)  # numba's
        if isinstance(thing, dg.AssetsDefinition):
            thing = getattr(thing.op.compute_fn, "decorated_fn", thing.op.compute_fn)
        if isinstance(thing, str) and not held_by:
            module, _, name = thing.partition(":")
            self._place(module, name, held_by)
        elif _is_plain(thing):
            self.values.append(f"{held_by} = {thing!r}")
        elif isinstance(thing, functools.partial):
            self.add(thing.func, held_by)
            for argument, value in [*enumerate(thing.args), *thing.keywords.items()]:
                self.add(value, f"{held_by}({argument})")
        elif isinstance(thing, (type, MethodType)):
            owner = thing.__self__ if isinstance(thing, MethodType) else thing
            owner = owner if isinstance(owner, type) else type(owner)
            self._place(owner.__module__, owner.__qualname__, held_by)
        elif isinstance(function := inspect.unwrap(thing) if callable(thing) else None, FunctionType):
            self._function(function, held_by)
        elif not held_by:
            raise TypeError(f"{thing!r} has no source that a code version could read: give functions, classes or names")

    def _function(self, function: FunctionType, held_by: str) -> None:
        self._place(str(function.__globals__["__name__"]), function.__qualname__, held_by)
        if function in self.seen:
            return
        self.seen.add(function)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:  # not bound yet
                continue
            self.add(value, f"{function.__module__}:{function.__qualname__} {name}")

    def _place(self, module: str, name: str, held_by: str) -> None:
        name = _top(name).replace("<lambda>", "*")  # nobody knows where in the module a lambda stands
        if held_by:
            self.values.append(f"{held_by} = {module}:{name}")
        elif _is_below(module, EXCLUDED):
            raise ValueError(f"{module} is a room that code versions leave out (assets.code_version.EXCLUDED)")
        elif _top(module) not in sys.stdlib_module_names:
            self.packages.add(_top(module))
        self.places.append((module, name))


def _is_plain(thing: Any) -> bool:
    """Whether an object is a value that is the same in every process."""
    if isinstance(thing, (bool, int, float, str, bytes, type(None))):
        return True
    return type(thing) in (list, tuple) and all(_is_plain(part) for part in thing)


Import = tuple[str, tuple[str, ...]]
"""Module, and the name that is imported from it, if not the module itself."""


@dataclass(frozen=True)
class _Module:
    """The top level of a module."""

    package: str
    """The package that relative imports start from."""
    is_package: bool
    definitions: dict[str, list[ast.stmt]]
    """Every name that the module binds, with the statements that bind it."""
    imports: dict[str, list[Import]]
    effects: list[ast.stmt]
    """Statements that bind nothing and run at import."""


@functools.cache
def _module(name: str, is_package: bool, text: str) -> _Module:
    module = _Module(name if is_package else name.rpartition(".")[0], is_package, {}, {}, [])
    for statement in ast.parse(text).body:
        imports: dict[str, list[Import]] = {}
        bound: set[str] = set()
        todo: list[ast.AST] = [statement]
        while todo:
            node = todo.pop()
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                bound.add(node.name)
                continue
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                _add_imports(node, module.package, imports)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                bound.add(node.id)
            if not isinstance(node, (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
                todo += ast.iter_child_nodes(node)
        for alias, origins in imports.items():
            module.imports.setdefault(alias, []).extend(origins)
        for defined in bound:
            module.definitions.setdefault(defined, []).append(statement)
        if not bound and not imports and not _is_text(statement):
            module.effects.append(statement)
    return module


def _add_imports(node: ast.Import | ast.ImportFrom, package: str, found: dict[str, list[Import]]) -> None:
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            origin = [*package.split(".")[: 1 - node.level or None]] if node.level else []
            origin += [node.module] if node.module else []
            found.setdefault(alias.asname or alias.name, []).append((".".join(origin), (alias.name,)))
        else:
            name = alias.asname or _top(alias.name)
            found.setdefault(name, []).append((alias.name if alias.asname else name, ()))


def _is_text(statement: ast.AST) -> bool:
    """Whether a statement is a docstring, of an attribute too."""
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


@functools.cache
def _read(statement: ast.stmt, package: str, fields: bool) -> "_Reader":
    reader = _Reader(package, fields)
    reader.read(statement)
    return reader


class _Reader:
    """Reads a statement: the text of what counts of it, and what it uses.

    ``fields``: whether the fields of a class count.
    """

    def __init__(self, package: str, fields: bool) -> None:
        self.package, self.fields = package, fields
        self.text: list[str] = []
        self.names: set[tuple[str, ...]] = set()
        """Names with the attributes that follow them."""
        self.imports: dict[str, list[Import]] = {}
        self.files: set[str] = set()
        """Patterns of names of files, of those that ``sql_text`` reads with a / in front."""

    def read(self, value: Any, owner: ast.ClassDef | None = None) -> None:
        """Read a node, a list of nodes or a plain part of one; ``owner`` is the class in whose body it stands."""
        if isinstance(value, list):
            self.text.append("[")
            for part in value:
                self.read(part, owner)
            self.text.append("]")
        elif not isinstance(value, ast.AST):
            self.text.append(f"{value!r},")
        elif isinstance(value, (ast.Name, ast.Attribute)) and (chain := _chain(value)):
            self.names.add(chain)
            self.text.append(f"{'.'.join(chain)},")
        elif isinstance(value, ast.AnnAssign) and owner is None:
            if value.value is not None:
                self.read(ast.Assign(targets=[value.target], value=value.value))
        elif not _is_text(value) and (self.fields or not isinstance(value, ast.AnnAssign)):
            self._node(value, owner)

    def _node(self, node: ast.AST, owner: ast.ClassDef | None) -> None:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            _add_imports(node, self.package, self.imports)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.endswith(DATA_SUFFIXES):
            self.files.add(f"*/{node.value}")
        elif isinstance(node, ast.Call) and _chain(node.func)[-1:] == ("sql_text",):
            folder, name = [*map(_pattern, node.args), "*", "*"][:2]
            self.files.add(f"/{folder}/{name}.sql")
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            owner = node if isinstance(node, ast.ClassDef) else None
        self.text.append(f"{type(node).__name__}(")
        for field, part in ast.iter_fields(node):
            if field == "decorator_list":  # Dagster's say what an asset is called and described as
                self.read([decorator for decorator in part if not _is_dagster(decorator)])
            elif not (
                part is None
                or field in ("ctx", "kind", "returns", "type_comment", "type_params")
                or (field == "annotation" and isinstance(node, ast.arg))
            ):
                self.text.append(f"{field}=")
                names = set(self.names)
                self.read(part, owner)
                if field == "annotation" and owner and not owner.bases:  # only classes like pydantic's call the types
                    self.names = names
        self.text.append(")")


def _chain(node: ast.AST) -> tuple[str, ...]:
    """A name and the attributes that follow it; nothing for other expressions."""
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.insert(0, node.attr)
        node = node.value
    return (node.id, *attributes) if isinstance(node, ast.Name) else ()


def _is_dagster(decorator: ast.expr) -> bool:
    return _chain(decorator.func if isinstance(decorator, ast.Call) else decorator)[:1] in (("dg",), ("dagster",))


def _pattern(node: ast.AST) -> str:
    """A text as a pattern of file names; what is not written out can be anything."""
    if isinstance(node, ast.JoinedStr):
        return "".join(_pattern(part) for part in node.values)
    return str(node.value) if isinstance(node, ast.Constant) else "*"


Unit = tuple[str, Iterable[str]]
"""The digest of a definition or a file, and the keys of what it needs."""


class Tree:
    """Source under one folder, read once: the packages of this project, and others where they are installed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.modules: dict[str, _Module | None] = {}
        self.units: dict[tuple[str, frozenset[str]], Unit] = {}
        self.folders: dict[str, Path | None] = {}
        self.data: dict[str, dict[str, Path]] = {}

    def text(self, path: Path) -> str:
        """The text of a file."""
        return path.read_text(encoding="utf-8")

    def locate(self, module: str, names: tuple[str, ...], packages: frozenset[str]) -> list[str]:
        """Keys of what ``module.name.name...`` names, as far as modules go: ``module:name``, or a library's name."""
        if _top(module) not in packages or _is_below(module, EXCLUDED):
            return [".".join((module, *names[:1]))]
        source = self._module(module)
        if source is None:
            raise ValueError(f"no source of {module} was found: a code version is read from .py files")
        if not names or names[0] == "*":
            return [f"{module}:*"]
        name, rest = names[0], names[1:]
        found = [f"{module}:{name}"] if name in source.definitions else []
        for origin, parts in source.imports.get(name, source.imports.get("*", [])):
            if (origin, parts) != (module, (name,)):
                found += self.locate(origin, (*parts, *rest), packages)
        if not found and source.is_package and self._module(f"{module}.{name}"):
            return self.locate(f"{module}.{name}", rest, packages)
        return found or [f"{module}:*"]

    def unit(self, key: str, packages: frozenset[str]) -> Unit:
        """What stands behind a key."""
        if (key, packages) not in self.units:
            self.units[key, packages] = self._unit(key, packages)
        return self.units[key, packages]

    def _unit(self, key: str, packages: frozenset[str]) -> Unit:
        module, _, name = key.partition(":")
        source = self._module(module)
        if source is None:
            return self._file(name)
        if name == "*":
            names = [*source.definitions, *(source.imports if source.is_package else ())]
            return "", [key for name in names for key in self.locate(module, (name,), packages)]
        lines: list[str] = []
        needs: set[str] = set()
        for statement in [*source.effects, *source.definitions[name]]:
            reader = _read(statement, source.package, not self._is_section(module, statement, packages))
            lines.append("".join(reader.text))
            for chain in sorted(reader.names):
                keys = self._resolve(module, chain, reader.imports, packages)
                needs.update(keys)
                lines += [f"{chain[0]} = {key}" for key in keys if not _is_below(key, (*EXCLUDED, DRAWING))]
            for pattern in reader.files:
                package = PACKAGES[1] if pattern.startswith("/") else _top(module)
                found = self._named(package, pattern)
                if not found and pattern.startswith("/"):
                    raise FileNotFoundError(f"{module} asks sql_text for {package}{pattern}, and there is no such file")
                needs.update(found)
        return _hash("\n".join(lines)), needs

    def _resolve(
        self, module: str, chain: tuple[str, ...], inside: Mapping[str, list[Import]], packages: frozenset[str]
    ) -> list[str]:
        """Keys of what a name in a module means, where it is the module's or one that is imported ``inside``."""
        base, *attributes = chain
        source, origins = self._module(module), list(inside.get(base, ()))
        if source and (base in source.definitions or source.imports.keys() & {base, "*"}):
            origins.append((module, (base,)))
        return [key for origin, names in origins for key in self.locate(origin, (*names, *attributes), packages)]

    def _is_section(self, module: str, node: ast.stmt, packages: frozenset[str]) -> bool:
        """Whether this is a class of settings: the values of its fields are hashed apart."""
        bases = node.bases if isinstance(node, ast.ClassDef) else []
        for key in (key for base in bases if (c := _chain(base)) for key in self._resolve(module, c, {}, packages)):
            place, _, name = key.partition(":")
            source = self._module(place) if _top(place) in packages else None
            parents = source.definitions.get(name, ()) if source else ()
            if _is_below(key, [SETTINGS]) or any(self._is_section(place, parent, packages) for parent in parents):
                return True
        return False

    def _file(self, name: str) -> Unit:
        package, _, path = name.partition("/")
        text = self.text(self._files(package)[f"/{path}"])
        if path.endswith(".sql"):
            return _hash(SQL_TOKEN.sub(lambda token: token[1] or " ", text).strip()), ()
        if path.endswith((".toml", ".po")):
            return _hash(re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)), ()
        text = re.sub(r"\{#.*?#\}", "", text, flags=re.DOTALL)
        others = re.findall(r"[\"']([\w./-]+\.j2)[\"']", text)
        return _hash(text), [key for other in others for key in self._named(package, f"*/{other}")]

    def _named(self, package: str, pattern: str) -> list[str]:
        return [f"file:{package}{name}" for name in self._files(package) if fnmatchcase(name, pattern)]

    def _files(self, package: str) -> dict[str, Path]:
        """Data files of a top-level package by their names under it, with ``/`` before each part."""
        if package not in self.data:
            folder = self._folder(package) or Path(package)
            paths = [path for path in sorted(folder.rglob("*")) if path.suffix in DATA_SUFFIXES]
            self.data[package] = {f"/{path.relative_to(folder).as_posix()}": path for path in paths}
        return self.data[package]

    def _module(self, name: str) -> _Module | None:
        """A module by its dotted name; None if there is no source of it."""
        if name not in self.modules:
            top, *parts = name.split(".")
            folder = self._folder(top)
            path = folder.joinpath(*parts) if folder else Path(name)
            file = next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)
            text = self.text(file) if file else "" if path.is_dir() else None
            is_package = file is None or file.name == "__init__.py"
            self.modules[name] = None if text is None else _module(name, is_package, text)
        return self.modules[name]

    def _folder(self, package: str) -> Path | None:
        """The folder of a top-level package, or the file of a module that is in none."""
        if package in PACKAGES:
            return self.root / package
        if package not in self.folders:
            spec = importlib.util.find_spec(package) if package != "__main__" else None
            place = next(iter(spec.submodule_search_locations or ()), spec.origin) if spec else None
            self.folders[package] = Path(place) if place and Path(place).exists() else None
        return self.folders[package]


SQL_TOKEN = re.compile(
    r"""('(?:[^']|'')*' | "(?:[^"]|"")*") | (?: --[^\n]* | /\*.*?\*/ | \s )+""", re.VERBOSE | re.DOTALL
)
"""Quoted text, or comments and white space."""


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def installed() -> Tree:
    """The source that runs. It is read once per process, as its modules are."""
    return Tree(Path(__file__).resolve().parents[1])
