"""What moves a code version: every statement that is reached, and nothing else."""

import functools
import importlib
import subprocess
import sys
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType
from typing import Any

import dagster as dg
import pytest
from mutants import PROJECT, Project, Watched, reworded, roots_of

from assets.code_version import DRAWING, EXCLUDED, PACKAGES, Root, Tree, code_digest, code_parts, code_version
from sessrec_pipeline.definitions import build
from sessrec_pipeline.logs.synthetic import write_logs
from sessrec_pipeline.runs import materialize_all
from sessrec_pipeline.settings import Settings, SyntheticSettings

FIT = "sessrec_pipeline.models.few:fit"
LIBRARY = {
    "sessrec_pipeline/__init__.py": "",
    "sessrec_pipeline/storage/__init__.py": "",
    "sessrec_pipeline/storage/sql.py": "def sql_text(package, name):\n    return package + name\n",
    "sessrec_pipeline/settings/__init__.py": "from sessrec_pipeline.settings.base import Section\n",
    "sessrec_pipeline/settings/base.py": "class Section:\n    limit: int = 3\n",
    "sessrec_pipeline/models/__init__.py": "",
}
"""What every small project here has; its packages are never imported, for roots can be names."""


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Tree]:
    """``write({file: text})``: the source under tmp_path, with what was written before."""

    def write(files: dict[str, str]) -> Tree:
        for name, text in {**LIBRARY, **files}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return Tree(tmp_path)

    return write


@pytest.fixture
def reached(write: Callable[..., Tree]) -> Callable[..., set[str]]:
    """Names of the definitions and files that a root reaches, FIT where none is given."""

    def reached(files: dict[str, str], root: Root = FIT, **options: Any) -> set[str]:
        return set(code_parts([root], tree=write(files), **options))

    return reached


@pytest.fixture
def digest(write: Callable[..., Tree]) -> Callable[..., str]:
    """The digest of a root in a project whose module ``models/few.py`` is given."""

    def digest(few: str, files: dict[str, str] | None = None, root: Root = FIT, **options: Any) -> str:
        return code_digest([root], tree=write({"sessrec_pipeline/models/few.py": few, **(files or {})}), **options)

    return digest


def test_a_version_is_digests_of_code_and_settings(write: Callable[..., Tree]) -> None:
    tree = write({"sessrec_pipeline/models/few.py": "def fit(): return 1"})
    version = code_version([FIT], {"alpha": 1, "beta": [2]}, tree=tree)
    code, settings = version.split("-")
    assert (len(code), len(settings)) == (12, 8)
    assert version == code_version([FIT], {"beta": [2], "alpha": 1}, tree=tree)
    assert code_version([FIT], {"alpha": 2, "beta": [2]}, tree=tree).split("-")[0] == code


PLAIN = """
import os
from typing import TYPE_CHECKING

STEPS = 3

def helper(x):
    return x + STEPS

def fit(x):
    return helper(x)
"""


@pytest.mark.parametrize(
    "same",
    [
        PLAIN.replace("def fit(x):", 'def fit(x):\n    """Fit."""'),
        PLAIN.replace("return helper(x)", "# call it\n    return helper(\n        x,  # this\n    )"),
        PLAIN.replace("def helper(x):", "def helper(x: int, /) -> int:").replace("(x: int, /)", "(x: int)"),
        PLAIN.replace("STEPS = 3", 'STEPS: int = 3\n"""How many."""'),
        PLAIN.replace("    return x + STEPS", "    y: int\n    return x + STEPS"),
        PLAIN + "\nif TYPE_CHECKING:\n    from sessrec_pipeline.models.other import Thing\n",
        PLAIN + "\ndef unused():\n    return 4\n",
        PLAIN + "\nOTHER = helper(1)\n",
        PLAIN.replace("import os", "import sys"),
        PLAIN.replace("STEPS = 3\n", "") + "\nSTEPS = 3\n",
    ],
    ids=[
        "docstring",
        "comment",
        "annotation",
        "annotated",
        "declared",
        "typing",
        "function",
        "constant",
        "import",
        "order",
    ],
)
def test_what_moves_nothing(digest: Callable[..., str], same: str) -> None:
    assert same != PLAIN
    assert digest(same) == digest(PLAIN)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x + STEPS", "x - STEPS"),
        ("STEPS = 3", "STEPS = 4"),
        ("STEPS = 3", "STEPS = 3.0"),
        ("STEPS = 3", "STEPS = 3\nSTEPS += 1"),
        ("STEPS = 3", "import numpy\nnumpy.seterr(all='raise')\nSTEPS = 3"),
        ("return helper(x)", "return helper(not x)"),
        ("def helper(x):", "@staticmethod\ndef helper(x):"),
    ],
)
def test_what_moves_a_digest(digest: Callable[..., str], old: str, new: str) -> None:
    assert digest(PLAIN.replace(old, new)) != digest(PLAIN)


def test_the_same_name_of_another_library_is_another_function(digest: Callable[..., str]) -> None:
    few = "from math import {} as rounded\n\ndef fit(x):\n    return rounded(x)\n"
    assert digest(few.format("floor")) != digest(few.format("ceil"))


@pytest.mark.parametrize(
    "update", ["TABLE.append(4)", "TABLE[0] = 4", "TABLE += [4]", "TABLE.size = 4", "del TABLE[0]"]
)
def test_an_object_that_a_module_changes_counts_as_changed(digest: Callable[..., str], update: str) -> None:
    few = "TABLE = [1]\nOTHER = [2]\n{}\n\ndef fit():\n    return TABLE\n"
    plain = digest(few.format(""))
    assert digest(few.format(update)) != plain
    assert digest(few.format(update.replace("TABLE", "OTHER"))) == plain


def test_registered_implementations_belong_to_the_function(digest: Callable[..., str]) -> None:
    few = (
        "from functools import singledispatch\n@singledispatch\ndef fit(x):\n    return 0\n"
        "@fit.register(int)\ndef _(x):\n    return {}\n"
    )
    assert digest(few.format(1)) != digest(few.format(2))


def test_names_lead_through_imports_and_re_exports(reached: Callable[..., set[str]]) -> None:
    found = reached(
        {
            "sessrec_pipeline/models/few.py": "from sessrec_pipeline.models.counts import one as first, deep\n"
            "import sessrec_pipeline.models.whole as whole\nimport sessrec_pipeline.models.dotted\n"
            "from sessrec_pipeline.models.stars import anything\n"
            "def fit():\n    return first() + deep.inner.two() + whole.three() + anything()\n"
            "    return sessrec_pipeline.models.dotted.four()\n",
            "sessrec_pipeline/models/counts/__init__.py": "from .impl import one\nfrom . import deep\n",
            "sessrec_pipeline/models/counts/impl.py": "def one(): return 1\ndef unused(): return 9\n",
            "sessrec_pipeline/models/counts/deep/__init__.py": "",
            "sessrec_pipeline/models/counts/deep/inner.py": "from ...base import BASE\ndef two(): return BASE\n",
            "sessrec_pipeline/models/base.py": "BASE, REST = 1, 2\nUNUSED = 3\n",
            "sessrec_pipeline/models/whole.py": "def three(): return 3\ndef unused(): return 9\n",
            "sessrec_pipeline/models/dotted.py": "def four(): return 4\ndef unused(): return 9\n",
            "sessrec_pipeline/models/stars.py": "from sessrec_pipeline.models.starred import *\n",
            "sessrec_pipeline/models/starred.py": "def anything(): return 5\ndef something(): return 6\n",
        }
    )
    models = "sessrec_pipeline.models"
    assert found == {
        f"{models}.few:fit (root)",
        f"{models}.counts.impl:one",
        f"{models}.counts.deep.inner:two",
        f"{models}.base:BASE",
        f"{models}.whole:three",
        f"{models}.dotted:four",
        f"{models}.starred:*",
        f"{models}.starred:anything",
        f"{models}.starred:something",
    }


OTHER = {"sessrec_pipeline/models/other.py": "def one(): return 1\ndef two(): return 2\n"}
ONE, TWO, ALL = (f"sessrec_pipeline.models.other:{name}" for name in ("one", "two", "*"))


@pytest.mark.parametrize(
    ("few", "others"),
    [
        ("def fit():\n    from sessrec_pipeline.models.other import one\n    return one()\n", {ONE}),
        ("def fit():\n    from sessrec_pipeline.models import other\n    return other.one()\n", {ONE}),
        ("def fit(f=None):\n    import sessrec_pipeline.models.other as o\n    return o\n", {ONE, TWO, ALL}),
        ("from sessrec_pipeline.models import other\ndef fit(): return getattr(other, 'one')()\n", {ONE, TWO, ALL}),
        ("def fit(): return ['python', '-m', 'sessrec_pipeline.models.other']\n", {ONE, TWO, ALL}),
        ("def fit(): return 'sessrec_pipeline.models.other:one'\n", {ONE}),
        ("from sessrec_pipeline.models.other import one\ndef fit(one): return one\n", set()),
        ("from sessrec_pipeline.models.other import one\ndef fit(): return [one for one in 'ab']\n", set()),
        ("from sessrec_pipeline.models.other import one\ndef fit(): return [x for x in one()]\n", {ONE}),
        ("from sessrec_pipeline.models.other import one\ndef fit(): return lambda one: one\n", set()),
        ("from sessrec_pipeline.models.other import one\ndef fit():\n    global one\n    one = 1\n", {ONE}),
        ("from sessrec_pipeline.models.other import one\ndef fit(x: one) -> one:\n    y: one = x\n    return y\n",
         set()),
        ("try:\n    from sessrec_pipeline.models.other import one\nexcept ImportError:\n    one = None\n"
         "def fit(): return one\n", {ONE}),
        ("from sessrec_pipeline.models.other import one\nclass A:\n    def f(self): return one()\n"
         "def fit(): return A\n", {ONE}),
        ("from sessrec_pipeline.models.other import one, two\nclass A(one):\n    x: two\ndef fit(): return A\n",
         {ONE, TWO}),
        ("from sessrec_pipeline.models.other import one\nX = {'a': lambda: one()}\ndef fit(): return X\n", {ONE}),
        ("from sessrec_pipeline.models.other import one\n@one\ndef g(): pass\ndef fit(): return g\n", {ONE}),
        ("from sessrec_pipeline.models.other import one\n@one\ndef fit(): pass\n", set()),
        ("from sessrec_pipeline.models.other import one\none()\ndef fit(): pass\n", {ONE}),
        ("from sessrec_pipeline.models.other import one\nif __name__ == '__main__':\n    one()\ndef fit(): pass\n",
         set()),
    ],
)  # fmt: skip
def test_which_names_are_followed(reached: Callable[..., set[str]], few: str, others: set[str]) -> None:
    found = reached({"sessrec_pipeline/models/few.py": few, **OTHER})
    assert {key for key in found if key.startswith("sessrec_pipeline.models.other")} == others


def test_a_root_can_be_a_module_or_a_package(reached: Callable[..., set[str]]) -> None:
    files = {
        "sessrec_pipeline/models/net/__init__.py": "SIZE = 1\n",
        "sessrec_pipeline/models/net/layers.py": "def layer(): return 2\nif __name__ == '__main__':\n    layer()\n",
    }
    net = "sessrec_pipeline.models.net"
    assert reached(files, f"{net}.layers") == {f"{net}.layers:{name}" for name in ("*", "layer", "__main__")}
    assert reached(files, f"{net}.layers.layer") == {f"{net}.layers:layer (root)"}
    assert {f"{net}:SIZE", f"{net}.layers:layer"} < reached(files, net)


def test_dagster_says_what_an_asset_is_called_not_what_it_does(digest: Callable[..., str]) -> None:
    few = (
        "import dagster as dg\ntext = {!r}\n@dg.asset(description=text)\ndef table(): return 1\n"
        "def fit(): return table()\n"
    )
    assert digest(few.format("one")) == digest(few.format("two"))


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("asked", "files"),
    [
        ("sql_text('models', 'one')", {"models/one.sql"}),
        ("sql_text(package='models', name='one')", {"models/one.sql"}),
        ("sql_text('models', f'o{x}')", {"models/one.sql", "models/other.sql"}),
        ("sql_text('models', x)", {"models/one.sql", "models/other.sql", "models/two.sql"}),
        ("map(sql_text, 'ab', x)", {"models/one.sql", "models/other.sql", "models/two.sql", "counts/one.sql"}),
        ("'one.sql'", {"models/one.sql"}),
        ("'two.toml'", {"counts/two.toml"}),
        ("f'{x}.toml'", {"models/one.toml"}),
        ("'page.html.j2'", {"models/page.html.j2", "models/frame.html.j2"}),
        ("'nothing.sql'", set()),
    ],
)
def test_files_that_the_code_names(reached: Callable[..., set[str]], asked: str, files: set[str]) -> None:
    found = reached(
        {
            "sessrec_pipeline/models/few.py": "from sessrec_pipeline.storage.sql import sql_text\n"
            f"def fit(x):\n    return {asked}\n",
            **{f"sessrec_pipeline/models/{name}.sql": "SELECT 1" for name in ("one", "two", "other")},
            "sessrec_pipeline/counts/one.sql": "SELECT 1",
            "sessrec_pipeline/counts/two.toml": "a = 1",
            "sessrec_pipeline/models/one.toml": "a = 1",
            "sessrec_pipeline/models/page.html.j2": "{% include 'frame.html.j2' %}",
            "sessrec_pipeline/models/frame.html.j2": "<p>",
        }
    )
    assert {key.removeprefix("file:sessrec_pipeline/") for key in found if key.startswith("file:")} == files


@pytest.mark.parametrize(
    ("name", "text", "same", "other"),
    [
        ("one.sql", "SELECT 'a  b' -- c\n  FROM t", "SELECT /* it's */ 'a  b'\nFROM t", "SELECT 'a b' FROM t"),
        ("one.toml", "a = 1 # one", "# one\na   = 1", "a = 2"),
        ("one.j2", "<p>{# one #}", "<p>{# two #}", "<b>"),
    ],
)
def test_files_count_without_their_comments(
    digest: Callable[..., str], name: str, text: str, same: str, other: str
) -> None:
    texts = [digest(f"def fit(): return {name!r}", {f"sessrec_pipeline/models/{name}": t}) for t in (text, same, other)]
    assert texts[0] == texts[1] != texts[2]


def test_sql_that_is_not_there_is_refused(digest: Callable[..., str]) -> None:
    with pytest.raises(FileNotFoundError, match=r"models\.few asks sql_text for sessrec_pipeline/models/gone\.sql"):
        digest("def fit(): return sql_text('models', 'gone')")


# ---------------------------------------------------------------- what is left out


def test_rooms_that_do_not_decide_content_are_not_followed(reached: Callable[..., set[str]]) -> None:
    files = {
        "sessrec_pipeline/models/few.py": "from sessrec_pipeline.storage.lake import save\n"
        "from sessrec_pipeline.models.registry import CARDS\nfrom sessrec_pipeline import settings\n"
        "from sessrec_pipeline.report import figures\n"
        "def fit(): return save(CARDS, settings.Section, figures.draw())\n",
        "sessrec_pipeline/storage/lake.py": "def save(*x): return x\n",
        "sessrec_pipeline/models/registry.py": "CARDS = 1\n",
        "sessrec_pipeline/report/figures.py": "def draw(): return 1\n",
    }
    assert reached(files) == {f"{FIT} (root)"}
    assert reached(files, pages=True) == {f"{FIT} (root)", "sessrec_pipeline.report.figures:draw"}
    assert "sessrec_pipeline.models.registry:CARDS" in reached(files, exclude=["sessrec_pipeline.storage"])
    with pytest.raises(ValueError, match="a room that code versions leave out"):
        reached(files, "sessrec_pipeline.models.registry")


def test_defaults_of_settings_count_by_value(digest: Callable[..., str]) -> None:
    few = (
        "from sessrec_pipeline.settings import Section\nclass Parent(Section):\n    pass\n"
        "class Own(Parent):\n    alpha: {kind} = {alpha}\n    def half(self): return self.alpha / {by}\n"
        "def fit(x): return Own(x)\n"
    )
    plain = digest(few.format(kind="float", alpha=1, by=2))
    assert digest(few.format(kind="float", alpha=3, by=2)) == plain
    assert digest(few.format(kind="int", alpha=1, by=2)) != plain
    assert digest(few.format(kind="float", alpha=1, by=3)) != plain
    assert digest(few.replace("Section):", "str):").format(kind="float", alpha=3, by=2)) != digest(
        few.replace("Section):", "str):").format(kind="float", alpha=1, by=2)
    )


# ---------------------------------------------------------------- function objects


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """A package of somebody else, imported from source: ``package(text)`` is its module ``shop_models.main``."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(text: str, **others: str) -> ModuleType:
        folder = tmp_path / "shop_models"
        folder.mkdir(exist_ok=True)
        for name, source in {"__init__": "", "main": text, **others}.items():
            (folder / f"{name}.py").write_text(source)
        for name in [name for name in sys.modules if name.split(".")[0] == "shop_models"]:
            monkeypatch.delitem(sys.modules, name)
        importlib.invalidate_caches()
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        return importlib.import_module("shop_models.main")

    return make


def test_a_model_of_another_package_brings_its_code(package: Callable[..., ModuleType]) -> None:
    text = (
        "import numpy as np\nfrom shop_models.layers import layer\nfrom sessrec_pipeline.models.base import Sessions\n"
        "def fit(): return np.add(layer(), Sessions)\n"
    )
    main = package(text, layers="def layer(): return 1\n")
    parts = code_parts([main.fit], tree=Tree(PROJECT))
    assert set(parts) == {
        "shop_models.main:fit (root)",
        "shop_models.layers:layer",
        "sessrec_pipeline.models.base:Sessions",
    }
    before = code_digest([main.fit], tree=Tree(PROJECT))
    changed = package(text, layers="def layer(): return 2\n")
    assert code_digest([changed.fit], tree=Tree(PROJECT)) != before


FACTORY = """
import functools
import dagster as dg
from shop_models import parts
from shop_models.parts import one, two, three

def make(work, size, module=None):
    text = three()
    ready = {ready}

    @dg.asset(description=text)
    def other(): return two()

    @dg.asset(name="made", description=text)
    def made(): return ready, work(size), module

    return [made, other]

def asset(f):
    @functools.wraps(f)
    def run(*args): return two(f(*args))
    return run

@asset
def wrapped(): return 1

class Own:
    def method(self): return one()
"""
PARTS = "def one(*x): return 1\ndef two(*x): return 2\ndef three(*x): return 'text'\n"


def test_inner_functions_bring_what_they_need_and_hold(package: Callable[..., ModuleType]) -> None:
    main = package(FACTORY.replace("{ready}", "one()"), parts=PARTS)
    named = "shop_models.main:make.<locals>.made"

    def found(*arguments: Any) -> set[str]:
        return set(code_parts([main.make(*arguments)[0]], tree=Tree(PROJECT)))

    made, one, two = "shop_models.main:make.made (root)", "shop_models.parts:one", "shop_models.parts:two"
    ready, size, module = (f"{named} {value}" for value in ("ready = 1", "size = 3", "module = None"))
    plain = {made, one, ready, size, module}
    assert found(None, 3) == plain | {f"{named} work = None"}
    assert found(main.two, 3) == plain | {two, f"{named} work = shop_models.parts:two"}
    assert found([1], 3) == plain | {f"{named} work = [1]"}
    held = found({"a": functools.partial(main.two, 5)}, 3)
    assert {made, one, two, f"{named} work['a'] two(0) = 5"} < held
    assert {"shop_models.parts:*", "shop_models.parts:three"} < found(None, 3, main.parts)
    assert {made, "shop_models.main:Own"} < found(main.Own().method, 3)
    assert {made, f"{named} work = math.floor"} < found(importlib.import_module("math").floor, 3)


def test_decorators_of_a_root_do_not_count_and_partials_do(package: Callable[..., ModuleType]) -> None:
    main = package(FACTORY.replace("{ready}", "one()"), parts=PARTS)
    assert set(code_parts([main.wrapped], tree=Tree(PROJECT))) == {"shop_models.main:wrapped (root)"}
    assert set(code_parts([functools.partial(main.one, main.two, 4)], tree=Tree(PROJECT))) == {
        "shop_models.parts:one (root)",
        "shop_models.parts:two",
        " one(0) = shop_models.parts:two",
        " one(1) = 4",
    }


def test_a_lambda_counts_with_the_statement_that_it_stands_in(package: Callable[..., ModuleType]) -> None:
    main = package("from shop_models.parts import one\n\nRULES = [\n    lambda: one(),\n]\nREST = 1\n", parts=PARTS)
    assert set(code_parts([main.RULES[0]], tree=Tree(PROJECT))) == {"shop_models.main:RULES", "shop_models.parts:one"}


def test_what_has_no_source_is_refused(write: Callable[..., Tree]) -> None:
    with pytest.raises(TypeError, match="no source that a code version could read"):
        code_digest([object()])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"no source of sessrec_pipeline\.nowhere was found"):
        code_digest(["sessrec_pipeline.nowhere:fit"])
    with pytest.raises(ValueError, match=r"sessrec_pipeline\.models defines no fit"):
        code_digest(["sessrec_pipeline.models:fit"], tree=write({}))


# ---------------------------------------------------------------- this project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of this project, with every asset of a feed that tunes and validates."""
    home = tmp_path_factory.mktemp("home")
    settings = Settings(
        home=home,
        synthetic={"sessions": 100},  # type: ignore[arg-type]
        training={"tuning_trials": 2, "validate_epochs": True},  # type: ignore[arg-type]
    )
    return Project(tmp_path_factory.mktemp("copy"), roots_of(build(settings)), pages={"report", "studies_report"})


def test_a_copy_elsewhere_has_the_same_versions(project: Project) -> None:
    here = Tree(PROJECT)
    assert project.before == {
        name: code_digest([root], pages=name in project.pages, tree=here) for name, root in project.assets.items()
    }


RANKINGS, STUDIES = "*_rankings", "study_*"
"""Stand for all assets of these names, in what is expected."""
SEARCHES = {"baseline_tuning", "gru4rec_tuning"}
TRAINS = {"gru4rec_checkpoint", "gru4rec_tuning", "gru4rec_validation"}
SPLITS = {"train_split", "test_split", "tuning_train_split", "tuning_test_split"}
LABORATORY = {"baseline_tuning", STUDIES}
"""What fits, ranks and measures models for itself."""
MUTATIONS: list[tuple[str, str, str, set[str]]] = [
    # what assets do themselves
    ("assets/analyses.py", "artefact.path.stat().st_size", "0", {"costs"}),
    ("assets/evaluation.py", 'shown["metric"] == "recall"', 'shown["metric"] != "recall"', {"comparisons"}),
    ("assets/rankings.py", "WARM_UP = 32", "WARM_UP = 33", {RANKINGS}),
    ("assets/gru4rec.py", 'pc.greater(events["session_start"]', 'pc.less(events["session_start"]',
     {"gru4rec_checkpoint"} | LABORATORY),
    ("assets/gru4rec.py", 'if "gru4rec_validation" in', 'if "gru4rec_validation" not in',
     {"gru4rec_checkpoint", "gru4rec_validation"} | LABORATORY),
    # SQL
    ("sessrec_pipeline/evaluation/slices.sql", "BY session ORDER BY position) - 1", "BY session ORDER BY position)",
     {"slices"}),
    ("sessrec_pipeline/evaluation/gains.sql", "(equal + 1) / 2.0", "(equal - 1) / 2.0",
     {"metrics", "comparisons", "slices", "protocols"} | LABORATORY),
    ("sessrec_pipeline/preparation/train.sql", ">= $shortest", "> $shortest", {"sessions"} | SPLITS | LABORATORY),
    ("sessrec_pipeline/models/markov.sql", "transitions DESC", "transitions ASC", {"markov"} | LABORATORY),
    ("sessrec_pipeline/models/visited.sql", "MAX(t.position)", "MIN(t.position)",
     {"item_knn", "recent_sessions"} | LABORATORY),
    # models, and what trains, loads, ranks and measures them
    ("sessrec_pipeline/models/adagrad.py", "EPSILON = 1e-6", "EPSILON = 2e-6", TRAINS | LABORATORY),
    ("sessrec_pipeline/models/gru4rec_losses.py", "pulled.sum(dim=1) - 1", "pulled.sum(dim=1) + 1",
     TRAINS | LABORATORY),
    ("sessrec_pipeline/training_worker.py", 'if device == "cuda":', 'if device != "cuda":',
     {"gru4rec_checkpoint"} | LABORATORY),
    ("sessrec_pipeline/fitted.py", "padding=s.ar.padding", "padding=not s.ar.padding", {RANKINGS} | LABORATORY),
    ("sessrec_pipeline/evaluation/ranking.py", "MISS = 2**31 - 1", "MISS = 2**31 - 2",
     {RANKINGS, "gru4rec_tuning", "gru4rec_validation"} | LABORATORY),
    ("sessrec_pipeline/evaluation/resampling.py", "samples - start", "samples + start",
     {"metrics", "comparisons", "slices", "protocols"}),
    ("sessrec_pipeline/evaluation/tuning.py", "BROKEN = 0.0", "BROKEN = 0.1", SEARCHES | {STUDIES}),
    ("sessrec_pipeline/logs/readers.py", "rowid + 1 AS ordinal", "rowid + 2 AS ordinal", {"read_landed_log"}),
    # what decides no content, or that of pages alone
    ("sessrec_pipeline/report/looks.py", "i % len(SPARE_LOOKS)", "i // len(SPARE_LOOKS)", {"report"}),
    ("sessrec_pipeline/retries.py", "(2.0, 10.0, 50.0)", "(2.0, 10.0, 51.0)", set()),
    ("assets/stage.py", '"team:recommendations"', '"team:others"', set()),
    ("assets/models.py", "An item of the session, once", "An item of the session", set()),
]  # fmt: skip
"""A file, a text that it has once, what stands for it, and the assets that this makes stale."""


@pytest.mark.parametrize(("file", "old", "new", "assets"), MUTATIONS)
def test_a_statement_makes_stale_what_reaches_it(
    project: Project, file: str, old: str, new: str, assets: set[str]
) -> None:
    expected = {name for name in project.assets for pattern in assets if fnmatchcase(name, pattern)}
    assert project.moved(file, old, new) == expected


RESOURCES = {("sessrec_pipeline.compute", "Compute")}
"""Classes of objects that Dagster hands in: no name leads to them."""


@pytest.mark.usefixtures("no_drawings")
def test_all_that_runs_is_part_of_the_digest(feed: Callable[..., Settings], instance: dg.DagsterInstance) -> None:
    settings = feed(synthetic=SyntheticSettings(sessions=300, items=60, days=3), models=["markov", "stan"])
    write_logs(settings.synthetic, settings.landing)
    functions = roots_of(build(settings))
    with Watched(functions) as watched:
        materialize_all(settings, instance)
    assert len(watched.ran) > 10
    rooms = Tree(PROJECT).closure(frozenset(PACKAGES), (*EXCLUDED, DRAWING))
    for code, ran in watched.ran.items():
        names = watched.functions[code]
        keys = {key for name in names for key in code_parts([functions[name]], pages=name == "report")}
        counted = {(module, name.split(".")[0]) for module, name in (key.split()[0].split(":") for key in keys)}
        left_out = {(module, name) for module, name in ran if rooms.is_excluded(module)}
        assert ran - counted - left_out - RESOURCES == set(), names


def test_comments_and_docstrings_move_nothing(project: Project) -> None:
    before = {path: path.read_text() for path in project.root.rglob("*") if path.suffix in (".py", ".sql")}
    try:
        for path, text in before.items():
            path.write_text(reworded(text) if path.suffix == ".py" else f"-- A comment.\n{text}\n/* And one. */")
        assert all(path.read_text() != text for path, text in before.items())
        assert project.digests() == project.before
    finally:
        for path, text in before.items():
            path.write_text(text)


def test_versions_are_the_same_in_every_process() -> None:
    asked = "from assets.code_version import code_digest; print(code_digest(['assets.studies:study_asset']))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, cwd=PROJECT, check=True)
    assert done.stdout.strip() == code_digest(["assets.studies:study_asset"])
