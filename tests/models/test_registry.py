"""Every card is complete, and a model of another package is a model like ours."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import dagster as dg
import optuna
import pyarrow as pa
import pytest
from training_tables import fit as fit_tables

from assets.graph import build
from sessrec_pipeline.feed import FeedSettings, cards_of, load_settings
from sessrec_pipeline.models import registry
from sessrec_pipeline.models.base import Card, Choice, Span, TrainedSettings
from sessrec_pipeline.models.counts import markov
from sessrec_pipeline.models.counts.popularity import POPULARITY
from sessrec_pipeline.models.registry import CARDS, ModelNameError, card_of, cards
from sessrec_pipeline.settings import Section, Settings, SettingsError
from sessrec_pipeline.tuning.search import suggest

ROOT = Path(__file__).parents[2]
TYPES = {"string": pa.string(), "int64": pa.int64(), "double": pa.float64()}
each_card = pytest.mark.parametrize("card", cards().values(), ids=lambda card: card.name)


# --- every card is complete ------------------------------------------------------------------------------------------


@each_card
def test_it_says_what_it_is(card: Card[Any]) -> None:
    assert card.name.isidentifier() and card.name == card.name.lower()
    assert card.title and card.summary
    assert card.source or card.name in ("popularity", "oracle"), "name the paper that it is written from"
    assert not card.summary.endswith("."), "it stands in the middle of sentences"
    assert card.load.__doc__
    documented = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    assert card not in registry.CARDS or f"`{card.name}`" in documented, (
        "docs/models.md lacks it: run `python docs/make.py`"
    )


@each_card
def test_its_settings_are_a_section_and_every_field_is_explained(card: Card[Any]) -> None:
    assert issubclass(card.settings, Section)
    assert card.settings.__doc__
    assert issubclass(card.settings, TrainedSettings) == (card.training is not None)
    for name, field in card.settings.model_fields.items():
        assert field.description and field.description.endswith("."), name
        assert not field.is_required(), f"a feed that says nothing of {name} could not be read"


@each_card
def test_it_is_either_fitted_from_tables_or_trained(card: Card[Any]) -> None:
    assert (card.fit is None) != (card.training is None)
    if card.training is None:
        with pytest.raises(TypeError, match=f"{card.name} is not trained"):
            card.trained_by()


@each_card
def test_it_is_drawn_in_a_way_of_its_own(card: Card[Any]) -> None:
    others = [other.look for other in cards().values() if other is not card and other.look]
    assert card.look is None or card.look not in others


def test_names_are_unique() -> None:
    assert len(cards()) == len({card.name for card in CARDS}) == len(CARDS)
    tables = {table.name: table for card in CARDS for table in card.tables}
    for card in CARDS:
        for table in card.tables:
            assert tables[table.name] is table, "two tables of one name would be one asset"
    assert all(card_of(name) is card for name, card in cards().items())
    with pytest.raises(ModelNameError, match="there is no model 'xgboost', but popularity, "):
        card_of("xgboost")


# --- its settings ----------------------------------------------------------------------------------------------------


def written(section: Section) -> str:
    """The fields of a section as TOML."""
    values = section.model_dump(mode="json", exclude_none=True)
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())


@each_card
def test_its_section_is_read_from_the_feeds_file(card: Card[Any], tmp_path: Path) -> None:
    (tmp_path / "sessrec.toml").write_text(f"[{card.section}]\n{written(card.settings())}")
    settings = load_settings(tmp_path)
    assert settings.section(card.section) == card.settings()
    assert card in cards_of(settings)
    (tmp_path / "sessrec.toml").write_text(f"[{card.section}]\nno_such_setting = 1\n")
    with pytest.raises(SettingsError, match=rf"{card.section}.no_such_setting: this name is not known"):
        load_settings(tmp_path)


@each_card
def test_the_environment_reaches_its_settings(card: Card[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in card.settings().model_dump(mode="json", exclude_none=True).items():
        text = value if isinstance(value, str) else json.dumps(value)
        monkeypatch.setenv(f"SESSREC_{card.section}__{name}".upper(), text)
    assert load_settings(tmp_path).section(card.section) == card.settings()


def test_sections_of_models_and_of_the_feed_are_different() -> None:
    own = [card.section for card in CARDS if card.kind == "model"]
    assert not set(own) & set(Settings.model_fields)
    assert set(FeedSettings.model_fields) == {*Settings.model_fields, *own}


# --- its tables ------------------------------------------------------------------------------------------------------


@each_card
def test_the_catalogue_is_its_first_table(card: Card[Any]) -> None:
    assert card.tables[0] is POPULARITY
    assert len({table.name for table in card.tables}) == len(card.tables)


@each_card
def test_its_tables_have_the_columns_that_they_describe(card: Card[Any], tmp_path: Path) -> None:
    """And are fitted from the settings that they say they read, for they are given no others."""
    settings = FeedSettings(home=tmp_path)
    for table in card.tables:
        assert table.description.endswith(".")
        for name in table.reads:
            section, _, field = name.partition(".")
            assert field in type(settings.section(section)).model_fields
    made = fit_tables(*card.tables, sessions=[["a", "b", "a"], ["b", "c"], ["c", "a"]])
    for table, found in zip(card.tables, made, strict=True):
        assert found.column_names == list(table.columns), table.name
        for name, (kind, text) in table.columns.items():
            assert text
            assert found.schema.field(name).type == TYPES[kind], f"{table.name}.{name}"


# --- its space -------------------------------------------------------------------------------------------------------


class Walk:
    """A trial that takes the options of ``picks``, the first ones after them; a number is the lowest or the highest."""

    def __init__(self, picks: list[int], highest: bool) -> None:
        self.picks, self.highest = picks, highest
        self.counts: list[int] = []
        self.asked: dict[str, Any] = {}

    def suggest_categorical(self, name: str, options: tuple[Any, ...]) -> Any:
        pick = self.picks[len(self.counts)] if len(self.counts) < len(self.picks) else 0
        self.counts.append(len(options))
        return self._noted(name, options[pick])

    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int:
        assert low < high and not (log and step != 1)
        return int(self._noted(name, high if self.highest else low))

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float:
        assert low < high and not (log and step) and (low > 0 or not log)
        return float(self._noted(name, high if self.highest else low))

    def _noted(self, name: str, value: Any) -> Any:
        assert name not in self.asked
        self.asked[name] = value
        return value


def walked(card: Card[Any], highest: bool) -> Iterator[tuple[dict[str, Any], Any]]:
    """What every way through a card's space asks for, and the settings that it leads to."""
    picks: list[int] | None = []
    while picks is not None:
        walk = Walk(picks, highest)
        chosen = suggest(walk, card.settings(), card.space)  # type: ignore[arg-type]
        yield walk.asked, chosen
        picks = [*picks, *[0] * (len(walk.counts) - len(picks))]
        while picks and picks[-1] + 1 == walk.counts[len(picks) - 1]:
            picks.pop()
        picks = [*picks[:-1], picks[-1] + 1] if picks else None


@each_card
@pytest.mark.parametrize("highest", [False, True])
def test_every_way_through_its_space_leads_to_settings(card: Card[Any], highest: bool) -> None:
    seen: dict[str, set[Any]] = {}
    for asked, chosen in walked(card, highest):
        assert isinstance(chosen, card.settings)
        for name, value in asked.items():
            seen.setdefault(name, set()).add(value)
            found = getattr(chosen, name)
            assert found == ([value] if isinstance(found, list) else value)
        for name, choice in card.space.items():
            if choice.when is not None and getattr(chosen, choice.when[0]) != choice.when[1]:
                assert name not in asked, "of what has no effect nothing is asked"
                if isinstance(choice, Choice) and choice.otherwise is not None:
                    assert getattr(chosen, name) == choice.otherwise
                    continue
            if name not in asked:
                assert getattr(chosen, name) == getattr(card.settings(), name)
    assert set(seen) == set(card.space)
    for name, choice in card.space.items():
        if isinstance(choice, Choice):
            assert seen[name] == set(choice.options)


@each_card
def test_its_space_is_of_its_settings(card: Card[Any]) -> None:
    before: list[str] = []
    for name, choice in card.space.items():
        assert name in card.settings.model_fields
        assert name != "seed", "a seed is not tuned"
        if choice.when is not None:
            on, value = choice.when
            assert on in before, "a condition is on what is suggested before it"
            above = card.space[on]
            assert isinstance(above, Choice) and value in above.options
        if isinstance(choice, Span) and choice.step:
            assert (choice.high - choice.low) / choice.step == pytest.approx(
                round((choice.high - choice.low) / choice.step)
            ), f"{name} never reaches {choice.high}"
        before.append(name)


@each_card
def test_optuna_draws_from_its_space(card: Card[Any]) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = {suggest(study.ask(), card.settings(), card.space).model_dump_json() for _ in range(20)}
    assert len(drawn) > 1 or not card.space


# --- its assets ------------------------------------------------------------------------------------------------------


def test_the_graph_has_the_assets_of_every_card(feed: Callable[..., Settings]) -> None:
    settings = feed(synthetic={}, training={"tuning_trials": 1, "validate_epochs": True})
    graph = build(settings).resolve_asset_graph()
    keys = {key.to_user_string() for key in graph.get_all_asset_keys()}
    for card in cards().values():
        expected = {card.checkpoint, card.rankings, *(table.name for table in card.tables)}
        expected |= {card.tuning} if card.space else set()
        expected |= {card.validation} if card.training else set()
        assert expected <= keys, card.name
        assert (card.tuning in keys) == bool(card.space)
        assert graph.get(dg.AssetKey(card.rankings)).parent_keys == {
            dg.AssetKey("test_split"),
            dg.AssetKey(card.checkpoint),
        }


# --- models of other packages ----------------------------------------------------------------------------------------


Register = Callable[..., None]


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Iterator[Register]:
    """``register(name=card)``: as if a package were installed whose entry points name these."""
    module = ModuleType("other_models")
    monkeypatch.setitem(sys.modules, module.__name__, module)

    def found(group: str) -> list[EntryPoint]:
        assert group == "sessrec_pipeline.models"
        return [EntryPoint(name, f"{module.__name__}:{name}", group) for name in vars(module) if name[0] != "_"]

    monkeypatch.setattr(registry, "entry_points", found)
    cards.cache_clear()
    yield lambda **given: vars(module).update(given)
    cards.cache_clear()


def another(**changes: Any) -> Card[Any]:
    """A card that can be registered, but for ``changes``."""
    return replace(markov.CARD, **({"name": "another", "section": "another", "look": None} | changes))


def test_other_models_come_after_ours_in_the_order_of_their_names(register: Register) -> None:
    register(zebra=another(name="zebra", section="zebra"), ape=another(name="ape", section="ape"))
    assert list(cards()) == [*(card.name for card in CARDS), "ape", "zebra"]


@pytest.mark.parametrize(
    ("card", "sentence"),
    [
        ("markov", "entry point bad = 'other_models:bad' is no Card of sessrec_pipeline.models.base"),
        (another(name="markov"), "there is a model 'markov' already"),
        (another(name="my model"), "'my model' must be a lower-case identifier"),
        (another(name="Mine"), "'Mine' must be a lower-case identifier"),
        (another(name="2fast"), "'2fast' must be a lower-case identifier"),
        (another(section="split"), r"the section \[split\] of sessrec.toml has another owner"),
        (another(section="markov"), r"the section \[markov\] of sessrec.toml has another owner"),
        (
            another(tables=(POPULARITY, replace(markov.MARKOV, description="Another."))),
            "there is a fitted table 'markov' already, and it is another one",
        ),
    ],
)
def test_a_card_that_cannot_be_registered_is_named(register: Register, card: object, sentence: str) -> None:
    register(bad=card)
    with pytest.raises(ModelNameError, match=sentence):
        cards()


def test_a_package_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = EntryPoint("bad", "no_such_package:CARD", "sessrec_pipeline.models")
    monkeypatch.setattr(registry, "entry_points", lambda group: [broken])
    with pytest.raises(ModelNameError, match=r"bad = 'no_such_package:CARD' cannot be imported: No module named"):
        cards.__wrapped__()


PACKAGE = ROOT / "tests" / "example_package"
USER = """
import json
import sys
from pathlib import Path

import dagster as dg

from assets.graph import build
from assets.runs import materialize_all
from sessrec_pipeline.feed import load_settings
from sessrec_pipeline.logs.synthetic import write_logs
from sessrec_pipeline.models.registry import cards
from sessrec_pipeline.settings import SyntheticSettings
from sessrec_pipeline.storage.store import Store

settings = load_settings(Path(sys.argv[1]))
write_logs(SyntheticSettings(sessions=120, items=50, days=2), settings.landing)
keys = build(settings).resolve_asset_graph().get_all_asset_keys()
with dg.DagsterInstance.ephemeral() as instance:
    assert materialize_all(settings, instance, up_to=["leaderboard"]).success
store = Store(settings)
told = {
    "cards": list(cards()),
    "boost": settings.section("last_item").boost,
    "assets": sorted(key.to_user_string() for key in keys),
    "checkpoint": store.find("last_item_checkpoint").checkpoint().config,
    "predictions": store.find("last_item_rankings").arrow().num_rows,
    "leaderboard": [row["model"] for row in store.find("leaderboard").arrow().to_pylist()],
}
print("\\n" + json.dumps(told))
"""


def installed(site: Path) -> Path:
    """The example package in a folder of packages, as pip leaves it there."""
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    about = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [
        line
        for group, entries in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()))
    ]
    (about / "entry_points.txt").write_text("\n".join(lines))
    shutil.copy(PACKAGE / "sessrec_last_item.py", site)
    return site


def test_a_model_of_another_package_is_fitted_ranked_and_compared(tmp_path: Path) -> None:
    """It needs no change here: settings, assets and a row of the leaderboard come from its card."""
    site, home = installed(tmp_path / "site"), tmp_path / "home"
    (home / "landing").mkdir(parents=True)
    (home / "sessrec.toml").write_text(
        'models = ["last_item", "markov"]\n[last_item]\nboost = 0.5\n'
        "[evaluation]\ncutoffs = [5]\nbootstrap_samples = 100\npermutations = 1000\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", USER, str(home)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(site), str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["cards"] == [*(card.name for card in CARDS), "last_item"]
    assert told["boost"] == told["checkpoint"]["boost"] == 0.5
    assert {"last_events", "last_item_checkpoint", "last_item_rankings"} < set(told["assets"])
    assert told["predictions"] > 100
    assert sorted(told["leaderboard"]) == ["last_item", "markov", "popularity"]
