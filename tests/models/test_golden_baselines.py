"""The baselines on public logs, against figures of independent implementations."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from sessrec_pipeline.engine import DuckDBEngine
from sessrec_pipeline.evaluation.metrics import METRICS, measure
from sessrec_pipeline.evaluation.ranking import rank
from sessrec_pipeline.logs.ingest import ingest_landed
from sessrec_pipeline.models.base import Recommender
from sessrec_pipeline.models.markov import Markov, fit_markov
from sessrec_pipeline.models.popularity import Popularity, fit_popularity
from sessrec_pipeline.preparation.sessions import prepare_sessions
from sessrec_pipeline.preparation.split import test_split as make_test_split
from sessrec_pipeline.preparation.split import train_split
from sessrec_pipeline.settings import EvaluationSettings, MarkovSettings, Settings
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.store import Store, Stored

Feed = Callable[..., Settings]
Dataset = Callable[[str], Path]
Figures = dict[tuple[str, int, str], float]


class Study:
    """A log from the landing folder to fitted baselines and their figures."""

    def __init__(self, settings: Settings, *logs: Path) -> None:
        self.settings = settings
        self.store = Store(settings)
        raw = []
        for log in logs:
            shutil.copy(log, settings.landing)
            events = ingest_landed(settings, log.name, lambda _: None).events
            raw.append(self.store.publish("raw_sessions", events, partition=log.name).path)
        sessions = self.run("sessions", lambda engine: prepare_sessions(engine, settings, raw, lambda _: None)).path
        self.train = self.run("train_split", lambda engine: train_split(engine, settings.split, sessions))
        self.test = self.run("test_split", lambda e: make_test_split(e, settings.split, sessions, self.train.path))

    def run(self, asset: str, work: Callable[[DuckDBEngine], Table]) -> Stored:
        with DuckDBEngine(self.settings) as engine:
            table = work(engine)
        return self.store.publish(asset, table)

    def fit(self) -> None:
        self.popularity = self.run("popularity", lambda engine: fit_popularity(engine, self.train.path)).arrow()
        self.markov = self.run("markov", lambda engine: fit_markov(engine, self.train.path)).arrow()

    def figures(self, model: tuple[Recommender, list[str]]) -> Figures:
        ranked = self.store.publish("rankings", Table(rank(*model, self.test.arrow(), batch_size=256, top=1)))
        table = measure({"m": ranked.path}, {"m": "id"}, EvaluationSettings(bootstrap_samples=100))
        assert set(table["predictions"].to_pylist()) == {self.test.stats["predictions"]}
        return {(row["metric"], row["k"], row["tie_rule"]): row["value"] for row in table.to_pylist()}

    def popularity_figures(self) -> Figures:
        return self.figures(Popularity.from_table(self.popularity))

    def markov_figures(self, **config: object) -> Figures:
        return self.figures(Markov.from_tables(self.popularity, self.markov, MarkovSettings.model_validate(config)))


def standard(figures: Figures, *wanted: tuple[str, int]) -> list[float]:
    return [round(figures[metric, k, "standard"], 4) for metric, k in wanted]


# --- seed_demo --------------------------------------------------------------------------------------------------------


@pytest.fixture
def seed_demo(feed: Feed, dataset: Dataset) -> Study:
    study = Study(feed(), dataset("seed_demo") / "synth_sessions.tsv")
    study.fit()
    return study


GOLDEN = {
    "popularity": [0.186728, 0.263158, 0.342792, 0.117239, 0.127079, 0.132407, 0.134497, 0.158850, 0.178735],
    "markov": [0.118993, 0.181693, 0.277803, 0.073707, 0.081560, 0.088059, 0.084917, 0.104675, 0.128764],
}


def test_seed_demo_split(seed_demo: Study) -> None:
    assert (seed_demo.train.stats["events"], seed_demo.train.stats["sessions"]) == (8_837, 800)
    assert (seed_demo.test.stats["events"], seed_demo.test.stats["sessions"]) == (2_385, 200)
    assert seed_demo.test.stats["predictions"] == 2_185


def test_seed_demo_golden_table(seed_demo: Study) -> None:
    for name, figures in (("popularity", seed_demo.popularity_figures()), ("markov", seed_demo.markov_figures())):
        for rule in ("standard", "median", "conservative"):  # nothing ties, so the rule does not matter
            nine = [figures[metric, k, rule] for metric in METRICS for k in (5, 10, 20)]
            assert [round(value, 6) for value in nine] == GOLDEN[name]


def test_seed_demo_raw_markov_depends_on_the_tie_rule(seed_demo: Study) -> None:
    figures = seed_demo.markov_figures(padding=False)
    recall = {rule: round(figures["recall", 20, rule], 4) for rule in ("standard", "median", "conservative")}
    assert recall == {"standard": 0.6343, "median": 0.1803, "conservative": 0.1593}


# --- real logs with a split of their own ------------------------------------------------------------------------------


def test_rsc15(feed: Feed, dataset: Dataset) -> None:
    folder = dataset("rsc15_100k")
    test_log = folder / "yoochoose-clicks-100k_test.txt"
    split = {"rule": "given", "test_logs": [test_log.name]}
    settings = feed(split=split, sessions={"drop_duplicates": False})
    study = Study(settings, folder / "yoochoose-clicks-100k_train_full.txt", test_log)
    wanted = ("recall", 5), ("recall", 20), ("mrr", 20)
    assert study.test.stats["predictions"] == 10_152

    study.fit()
    assert standard(study.popularity_figures(), *wanted) == [0.0486, 0.0894, 0.0264]
    assert standard(study.markov_figures(), *wanted) == [0.4814, 0.5878, 0.3468]

    # The source of the published figures goes through sessions by id: among equals another item is seen first.
    train = study.train.arrow()
    by_id = train.set_column(1, "session_number", pc.cast(train["session"], pa.int64()))
    assert train.column_names[1] == "session_number"
    study.train = study.store.publish("train_split", Table(by_id))
    study.fit()
    assert standard(study.popularity_figures(), *wanted) == [0.0486, 0.0894, 0.0264]
    assert standard(study.markov_figures(), *wanted) == [0.4851, 0.5856, 0.3483]


def test_serenade_toy(feed: Feed, dataset: Dataset) -> None:
    folder = dataset("serenade_toy")
    settings = feed(split={"rule": "given", "test_logs": ["test.txt"]}, logs={"session_scope": "log"})
    study = Study(settings, folder / "train.txt", folder / "test.txt")
    study.fit()
    assert study.test.stats["predictions"] == 931
    assert standard(study.popularity_figures(), ("recall", 20), ("mrr", 20)) == [0.0107, 0.0022]
