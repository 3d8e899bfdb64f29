"""A public benchmark from its raw files to a table with the published figures beside ours.

A recipe in ``recipes/`` is an ordinary ``sessrec.toml`` with one table more, ``[recipe]``: which files it is about,
under which licence they are (none is shipped), and how many predictions they must give. ``published`` names the figures
of others. The recipe's home is an ordinary feed: the whole graph runs in it on the first seed, and further seeds add
models and rankings of their own beside it. What is there already and rests on the same files, settings and code is not
made again, so a run that was stopped goes on.
"""

import re
import shutil
import tomllib
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, ValidationError

from assets.code_version import code_version
from assets.graph import build
from assets.processes import end_dead_runs
from assets.rankings import shard_assets
from assets.runs import execute, ingest, rebuild_of
from assets.staleness import out_of_date, unread
from sessrec_pipeline.evaluation.metrics import session_sums
from sessrec_pipeline.evaluation.ranking import MISS
from sessrec_pipeline.evaluation.ranks import METRICS
from sessrec_pipeline.feed import cards_of
from sessrec_pipeline.logs.landing import scan
from sessrec_pipeline.logs.parts import sha256_of
from sessrec_pipeline.models.base import Card, TrainedSettings
from sessrec_pipeline.report.looks import model_name
from sessrec_pipeline.report.published import as_printed
from sessrec_pipeline.settings import Section, Settings
from sessrec_pipeline.storage.files import replacing
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.store import Publishable, Store, Stored
from sessrec_pipeline.storage.versions import VersionFolder

RECIPES = files("sessrec_pipeline") / "recipes"
HEADER = re.compile(r"^\[recipe\]\n.*?(?=^\[)", re.MULTILINE | re.DOTALL)
SCHEMA = pa.schema(
    [
        ("kind", pa.string()),  # ours or published
        ("model", pa.string()),
        ("seed", pa.int64()),
        ("metric", pa.string()),
        ("k", pa.int64()),
        ("tie_rule", pa.string()),  # null: the source does not say
        ("scope", pa.string()),  # all predictions, or those on seen items; null: the source does not say
        ("value", pa.float64()),
        ("predictions", pa.int64()),
        ("rankings", pa.string()),  # lineage id
        ("source", pa.string()),
        ("note", pa.string()),
    ]
)


class ReproductionError(RuntimeError):
    """A benchmark that cannot be run; the text says why and what to do."""


class Recipe(Section):
    """The table ``[recipe]``: what a benchmark is about and needs."""

    title: str
    """Data and split, for the heading of the table."""
    files: Annotated[list[str], Field(min_length=1)]
    """Raw files that the folder given by ``--data`` must hold."""
    licence: str
    """Where the files come from and what may be done with them."""
    predictions: int | None = None
    """Predictions that these files must give; another number means other files."""


def recipe_names() -> list[str]:
    """The benchmarks that come with this version."""
    return sorted(entry.name.removesuffix(".toml") for entry in RECIPES.iterdir() if entry.name.endswith(".toml"))


def read_recipe(name: str) -> tuple[Recipe, str]:
    """The header of a recipe, and the ``sessrec.toml`` that is left without it."""
    if name not in recipe_names():
        raise ReproductionError(f"no benchmark {name!r}; there are {', '.join(recipe_names())}")
    text = (RECIPES / f"{name}.toml").read_text(encoding="utf-8")
    try:
        return Recipe.model_validate(tomllib.loads(text)["recipe"]), HEADER.sub("", text)
    except (tomllib.TOMLDecodeError, KeyError, ValidationError) as error:
        raise ReproductionError(f"the recipe {name} cannot be used: {error}") from None


def set_up(name: str, data: Path, home: Path) -> Recipe:
    """Write the recipe's settings into ``home`` and land its raw files; leave alone what is there already.

    ReproductionError where a file is missing, or the home belongs to something else.
    """
    recipe, toml = read_recipe(name)
    missing = [file for file in recipe.files if not (data / file).is_file()]
    if missing:
        raise ReproductionError(f"{data} lacks {', '.join(missing)}; {name} needs {recipe.title}. {recipe.licence}")
    settings_file, landing = home / "sessrec.toml", home / "landing"
    if settings_file.exists() and settings_file.read_text(encoding="utf-8") != toml:
        raise ReproductionError(
            f"{settings_file} is not the recipe of {name}: delete it to take the recipe, or name another folder with "
            "sessrec --home FOLDER reproduce"
        )
    others = sorted(p.name for p in landing.iterdir() if p.name not in recipe.files) if landing.is_dir() else []
    if others := [name for name in others if not name.startswith(".")]:
        raise ReproductionError(f"{landing} holds other logs ({others[0]}): name another folder with sessrec --home")
    for file in recipe.files:
        source, target = data / file, landing / file
        if not target.exists() or sha256_of(source) != sha256_of(target):
            with replacing(target) as temporary:
                shutil.copyfile(source, temporary)
    with replacing(settings_file) as temporary:
        temporary.write_text(toml, encoding="utf-8")
    return recipe


def seeded(card: Card[Any]) -> tuple[str, ...]:
    """Assets that each further seed of a trained model has for itself."""
    return card.checkpoint, *shard_assets(card), card.rankings


class SeedStore(Store):
    """The store of a further seed: model and rankings of its own, everything else shared with the feed."""

    def __init__(self, settings: Settings, card: Card[Any], seed: int) -> None:
        super().__init__(settings)
        self.seed, self.assets = seed, seeded(card)

    def folder(self, asset: str, partition: str | None, suffix: str) -> VersionFolder:
        """Where the versions of an artefact are: a seed's own are those of a partition of the feed's asset."""
        return super().folder(asset, self._own(asset) or partition, suffix)

    def publish(self, asset: str, value: Publishable, *, partition: str | None = None, **origin: Any) -> Stored:
        """As ``Store.publish``; what is a seed's own is a partition of the feed's asset."""
        return super().publish(asset, value, partition=self._own(asset) or partition, **origin)

    def _own(self, asset: str) -> str | None:
        return f"seed-{self.seed}" if asset in self.assets else None


def run(name: str, recipe: Recipe, settings: Settings, instance: dg.DagsterInstance, seeds: int) -> Stored:
    """Make what is missing for ``seeds`` seeds, the settings' own first; publish and return the table.

    ReproductionError where a step failed or the files are not those of the benchmark.
    """
    end_dead_runs(instance)
    store = Store(settings)
    definitions = build(settings)
    found = scan(settings.landing, store, {})
    instance.add_dynamic_partitions("landed_logs", list(found.seen))
    if any(ingest(definitions, unread(definitions.resolve_asset_graph(), store, found), instance)):
        raise ReproductionError("a log could not be read; the reason stands above")
    logs = list(found.seen)
    _refresh(definitions, store, logs, instance, None)
    predictions = store.find("test_split").stats["predictions"]
    if recipe.predictions not in (None, predictions):
        raise ReproductionError(
            f"these files give {predictions:,} predictions, not {recipe.predictions:,}: they are not those of {name}"
        )
    rankings: dict[tuple[str, int | None], Stored] = {}
    for card in cards_of(settings):
        if card.training is None:
            rankings[card.name, None] = store.find(card.rankings)
            continue
        # What was tuned or validated on the first seed is the choice; the others only train it.
        chosen = card.settings.model_validate(store.find(card.checkpoint).checkpoint().config)
        rankings[card.name, chosen.seed] = store.find(card.rankings)
        for seed in range(chosen.seed + 1, chosen.seed + seeds):
            seed_store = _train_seed(card, chosen, seed, settings, logs)
            rankings[card.name, seed] = seed_store.find(card.rankings)
    rows = [row for (model, seed), stored in rankings.items() for row in _measured(model, seed, stored, settings)]
    rows += [figure.model_dump() | {"kind": "published"} for figure in settings.published]
    config = {"recipe": name, "published": [figure.model_dump() for figure in settings.published], "seeds": seeds}
    return store.publish(
        "reproduction",
        Table(pa.Table.from_pylist(rows, SCHEMA), {"title": recipe.title}),
        code_version=code_version([_measured], config),
        config=config,
        parents=[stored.lineage for stored in rankings.values()],
    )


def _train_seed(
    card: Card[Any], chosen: TrainedSettings, seed: int, settings: Settings, logs: Sequence[str]
) -> SeedStore:
    """Train and rank a model with another seed."""
    of_seed = chosen.model_copy(update={"seed": seed})
    training = settings.training.model_copy(update={"tuning_trials": 0, "validate_epochs": False})
    own = settings.model_copy(update={card.section: of_seed, "training": training})
    store = SeedStore(own, card, seed)
    with dg.DagsterInstance.ephemeral() as aside:  # the UI shows the feed's own model
        _refresh(build(own, store), store, logs, aside, seeded(card))
    return store


def _refresh(
    definitions: dg.Definitions,
    store: Store,
    logs: Sequence[str],
    instance: dg.DagsterInstance,
    only: Sequence[str] | None,
) -> None:
    """Make the assets that are out of date (of ``only``, if given) in one run."""
    late = out_of_date(definitions.resolve_asset_graph(), store, logs)
    late = [key for key in late if only is None or key.to_user_string() in only]
    if not late:
        return
    if not execute(rebuild_of(definitions, late), instance).success:
        raise ReproductionError("a step failed; its error stands above. Run the command again to go on from there")


def _measured(model: str, seed: int | None, stored: Stored, settings: Settings) -> Iterator[dict[str, Any]]:
    """Rows of one ranking: all its predictions, and where some are misses for want of seen items, those without.

    A target, or a history, without any item that training saw is a miss by definition. Such misses add nothing to the
    sums, so leaving them out changes the divisor alone.
    """
    sums = session_sums({model: stored.path}, settings.evaluation.cutoffs)
    seen = int(pc.sum(pc.less(stored.arrow(["greater"])["greater"], MISS)).as_py())
    for row in sums.groupby(["tie_rule", "k"], as_index=False)[["predictions", *METRICS]].sum().to_dict("records"):
        scopes = {"all": int(row["predictions"]), "seen": seen}
        for scope, count in scopes.items():
            if scope == "all" or count != scopes["all"]:
                for metric in METRICS:
                    yield {
                        "kind": "ours", "model": model, "seed": seed, "metric": metric, "k": int(row["k"]),
                        "tie_rule": row["tie_rule"], "scope": scope, "value": row[metric] / max(count, 1),
                        "predictions": count, "rankings": stored.node.id,
                    }  # fmt: skip


def as_text(table: pa.Table, settings: Settings) -> Iterator[tuple[str, list[list[str]]]]:
    """The table for a terminal: for each scope a heading, and lines of model, Recall, MRR and source.

    Figures are at the largest cutoff under the settings' tie rule; ours over several seeds are mean [min max].
    """
    k, rule = max(settings.evaluation.cutoffs), settings.evaluation.tie_rule
    frame = table.to_pandas()
    at_k = frame[frame["k"] == k]
    published = at_k[at_k["kind"] == "published"]
    others: dict[tuple[str, str], dict[str, str]] = {}
    for figure in published.to_dict("records"):
        source = f"{figure['source']}{'; ' + figure['note'] if figure['note'] else ''}"
        others.setdefault((figure["model"], source), {})[figure["metric"]] = as_printed(figure["value"])
    theirs = [[model, own.get("recall", ""), own.get("mrr", ""), source] for (model, source), own in others.items()]

    ours = at_k[at_k["kind"] == "ours"]
    for scope, rows in ours.groupby("scope", sort=True):
        own = rows[rows["tie_rule"] == rule]
        lines: list[list[str]] = []
        best_first = own[own["metric"] == "recall"].groupby("model")["value"].mean().sort_values(ascending=False)
        for model in best_first.index:
            by_seed = own[own["model"] == model].pivot(index="seed", columns="metric", values="value")
            by_seed = by_seed[["recall", "mrr"]]
            several = len(by_seed) > 1
            what = f"ours, seeds {', '.join(f'{seed:.0f}' for seed in by_seed.index)}" if several else "ours"
            lines.append([model_name(str(model)), *[_spread(by_seed[metric].tolist()) for metric in by_seed], what])
            for seed, *values in by_seed.itertuples() if several else ():
                lines.append([f"  seed {seed:.0f}", *[f"{value:.4f}" for value in values], ""])
        wide = rows.pivot_table("value", ["model", "seed", "metric"], "tie_rule", dropna=False)
        gap = (wide["standard"] - wide["conservative"]).abs().groupby("model").max()
        tied = [f"{model_name(str(model))} by up to {value:.4f}" for model, value in gap.items() if value >= 5e-5]
        which = "every prediction" if scope == "all" else "predictions on items that training saw"
        yield (
            f"{which} ({own['predictions'].iloc[0]:,.0f}), the whole catalogue ranked, {rule} ties; the standard rule "
            + (f"differs: {', '.join(tied)}" if tied else "gives the same figures"),
            lines + theirs,
        )


def _spread(values: list[float]) -> str:
    mean = sum(values) / len(values)
    return f"{mean:.4f}" if len(values) == 1 else f"{mean:.4f} [{min(values):.4f} {max(values):.4f}]"
