"""What moves a code version: every statement that is reached, and nothing else."""

import functools
import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType
from typing import Any

import dagster as dg
import pytest
from mutants import PROJECT, Graph, Mutant, Watched, is_page, reworded, roots_of

from assets.code_version import DRAWING, EXCLUDED, PACKAGES, Root, Tree, code_digest, code_parts, code_version
from assets.graph import build
from assets.rankings import ranking_assets
from assets.runs import materialize_all
from assets.training import trained_checkpoint, validation
from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.logs.synthetic import write_logs
from sessrec_pipeline.models.registry import CARDS

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
    "update", ["TABLE.append(4)", "TABLE[0] = 4", "TABLE += [4]", "TABLE.size = 4", "del TABLE[0]", "print(4)"]
)
def test_what_a_module_does_at_import_counts_for_all_of_it(digest: Callable[..., str], update: str) -> None:
    few = "TABLE = [1]\n{}\n\ndef fit():\n    return TABLE\n"
    assert digest(few.format(update)) != digest(few.format(""))


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
        FIT,
        f"{models}.counts.impl:one",
        f"{models}.counts.deep.inner:two",
        f"{models}.base:BASE",
        f"{models}.base:REST",  # of one statement
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
        ("import sessrec_pipeline.models.other\ndef fit(): return sessrec_pipeline.models.other.one()\n", {ONE}),
        ("from sessrec_pipeline.models.other import *\ndef fit(): return one()\n", {ONE, TWO, ALL}),
        ("def fit(other):\n    from .other import one\n    return other(one)\n", {ONE}),
        ("from sessrec_pipeline.models.other import one\ndef fit(): return [x for x in one()]\n", {ONE}),
        ("from sessrec_pipeline.models.other import one\ndef fit(one): return one\n", {ONE}),  # wherever a name stands
        ("from sessrec_pipeline.models.other import one\ndef fit():\n    global one\n    one = 1\n", {ONE}),
        ("from sessrec_pipeline.models.other import one\ndef fit(x: one) -> one:\n    y: one = x\n    return y\n",
         set()),
        ("try:\n    from sessrec_pipeline.models.other import one\nexcept ImportError:\n    one = None\n"
         "def fit(): return one\n", {ONE}),
        ("from sessrec_pipeline.models.other import one\nclass A:\n    def f(self): return one()\n"
         "def fit(): return A\n", {ONE}),
        ("from sessrec_pipeline.models.other import one, two\nclass A(one):\n    x: two\ndef fit(): return A\n",
         {ONE, TWO}),
        ("from sessrec_pipeline.models.other import one, two\nclass A:\n    x: two = one\ndef fit(): return A\n",
         {ONE}),
        ("from sessrec_pipeline.models.other import one\nX = {'a': lambda: one()}\ndef fit(): return X\n", {ONE}),
        ("from sessrec_pipeline.models.other import one\n@one\ndef g(): pass\ndef fit(): return g\n", {ONE}),
        ("from sessrec_pipeline.models.other import one\n@one\ndef fit(): pass\n", {ONE}),
        ("from sessrec_pipeline.models.other import one\none()\ndef fit(): pass\n", {ONE}),
        ("from sessrec_pipeline.models.other import one\nif __name__ == '__main__':\n    one()\ndef fit(): pass\n",
         {ONE}),
    ],
)  # fmt: skip
def test_which_names_are_followed(reached: Callable[..., set[str]], few: str, others: set[str]) -> None:
    found = reached({"sessrec_pipeline/models/few.py": few, **OTHER})
    assert {key for key in found if key.startswith("sessrec_pipeline.models.other")} == others


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
        ("sql_text('models', f'o{x}')", {"models/one.sql", "models/other.sql"}),
        ("sql_text('models', x)", {"models/one.sql", "models/other.sql", "models/two.sql"}),
        ("sql.sql_text('models', name='one')", {"models/one.sql", "models/other.sql", "models/two.sql"}),
        ("'one.sql'", {"models/one.sql", "counts/one.sql"}),
        ("'models/one.sql'", {"models/one.sql"}),
        ("'two.toml'", {"counts/two.toml"}),
        ("Path() / 'es' / 'pages.po'", {"models/es/pages.po"}),
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
            "sessrec_pipeline/models/es/pages.po": "",
            "sessrec_pipeline/models/page.html.j2": "{% include 'frame.html.j2' %}",
            "sessrec_pipeline/models/frame.html.j2": "<p>",
        }
    )
    assert {key.removeprefix("file:sessrec_pipeline/") for key in found if key.startswith("file:")} == files


@pytest.mark.parametrize(
    ("name", "text", "same", "other"),
    [
        ("one.sql", "SELECT 'a  b' -- c\n  FROM t", "SELECT /* it's */ 'a  b'\nFROM t", "SELECT 'a b' FROM t"),
        ("one.toml", "# one\na = 1\n", "a = 1\n", "a = 2\n"),
        ("one.po", '#: a.py:1\nmsgid "a"\n', '#: a.py:2\nmsgid "a"\n', 'msgid "b"\n'),
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
        "from sessrec_pipeline.report import figures\nfrom sessrec_pipeline.engine import spark\n"
        "def fit(): return save(CARDS, settings.Section, figures.draw(), spark.SparkEngine())\n",
        "sessrec_pipeline/storage/lake.py": "def save(*x): return x\n",
        "sessrec_pipeline/engine/__init__.py": "",
        "sessrec_pipeline/engine/spark.py": "class SparkEngine: pass\n",
        "sessrec_pipeline/models/registry.py": "CARDS = 1\n",
        "sessrec_pipeline/report/figures.py": "def draw(): return 1\n",
    }
    assert reached(files) == {FIT}
    assert reached(files, pages=True) == {FIT, "sessrec_pipeline.report.figures:draw"}
    with pytest.raises(ValueError, match="a room that code versions leave out"):
        reached(files, "sessrec_pipeline.models.registry:CARDS")


def test_defaults_of_settings_count_by_value(digest: Callable[..., str]) -> None:
    few = (
        "from sessrec_pipeline.settings import Section\nclass Parent(Section):\n    pass\n"
        "class Own(Parent):\n    alpha: {kind} = {alpha}\n    def half(self): return self.alpha / {by}\n"
        "def fit(x): return Own(x)\n"
    )
    plain = digest(few.format(kind="float", alpha=1, by=2))
    assert digest(few.format(kind="float", alpha=3, by=2)) == plain
    assert digest(few.format(kind="float", alpha=1, by=3)) != plain
    other = few.replace("Section):", "str):")
    assert digest(other.format(kind="float", alpha=3, by=2)) != digest(other.format(kind="float", alpha=1, by=2))


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
        "shop_models.main:fit",
        "shop_models.layers:layer",
        "sessrec_pipeline.models.base:Sessions",
        "sessrec_pipeline.models.base:_offsets",
    }
    before = code_digest([main.fit], tree=Tree(PROJECT))
    changed = package(text, layers="def layer(): return 2\n")
    assert code_digest([changed.fit], tree=Tree(PROJECT)) != before


FACTORY = """
import functools
import dagster as dg
from shop_models.parts import one, two, three

def make(work, size):
    ready = one()

    @dg.asset(name="made", description="text")
    @asset
    def made(): return ready, work(size)

    return made

def asset(f):
    @functools.wraps(f)
    def run(*args): return two(f(*args))
    return run

class Own:
    def method(self): return one()

RULES = [lambda: one()]
"""
PARTS = "def one(*x): return 1\ndef two(*x): return 2\ndef three(*x): return 3\n"


def test_an_asset_of_a_factory_brings_what_its_variables_hold(package: Callable[..., ModuleType]) -> None:
    main = package(FACTORY, parts=PARTS)
    named, parts = "shop_models.main:make.<locals>.made", "shop_models.parts"
    factory = {"shop_models.main:make", "shop_models.main:asset", f"{parts}:one", f"{parts}:two"}

    def found(work: Any) -> set[str]:
        return set(code_parts([main.make(work, 3)])) - factory - {f"{named} ready = 1", f"{named} size = 3"}

    assert found([1, "a"]) == {f"{named} work = [1, 'a']"}
    assert found(main.three) == {f"{named} work = {parts}:three", f"{parts}:three"}
    assert (
        found(main.Own) == found(main.Own().method) == {f"{named} work = shop_models.main:Own", "shop_models.main:Own"}
    )
    held = functools.partial(main.three, main.Own, 5)
    assert found(held) == found(main.three) | {f"{named} work(0) = shop_models.main:Own", "shop_models.main:Own",
                                              f"{named} work(1) = 5"}  # fmt: skip
    assert found(importlib.import_module("statistics").mean) == {f"{named} work = statistics:mean"}
    assert found(main.RULES[0]) > {"shop_models.main:*", "shop_models.main:RULES", "shop_models.main:Own"}


def test_a_partial_brings_its_function_and_arguments(package: Callable[..., ModuleType]) -> None:
    main = package(FACTORY, parts=PARTS)
    parts = {"shop_models.parts:one", "shop_models.parts:two", "(0) = shop_models.parts:two", "(1) = 4"}
    assert set(code_parts([functools.partial(main.one, main.two, 4)])) == parts


def test_what_has_no_source_is_refused(write: Callable[..., Tree]) -> None:
    with pytest.raises(TypeError, match="no source that a code version could read"):
        code_digest([object()])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"no source of sessrec_pipeline\.nowhere was found"):
        code_digest(["sessrec_pipeline.nowhere:fit"])


# ---------------------------------------------------------------- this project


TINY = """
from sessrec_pipeline.models.base import Card, TrainedSettings, Training
from sessrec_pipeline.models.counts.popularity import POPULARITY

class TinySettings(TrainedSettings):
    width: int = 2

def trainer(sessions, n_items, settings, device, ranks, initial):
    return steps(n_items)

def steps(n):
    return n * 2

def extend(settings, arrays, old, new):
    return arrays

def continues(settings, earlier):
    return True

def advice(settings, n_items):
    return ""

def load(arrays, settings, items, device):
    return len(items)

CARD = Card(
    name="tiny", title="Tiny", summary="none", source="none", settings=TinySettings, tables=(POPULARITY,), load=load,
    training=Training(trainer, extend, continues, str, advice),
)
"""
"""A second trained model, of another package."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The module of TINY, importable."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "tiny_model.py").write_text(TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setattr(sys, "dont_write_bytecode", True)
        yield folder / "tiny_model.py"
    sys.modules.pop("tiny_model", None)


def assets_of(settings: FeedSettings) -> list[dg.AssetsDefinition]:
    return [asset for asset in build(settings).assets or () if isinstance(asset, dg.AssetsDefinition)]


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Graph:
    """Every asset of a feed that has all models, tunes and validates, and those of TINY."""
    settings = FeedSettings(
        home=tmp_path_factory.mktemp("home"),
        synthetic={"sessions": 100},
        training={"tuning_trials": 2, "validate_epochs": True},
    )
    card = importlib.import_module("tiny_model").CARD
    others = [validation(card, []), trained_checkpoint(card, [card.validation], settings)]
    return Graph([*assets_of(settings), *others, *ranking_assets(card, settings)])


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """A feed whose rankings are made in two shards."""
    home = tmp_path_factory.mktemp("sharded")
    return Graph(assets_of(FeedSettings(home=home, models=["markov"], evaluation={"shards": 2})))


def test_a_copy_elsewhere_has_the_same_versions(graph: Graph, tmp_path: Path) -> None:
    for package in PACKAGES:
        (tmp_path / package).symlink_to(PROJECT / package)
    assert graph.digests(Tree(tmp_path)) == graph.before


STUDIES, RANKINGS, TUNING, METRICS = (
    "study_*",
    "*_rankings",
    "*_tuning",
    {"metrics", "comparisons", "slices", "protocols"},
)
"""Patterns stand for all assets of these names, in what is expected."""
KNN = ("sknn", "vsknn", "stan", "vstan")
GRU4REC = {"gru4rec_checkpoint", "gru4rec_validation", "gru4rec_tuning", STUDIES}
"""What trains GRU4Rec; studies fit all models for themselves."""
CHECKPOINTS, VALIDATIONS, SEARCHES = (
    {f"{name}_{suffix}" for name in ("tiny", *(card.name for card in CARDS if card.training))}
    for suffix in ("checkpoint", "validation", "tuning")
)
"""Of trained models."""
TRAINED = CHECKPOINTS | VALIDATIONS | SEARCHES | {STUDIES}
SPLITS = {"train_split", "test_split", "tuning_train_split", "tuning_test_split"}
TABLES = {table.name for card in CARDS for table in card.tables}
NULL_FEED = {"study_null_feed"}
"""It makes logs of its own, and ingests and prepares them."""


def each(*suffixes: str, models: tuple[str, ...] = KNN) -> set[str]:
    return {f"{model}_{suffix}" for model in models for suffix in suffixes}


MUTATIONS: list[tuple[str, str, str, set[str]]] = [
    # bodies of assets
    ("assets/ingestion.py", "ingest_each(settings, logs, told.append,", "ingest_each(settings, logs, print,",
     {"read_landed_log"}),
    ("assets/drift.py", "if not rows:", "if rows:", {"drift"}),
    ("assets/preparation.py", "raw_sessions], context.log.info)", "raw_sessions], print)", {"sessions"}),
    ("assets/preparation.py", "source.path, train.path", "train.path, source.path",
     {"test_split", "tuning_test_split"}),
    ("assets/preparation.py", "    return settings.split\n", "    return settings.split.tuning\n",
     {"train_split", "test_split"}),
    ("assets/models.py", "train_split.path, chosen)", "train_split.path, settings)", TABLES),
    ("assets/training.py", 'pc.greater(events["session_start"]', 'pc.less(events["session_start"]',
     CHECKPOINTS),
    ("assets/training.py", 'n_epochs": int(choices', 'n_epochs": 1 + int(choices',
     CHECKPOINTS | VALIDATIONS),
    ("assets/tuning.py", "done += 1", "done += 2", {TUNING}),
    ("assets/rankings.py", "WARM_UP = 32", "WARM_UP = 33", {RANKINGS}),
    ("assets/evaluation.py", 'shown["metric"] == metric', 'shown["metric"] != metric', {"comparisons"}),
    ("assets/analyses.py", "path.stat().st_size", "path.stat().st_ino", {"costs"}),
    ("assets/studies.py", "finding = study.finding(frame)", "finding = study.finding(frame[:1])", {STUDIES}),
    # models: how they are fitted, loaded and trained
    ("sessrec_pipeline/models/counts/markov.py", 'engine.write("markov"', 'engine.write("other"',
     {"markov", "markov_tuning", STUDIES}),
    ("sessrec_pipeline/models/counts/markov.py", "elif settings.alpha == 0", "elif settings.alpha == 1",
     {"markov_rankings", "markov_tuning", STUDIES}),
    ("sessrec_pipeline/models/counts/association_rules.py", 'engine.write("ar"', 'engine.write("other"',
     {"ar", "ar_tuning", STUDIES}),
    ("sessrec_pipeline/models/neighbours/session_knn.py", "back + 1.7", "back + 1.8",
     {*each("rankings", "tuning"), STUDIES}),
    ("sessrec_pipeline/models/neighbours/session_knn.py", "np.maximum(idf, 0)", "np.maximum(idf, 1)",
     {*each("checkpoint", "rankings", "tuning"), STUDIES}),
    ("sessrec_pipeline/models/neighbours/kernels.py", "middle = (low + high) // 2", "middle = (low + high + 1) // 2",
     {*each("rankings", "tuning"), STUDIES}),
    ("sessrec_pipeline/models/gru4rec/trainer.py", "2**62", "2**61", GRU4REC),
    ("sessrec_pipeline/models/gru4rec/losses.py", "div_(p)", "mul_(p)", GRU4REC),
    ("sessrec_pipeline/models/gru4rec/kernels.py", "w[j] -=", "w[j] +=", GRU4REC),
    ("sessrec_pipeline/models/gru4rec/network.py", "SCORE_ROWS = ", "SCORE_ROWS = 2 * ",
     GRU4REC | {"gru4rec_rankings"}),
    ("sessrec_pipeline/models/gru4rec/cuda_graphs.py", "WARM_UP = 3", "WARM_UP = 4", GRU4REC),
    ("sessrec_pipeline/models/gru4rec/__init__.py", "layers, settings.embedding)", "layers, settings.loss)",
     {"gru4rec_checkpoint"}),
    # training and tuning
    ("sessrec_pipeline/training/loop.py", "losses = list(resume.losses)", "losses = []", TRAINED),
    ("sessrec_pipeline/training/worker.py", 'if device == "cuda":', 'if device != "cuda":',
     CHECKPOINTS),
    ("sessrec_pipeline/tuning/search.py", "DIVERGED = 0.0", "DIVERGED = 0.1", {TUNING}),
    # evaluation
    ("sessrec_pipeline/evaluation/kernels.py", "ITEMS_PER_LANE = 256, 64", "ITEMS_PER_LANE = 64, 64",
     {RANKINGS, TUNING, STUDIES} | VALIDATIONS),
    ("sessrec_pipeline/evaluation/metrics.py", 'row["model"] != ORACLE', 'row["model"] == ORACLE', {"leaderboard"}),
    ("sessrec_pipeline/evaluation/comparisons.py", "np.ones((len(pairs), metrics))", "np.zeros((len(pairs), metrics))",
     {"comparisons"}),
    ("sessrec_pipeline/evaluation/resampling.py", "CHUNK = 64", "CHUNK = 65", METRICS | {STUDIES}),
    # logs and engines
    ("sessrec_pipeline/logs/readers.py", 'NO_DELIMITER = "\\x01"', 'NO_DELIMITER = "\\x02"',
     {"read_landed_log"} | NULL_FEED),
    ("sessrec_pipeline/logs/ingest.py", "MAX_ID_BYTES = 256", "MAX_ID_BYTES = 255", {"read_landed_log"} | NULL_FEED),
    ("sessrec_pipeline/engine/duckdb.py", "self.closed = False", "self.closed = None",
     TABLES | SPLITS | VALIDATIONS | {"read_landed_log", "drift", "sessions", "report", TUNING, STUDIES}),
    ("sessrec_pipeline/engine/spark.py", '"spark.sql.ansi.enabled": "true"', '"spark.sql.ansi.enabled": "false"',
     set()),
    # SQL of each room, and templates
    ("sessrec_pipeline/preparation/deduplicated.sql", "MIN(place)", "MAX(place)", {"sessions", "drift"} | NULL_FEED),
    ("sessrec_pipeline/preparation/kept.sql", "item = e.item", "item <> e.item", {"sessions"} | NULL_FEED),
    ("sessrec_pipeline/preparation/labelled_days.sql", "time < $cutoff", "time <= $cutoff", SPLITS | {STUDIES}),
    ("sessrec_pipeline/preparation/train_sessions.sql", "WHEN events >= $shortest\n", "WHEN events > $shortest\n",
     {"train_split", "tuning_train_split", STUDIES}),
    ("sessrec_pipeline/models/counts/popularity.sql", "events DESC", "events ASC",
     {"popularity", TUNING, STUDIES} | VALIDATIONS),
    ("sessrec_pipeline/models/counts/markov.sql", "transitions DESC", "transitions ASC",
     {"markov", "markov_tuning", STUDIES}),
    ("sessrec_pipeline/models/neighbours/visited.sql", "MAX(t.position)", "MIN(t.position)",
     {"item_knn", "recent_sessions", "item_knn_tuning", *each("tuning"), STUDIES}),
    ("sessrec_pipeline/evaluation/gains.sql", "(equal + 1) / 2.0", "(equal - 1) / 2.0", METRICS | {STUDIES}),
    ("sessrec_pipeline/evaluation/slices.sql", "BY session ORDER BY position) - 1", "BY session ORDER BY position)",
     {"slices"}),
    ("sessrec_pipeline/monitoring/session_days.sql", "length = 1", "length = 2", {"drift"}),
    ("sessrec_pipeline/studies/tie_rules.py", '"markov_unpadded"', '"markov_bare"', {"study_tie_rules"}),
    ("sessrec_pipeline/studies/tie_rules.py", "The tie rule decides nothing", "No tie rule decides anything",
     {"study_tie_rules", "studies_report"}),
    ("sessrec_pipeline/studies/studies.html.j2", "<html", "<html id='page'", {"studies_report"}),
    # what decides no content, or that of pages alone
    ("sessrec_pipeline/report/figures.py", "POINTS = 240", "POINTS = 241", {"report"}),
    ("sessrec_pipeline/quality/sessions.py", "ITEM_SHARE = 0.3", "ITEM_SHARE = 0.4", {"report"}),
    ("sessrec_pipeline/report/frame.html.j2", "next-item recommenders", "recommenders", {"report"}),
    ("sessrec_pipeline/report/locale/es/LC_MESSAGES/report.po", 'msgstr "Popularidad"', 'msgstr "Fama"',
     {"report", "studies_report"}),
    ("sessrec_pipeline/models/registry.py", "    popularity.CARD,\n    recent_popularity.CARD,\n",
     "    recent_popularity.CARD,\n    popularity.CARD,\n", set()),
    ("sessrec_pipeline/models/counts/markov.py", "Field(ge=0, le=1)] = 0.0", "Field(ge=0, le=1)] = 0.5", set()),
    ("sessrec_pipeline/settings/synthetic.py", "Sessions to generate.", "How many sessions.", set()),
    ("sessrec_pipeline/storage/sql.py", '.sql").read_text', '.txt").read_text', set()),
    ("sessrec_pipeline/storage/catalogue.sql", "engine VARCHAR NOT NULL", "engine VARCHAR", set()),
    ("assets/retries.py", "(2.0, 10.0, 50.0)", "(2.0, 10.0, 51.0)", set()),
    ("assets/stage.py", '"team:recommendations"', '"team:others"', set()),
    ("assets/models.py", "in one safetensors file, which", "in one file, which", set()),
]  # fmt: skip
"""A file, a text that it has once, what stands for it, and the assets that this makes stale."""


@pytest.mark.parametrize(("file", "old", "new", "assets"), MUTATIONS, ids=[f"{m[0]}: {m[2]}" for m in MUTATIONS])
def test_a_statement_makes_stale_what_reaches_it(graph: Graph, file: str, old: str, new: str, assets: set[str]) -> None:
    expected = {name for name in graph.assets for pattern in assets if fnmatchcase(name, pattern)}
    assert graph.moved_by(file, old, new) == expected


def test_a_trained_model_is_moved_by_its_own_code(graph: Graph, tiny: Path) -> None:
    assert graph.moved_by(tiny, "n * 2", "n * 3") == {"tiny_checkpoint", "tiny_validation"}
    assert graph.moved_by(tiny, "return len(items)", "return items") == {"tiny_validation", "tiny_rankings"}
    assert graph.moved_by(tiny, "width: int = 2", "width: int = 3") == set(), "settings count by value"


def test_no_command_makes_anything_stale(graph: Graph) -> None:
    cli = list(PROJECT.glob("sessrec_pipeline/cli/**/*.py"))
    assert graph.moved({path: f"{path.read_text()}\nprint(1)\n" for path in cli}) == set()


SHARDED = {"rank_shards_popularity", "rank_shards_markov"}


@pytest.mark.parametrize(
    ("file", "old", "new", "assets"),
    [
        ("assets/rankings.py", "WARM_UP = 32", "WARM_UP = 33", SHARDED),
        ("assets/rankings.py", "shard in shards)", "shard in shards[:1])", {RANKINGS}),
        ("sessrec_pipeline/models/counts/markov.py", "elif settings.alpha == 0", "elif settings.alpha == 1",
         {"rank_shards_markov", STUDIES}),
    ],
)  # fmt: skip
def test_shards_are_made_stale_as_rankings_are(sharded: Graph, file: str, old: str, new: str, assets: set[str]) -> None:
    test_a_statement_makes_stale_what_reaches_it(sharded, file, old, new, assets)


NO_CONTENT = {
    ("sessrec_pipeline.training.device", "Compute"),  # handed in by Dagster; it says where something runs
    ("sessrec_pipeline.models.base", "Card"),  # handed in; beside functions, which count apart, it has names
    ("sessrec_pipeline.text", "printable"),  # called by drawings
    ("sessrec_pipeline.text", "visible"),  # called by what is said on the terminal
    ("sessrec_pipeline.clock", "moment"),  # called by the notes in lock files
}
KERNELS = ("evaluation", "models.counts", "models.neighbours")


@pytest.fixture
def plain_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels run as plain Python: what they call is seen, too, and the profiler does not slow down their compiler."""
    monkeypatch.setattr("numba.config.DISABLE_JIT", True)
    for package in KERNELS:
        monkeypatch.delattr(f"sessrec_pipeline.{package}.kernels", raising=False)
        monkeypatch.delitem(sys.modules, f"sessrec_pipeline.{package}.kernels", raising=False)


@pytest.mark.usefixtures("no_drawings", "plain_kernels")
def test_all_that_runs_is_part_of_the_digest(feed: Callable[..., FeedSettings], instance: dg.DagsterInstance) -> None:
    settings = feed(
        synthetic={"sessions": 120, "items": 50, "days": 2},
        models=["markov", "stan", "gru4rec"],
        gru4rec={"layers": [8], "n_epochs": 1, "batch_size": 16, "n_sample": 16},
        training={"tuning_trials": 1, "validate_epochs": True},
    )
    write_logs(settings.synthetic, settings.landing)
    with Watched(assets_of(settings)) as watched:
        assert materialize_all(settings, instance).success
    assert len(watched.ran) > 15
    for code, ran in watched.ran.items():
        assets = watched.assets[code]
        keys = {key for asset in assets for key in code_parts(roots_of(asset), pages=is_page(asset))}
        counted = {tuple(key.split(":")[:2]) for key in keys}
        left_out = {
            (module, name)
            for module, name in ran
            if any(f"{module}.".startswith(f"{room}.") for room in (*EXCLUDED, DRAWING))
        }
        assert ran - counted - left_out - NO_CONTENT == set(), [asset.op.name for asset in assets]


def test_comments_and_docstrings_move_nothing(graph: Graph) -> None:
    changed = {path: reworded(path.read_text()) for package in PACKAGES for path in (PROJECT / package).rglob("*.py")}
    for path in (PROJECT / PACKAGES[1]).rglob("*.sql"):
        changed[path] = f"-- A comment.\n{path.read_text()}\n/* And one. */"
    assert len(changed) > 150
    assert graph.moved(changed) == set()


def test_versions_are_the_same_in_every_process() -> None:
    asked = "from assets.code_version import code_digest; print(code_digest(['assets.studies:study_asset']))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, cwd=PROJECT, check=True)
    assert done.stdout.strip() == code_digest(["assets.studies:study_asset"], tree=Mutant())
