"""The leaderboard of fitted models, and the differences between them, by the pipeline's evaluator."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from sessrec_pipeline.api.events import events_of, workspace
from sessrec_pipeline.api.frames import Columns, TimeUnit
from sessrec_pipeline.api.models import Model
from sessrec_pipeline.api.options import Progress, computing, reporting, validated
from sessrec_pipeline.evaluation import comparisons, metrics
from sessrec_pipeline.evaluation.ranking import rank
from sessrec_pipeline.settings import EvaluationSettings, TieRule

Models = Model | Sequence[Model] | Mapping[str, Model]


def evaluate(
    models: Models,
    test: object,
    *,
    k: int | None = None,
    cutoffs: Sequence[int] = (5, 10, 20),
    tie_rule: TieRule = "conservative",
    bootstrap_samples: int = 1000,
    permutations: int = 10_000,
    alpha: float = 0.05,
    primary: str | None = None,
    equivalence_margin: float = 0.05,
    seed: int = 42,
    batch_size: int = 256,
    progress: Progress = False,
    session: str = "session",
    item: str = "item",
    time: str = "time",
    time_unit: TimeUnit | None = None,
) -> pd.DataFrame:
    """The leaderboard: every model ranks its whole catalogue for each test event from the second of its session on.

    models: fitted models; a mapping names them, else they are called as their cards are, and where that would give two
        models one name, with the settings that they differ by. A model's target that its catalogue lacks is a miss.
    test: the test part of ``temporal_split``; or a frame as there, of which nothing is left out.
    k: the largest cutoff, whose Recall orders the board; by default the largest of ``cutoffs``.
    cutoffs: K of Recall@K, MRR@K, NDCG@K, MAP@K and precision@K; those above ``k`` are left out.
    tie_rule: the rank of a target among items of equal score: the worst of their places (conservative), the best
        (standard), or the middle (median).
    bootstrap_samples: resamples of the test sessions behind each 95 % interval.
    permutations: random sign flips behind each paired test.
    alpha: the difference of two models is significant where its corrected p-value is below it.
    primary: the metric that decides, as "mrr@10": it orders the board; by default Recall at ``k``.
    equivalence_margin: models are equivalent where the whole interval of their difference lies within this share of
        the better one's value.
    seed: of all draws. batch_size: predictions scored at once; no result depends on it.
    progress: True for a bar, or a function of the events done and all of them, for each model anew.

    Returns a row per model, the best one first: model; ``recall_at_20``, ``recall_at_20_low``, ``recall_at_20_high``
    and so on, micro-averages with 95 % intervals over test sessions (none where fewer than 10 test); ``p_best`` and
    ``p_next`` of paired tests of the primary metric against the best model and the one in the next row, corrected by
    Holm over all pairs, and what follows, ``vs_best`` and ``vs_next``: differs, differs within margin, equivalent, not
    told apart, or (fewer than 50) too few sessions; predictions, sessions, tie_rule.

    NotFittedError, FrameError, SettingsError; ValueError where there is nothing to predict.
    """
    asked = _settings(
        k, cutoffs, tie_rule, bootstrap_samples, permutations, alpha, primary, equivalence_margin, seed, batch_size
    )
    with _ranked(models, test, Columns(session, item, time, time_unit), asked, progress) as (rankings, labels):
        measured = metrics.metrics_table(rankings, dict.fromkeys(rankings, ""), asked)
        board: pd.DataFrame = metrics.leaderboard(measured, comparisons.compare(rankings, asked), asked).to_pandas()
    return board.drop(columns="rankings").assign(model=board["model"].map(labels))


def compare(
    models: Models,
    test: object,
    *,
    k: int | None = None,
    cutoffs: Sequence[int] = (5, 10, 20),
    tie_rule: TieRule = "conservative",
    bootstrap_samples: int = 1000,
    permutations: int = 10_000,
    alpha: float = 0.05,
    primary: str | None = None,
    equivalence_margin: float = 0.05,
    seed: int = 42,
    batch_size: int = 256,
    progress: Progress = False,
    session: str = "session",
    item: str = "item",
    time: str = "time",
    time_unit: TimeUnit | None = None,
) -> pd.DataFrame:
    """The difference of every two models on the same predictions, and whether it is more than chance.

    The arguments are those of ``evaluate``. Returns a row per pair, metric (recall, mrr, ndcg) and cutoff: model_a,
    model_b, metric, k, tie_rule; difference (a - b) with its 95 % interval low, high; p of a paired sign-flip test over
    sessions, p_holm corrected by Holm over all pairs, significant; margin and equivalent; predictions, sessions.
    """
    asked = _settings(
        k, cutoffs, tie_rule, bootstrap_samples, permutations, alpha, primary, equivalence_margin, seed, batch_size
    )
    with _ranked(models, test, Columns(session, item, time, time_unit), asked, progress) as (rankings, labels):
        pairs: pd.DataFrame = comparisons.compare(rankings, asked).to_pandas()
    return pairs.assign(model_a=pairs["model_a"].map(labels), model_b=pairs["model_b"].map(labels))


def _settings(
    k: int | None,
    cutoffs: Sequence[int],
    tie_rule: TieRule,
    bootstrap_samples: int,
    permutations: int,
    alpha: float,
    primary: str | None,
    equivalence_margin: float,
    seed: int,
    batch_size: int,
) -> EvaluationSettings:
    largest = max(cutoffs, default=0) if k is None else k
    values = {
        "cutoffs": sorted({int(cutoff) for cutoff in cutoffs if cutoff < largest} | {int(largest)}),
        "top_items": max(1, int(largest)),
        "tie_rule": tie_rule,
        "bootstrap_samples": bootstrap_samples,
        "permutations": permutations,
        "alpha": alpha,
        "primary": primary,
        "equivalence_margin": equivalence_margin,
        "seed": seed,
        "batch_size": batch_size,
    }
    return validated(EvaluationSettings, values, "evaluate")


@contextmanager
def _ranked(
    models: Models, test: object, columns: Columns, settings: EvaluationSettings, progress: Progress
) -> Iterator[tuple[dict[str, Path], dict[str, str]]]:
    """The Parquet of each model's rankings, while the block lasts, by plain names; and the callers' names for these."""
    named = _named(models)
    events = events_of(test, columns).table
    with workspace() as home:
        rankings: dict[str, Path] = {}
        labels: dict[str, str] = {}
        for number, (label, model) in enumerate(named.items()):
            with computing(model.card, model.device) as device, reporting(progress, f"ranking {label}") as told:
                recommender = model.recommender(device)
                ranked = rank(
                    recommender,
                    model.items,
                    events,
                    batch_size=settings.batch_size,
                    top=settings.top_items,
                    progress=told,
                )
            if not ranked.num_rows:
                raise ValueError("no test session has two events or more: there is nothing to predict")
            name = _plain(label, model, rankings)
            rankings[name] = home.home / f"{number}.parquet"
            labels[name] = label
            pq.write_table(ranked, rankings[name])
        yield rankings, labels


def _plain(label: str, model: Model, taken: Iterable[str]) -> str:
    """A name for SQL, in which capitals are not told apart: the caller's own where that will do."""
    if model.card.kind == "ceiling":
        label = model.card.name  # by which the leaderboard knows what does not compete
    others = {name.lower() for name in taken}
    if re.fullmatch(r"[A-Za-z_]\w{0,49}", label, re.ASCII) and label.lower() not in others:
        return label
    return next(name for number in count() if (name := f"model_{number}") not in others)


def _named(models: Models) -> dict[str, Model]:
    """Each model under its name."""
    if isinstance(models, Mapping):
        named = dict(models)
    else:
        listed = [models] if isinstance(models, Model) else list(models)
        if strange := [model for model in listed if not isinstance(model, Model)]:
            raise TypeError(f"{strange[0]!r} is no model: give fitted models, or a mapping of names to them")
        names = [model.card.name for model in listed]
        alike = {name for name in names if names.count(name) > 1}
        named = {}
        for model, name in zip(listed, names, strict=True):
            changed = repr(model).removeprefix(type(model).__name__).replace("()", "")
            label = f"{name}{changed}" if name in alike else name
            copies = sum(other == label or other.startswith(f"{label} #") for other in named)
            named[f"{label} #{copies + 1}" if copies else label] = model
    if not named:
        raise ValueError("evaluate needs a model at least")
    for model in named.values():
        _ = model.items  # NotFittedError before any of them is ranked
    return named
