"""Every baseline is tuned as GRU4Rec is: as many trials, inside train; what reads its settings takes the best ones."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import dagster as dg
import pyarrow as pa

from assets import rankings
from assets.stage import READS_KEY, SOURCES_KEY, stage
from assets.studies import fits, fitted_assets
from sessrec_pipeline.compute import Compute
from sessrec_pipeline.evaluation.ranks import recall_and_mrr
from sessrec_pipeline.fitted import ARTEFACTS
from sessrec_pipeline.progress import progress_bar
from sessrec_pipeline.retries import retried
from sessrec_pipeline.settings import Section, Settings, StudySettings
from sessrec_pipeline.storage.lake import Stats, Table
from sessrec_pipeline.storage.store import Stored
from sessrec_pipeline.studies.laboratory import Laboratory
from sessrec_pipeline.tuned import BASELINES, SPACES, best, tunable, tuning_assets, with_best
from sessrec_pipeline.versions import source_digest

if TYPE_CHECKING:  # imports optuna, an extra
    from sessrec_pipeline.evaluation.tuning import Trial

SEARCH = ("evaluation/tuning.py", "evaluation/shared_study.py")
MEASURED = ("evaluation/kernels.py", "evaluation/ranking.py", "evaluation/ranks.py")


def baseline_tuning_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """``baseline_tuning``, where settings ask for trials and the feed has baselines to tune."""
    return [_baseline_tuning(settings)] if BASELINES in tuning_assets(settings) else []


def tuned(asset: dg.AssetsDefinition, settings: Settings) -> dg.AssetsDefinition:
    """The asset of a fitted table as it is, or, if it reads settings that are tuned, made with the best of them."""
    spec = asset.specs_by_key[asset.key]
    if not _reads_tuned(spec.metadata[READS_KEY], settings):
        return asset
    ins = {name: dg.AssetIn(key) for name, key in asset.keys_by_input_name.items()}
    sources = [*spec.metadata[SOURCES_KEY], "tuned.py"]

    @dg.asset(
        name=asset.key.to_user_string(),
        ins=ins | {BASELINES: dg.AssetIn(BASELINES)},
        description=spec.description,
        group_name=spec.group_name,
        kinds=spec.kinds,
        owners=list(spec.owners),
        metadata={**spec.metadata, SOURCES_KEY: sources},
    )
    def made(settings: dg.ResourceParam[Settings], **stored: Stored) -> Table:
        own = {name: stored[name] for name in ins}
        return cast(Table, asset(settings=with_best(settings, stored), **own))

    return made


def tuned_rankings(model: str, settings: Settings) -> list[dg.AssetsDefinition]:
    """The assets that rank a model, with the best settings if they read any that are tuned."""
    reads = rankings.READS.get(model, [])
    return rankings.ranking_assets(model, settings, [BASELINES] if _reads_tuned(reads, settings) else [])


def _reads_tuned(reads: list[str], settings: Settings) -> bool:
    """Whether any of the settings is one that ``baseline_tuning`` chooses."""
    sections = {name.split(".")[0] for name in reads}
    return BASELINES in tuning_assets(settings) and not sections.isdisjoint(tunable(settings))


def _baseline_tuning(settings: Settings) -> dg.AssetsDefinition:
    models = tunable(settings)
    own_sources = [source for model in models for source in _sources(settings, model)]

    @dg.asset(
        name=BASELINES,
        **stage(
            "models",
            ["duckdb", "optuna"],
            sources=[*dict.fromkeys(own_sources), *SEARCH, "studies/laboratory.py", "tuned.py"],
            reads=[*models, "training.tuning_trials", "training.metric", "evaluation.cutoffs", "evaluation.seed"],
            columns={
                "model": ("string", "Model"),
                "trial": ("int64", "Number of the trial; 0 is what is configured"),
                "value": ("double", "Metric on the tuning test split"),
                "seconds": ("double", "What the trial took"),
                "config": ("string", "The model's settings, JSON"),
            },
        ),
    )
    @retried
    def baseline_tuning(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        compute: dg.ResourceParam[Compute],
        tuning_train_split: Stored,
        tuning_test_split: Stored,
    ) -> Table:
        """Trials of a search through each baseline's settings on the tuning split, as many as GRU4Rec gets.

        It never sees test. The configured settings are each model's first trial. A search that was interrupted goes on
        where it was, and ``sessrec search`` in other processes shares the work.
        """
        training, k = settings.training, max(settings.evaluation.cutoffs)
        rows: list[dict[str, Any]] = []
        stats: Stats = {}
        with progress_bar("tuning baselines", "trial") as say:
            found = search_baselines(settings, compute, models, tuning_train_split, tuning_test_split)
            for i, (model, trials) in enumerate(found, 1):
                say(i * training.tuning_trials, len(models) * training.tuning_trials)
                own = [{"model": model, **trial.row()} for trial in trials]
                chosen = best(own)
                context.log.info(
                    f"{model}: {training.metric}@{k} {own[0]['value']:.4f} as configured, "
                    f"{chosen['value']:.4f} with {chosen['config']}"
                )
                stats |= {f"{model}: best value": chosen["value"], f"{model}: config": chosen["config"]}
                rows += own
        return Table(pa.Table.from_pylist(rows), stats)

    return baseline_tuning


def search_baselines(
    settings: Settings,
    compute: Compute,
    models: Sequence[str],
    train: Stored,
    test: Stored,
    say: Callable[[str, "Trial[Section]"], None] = lambda model, trial: None,
) -> Iterator[tuple[str, list["Trial[Section]"]]]:
    """The trials of each model's search on the tuning splits ``train`` and ``test``, once all of them are finished.

    Everyone with the same splits, settings and code works on the same studies. ``say`` is told of those done here.
    """
    from sessrec_pipeline.evaluation.tuning import search, suggest  # noqa: PLC0415 - imports optuna, an extra

    # Which models a study looks at is no matter here.
    feed = settings.model_copy(update={"studies": StudySettings()})
    with Laboratory(feed, fits(settings, compute), compute) as laboratory:
        own, events = laboratory.put("train_split", train.path), test.arrow()
        for model in models:
            base: Section = getattr(settings, model)
            yield (
                model,
                search(
                    base,
                    partial(suggest, space=SPACES[model]),
                    _worth(laboratory, model, own, events),
                    settings.training_states / f"tuning-{model}-{_key(settings, model, train, test)[:16]}.journal",
                    trials=settings.training.tuning_trials,
                    seed=settings.evaluation.seed,
                    url=settings.training.study,
                    report=partial(say, model),
                ),
            )


def _worth(laboratory: Laboratory, model: str, train: Stored, test: pa.Table) -> Callable[[Section], float]:
    """What a section of settings is worth to a model: fitted on ``train``, measured on ``test``.

    What does not depend on the section is fitted once.
    """
    metric = laboratory.feed.training.metric
    same = [name for name in ARTEFACTS[model] if not laboratory.fits[name].depends_on(model)]
    fitted: dict[str, Stored] = {}

    def worth(section: Section) -> float:
        settings = laboratory.settings.model_copy(update={model: section})
        found = laboratory.fit(train, [model], settings, fitted)
        fitted.update({name: found[name] for name in same})
        return recall_and_mrr(laboratory.rank(model, found, test, settings), laboratory.k)[metric]

    return worth


def _sources(settings: Settings, model: str) -> list[str]:
    """What the value of a trial comes from."""
    fitted = fitted_assets(settings)
    made = [
        source for name in ARTEFACTS[model] for source in fitted[name].metadata_by_key[fitted[name].key][SOURCES_KEY]
    ]
    return [*dict.fromkeys(made), *rankings.SOURCES[model], *MEASURED, "fitted.py"]


def _key(settings: Settings, model: str, train: Stored, test: Stored) -> str:
    """What a search under way rests on: it may go on only where all of it is the same."""
    section: Section = getattr(settings, model)
    parts = [
        section.model_dump_json(),
        settings.training.metric,
        str(max(settings.evaluation.cutoffs)),
        str(settings.evaluation.seed),
        source_digest([*_sources(settings, model), *SEARCH, "tuned.py"]),
        train.node.data_version,
        test.node.data_version,
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
