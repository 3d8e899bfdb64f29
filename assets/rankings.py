"""The evidence: for each model one row per prediction, from a ranking of the whole catalogue."""

import time
from collections.abc import Sequence
from functools import partial

import dagster as dg

from assets.stage import stage
from sessrec_pipeline.compute import Compute, gpu
from sessrec_pipeline.evaluation.ranking import rank
from sessrec_pipeline.fitted import ARTEFACTS, load_model
from sessrec_pipeline.progress import progress_bar
from sessrec_pipeline.retries import retried
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.io_managers import SECONDS
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.store import Stored
from sessrec_pipeline.tuned import with_best

WARM_UP = 32
"""Test events that are ranked before the clock starts: what is compiled or allocated once is no cost per prediction."""
COLUMNS = {
    "session": ("string", "Test session"),
    "position": ("int64", "Position of the target in its session"),
    "target": ("string", "The item that came"),
    "greater": ("int64", "Catalogue items scored above the target"),
    "equal": ("int64", "Catalogue items scored as the target, itself included"),
    "top_items": ("list<string>", "The model's first items"),
}
SPARSE = ["models/sparse.py", "models/padding.py", "models/kernels.py"]
NEIGHBOURS = ["models/session_knn.py", "models/padding.py", "models/kernels.py"]
SOURCES = {
    "popularity": ["models/popularity.py"],
    "recent_popularity": ["models/popularity.py"],
    "session_popularity": ["models/session_popularity.py", "models/padding.py", "models/kernels.py"],
    "markov": ["models/markov.py", *SPARSE],
    "ar": SPARSE,
    "sr": SPARSE,
    "item_knn": SPARSE,
    "sknn": NEIGHBOURS,
    "vsknn": NEIGHBOURS,
    "stan": NEIGHBOURS,
    "vstan": NEIGHBOURS,
    "gru4rec": ["models/gru4rec.py"],
    "oracle": ["models/oracle.py", "logs/synthetic.py"],
}
READS = {
    "session_popularity": ["session_popularity"],
    "markov": ["markov"],
    "ar": ["ar.padding"],
    "sr": ["sr.padding"],
    "item_knn": ["item_knn.padding"],
    "sknn": ["sknn"],
    "vsknn": ["vsknn"],
    "stan": ["stan"],
    "vstan": ["vstan"],
    "oracle": ["synthetic"],
}


def rankings(model: str, tuning: Sequence[str] = ()) -> dg.AssetsDefinition:
    """The asset ``<model>_rankings``; ``tuning`` are the assets whose best settings stand for the configured ones."""

    @dg.asset(
        name=f"{model}_rankings",
        ins={"test_split": dg.AssetIn("test_split")}
        | {name: dg.AssetIn(name) for name in [*ARTEFACTS[model], *tuning]},
        description=f"Every catalogue item ranked by {model} for every test event from the second of its session on. "
        "The rank of a target follows from the counts under any tie rule; all metrics are computed from these rows.",
        **stage(
            "evaluation",
            ["python", "parquet"],
            sources=["evaluation/kernels.py", "evaluation/ranking.py", "tuned.py", *SOURCES[model]],
            reads=["evaluation.top_items", *READS.get(model, [])],
            columns=COLUMNS,
        ),
        **(gpu() if model == "gru4rec" else {}),
    )
    @retried
    def ranked(
        context: dg.AssetExecutionContext,
        settings: dg.ResourceParam[Settings],
        compute: dg.ResourceParam[Compute],
        test_split: Stored,
        **stored: Stored,
    ) -> Table:
        own = {name: stored[name] for name in ARTEFACTS[model]}
        recommender, vocabulary = load_model(model, own, with_best(settings, stored), compute)
        test, evaluation = test_split.arrow(), settings.evaluation
        ranked_by = partial(rank, recommender, vocabulary, batch_size=evaluation.batch_size, top=evaluation.top_items)
        ranked_by(test.slice(0, WARM_UP))
        begun = time.perf_counter()
        with progress_bar(f"ranking {model}", "event") as say:
            table = ranked_by(test, say=say)
        seconds = time.perf_counter() - begun
        context.log.info(f"{table.num_rows:,} predictions over {len(vocabulary):,} items")
        return Table(table, {SECONDS: seconds})

    return ranked
