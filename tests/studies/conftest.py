"""A small demo feed with everything that studies read, made by the pipeline's functions without Dagster."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from small_feed import Feed

from sessrec_pipeline.engine import DuckDBEngine
from sessrec_pipeline.evaluation.ranking import rank
from sessrec_pipeline.feed import FeedSettings, cards_of
from sessrec_pipeline.logs.ingest import ingest_landed
from sessrec_pipeline.logs.synthetic import write_logs
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings
from sessrec_pipeline.preparation.sessions import prepare_sessions
from sessrec_pipeline.preparation.split import test_split as make_test_split
from sessrec_pipeline.preparation.split import train_split
from sessrec_pipeline.settings import EvaluationSettings, StudySettings, SyntheticSettings
from sessrec_pipeline.storage.checkpoints import Checkpoint
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.store import Stored
from sessrec_pipeline.studies.laboratory import ScratchStore
from sessrec_pipeline.training.device import Compute
from sessrec_pipeline.training.fit import fit_of, fit_table, recommender_of

SETTINGS = {
    "synthetic": SyntheticSettings(sessions=300, items=60, days=2),
    "gru4rec": GRU4RecSettings(layers=[8], n_epochs=1, n_sample=16, batch_size=16),
    "evaluation": EvaluationSettings(cutoffs=[5], bootstrap_samples=200),
    "studies": StudySettings(negatives=20, models=["popularity", "markov"]),
}


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Feed]:
    """Read it, never write to it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SESSREC_HOME", raising=False)
        yield make_feed(tmp_path_factory.mktemp("studies"))


def make_feed(home: Path) -> Feed:
    settings = FeedSettings(home=home, **SETTINGS)  # type: ignore[arg-type]
    store = ScratchStore(settings)
    assert settings.synthetic is not None
    raw = []
    for log in write_logs(settings.synthetic, settings.landing):
        ingested = ingest_landed(settings, log.name, lambda _: None)
        store.publish("quarantine", ingested.quarantine, partition=log.name)
        raw.append(store.publish("raw_sessions", ingested.events, partition=log.name).path)
    stored: dict[str, Stored] = {}
    with DuckDBEngine(settings) as engine:
        stored["sessions"] = store.publish("sessions", prepare_sessions(engine, settings, raw, lambda _: None))
    sessions = stored["sessions"].path
    with DuckDBEngine(settings) as engine:
        stored["train_split"] = store.publish("train_split", train_split(engine, settings.split, sessions))
    train = stored["train_split"].path
    with DuckDBEngine(settings) as engine:
        stored["test_split"] = store.publish("test_split", make_test_split(engine, settings.split, sessions, train))
    cards, tables, device = cards_of(settings), {}, Compute(settings.compute).device()
    for table in {table.name: table for card in cards for table in card.tables}.values():
        with DuckDBEngine(settings) as engine:
            stored[table.name] = store.publish(table.name, fit_table(table, engine, train, settings))
        tables[table.name] = stored[table.name].arrow()
    for card in cards:
        section = settings.section(card.section)
        fitted = fit_of(card)(card, section, tables, stored["train_split"].arrow, device)
        checkpoint = Checkpoint(card.name, fitted.arrays, section.model_dump(mode="json"), fitted.items)
        stored[card.checkpoint] = store.publish(card.checkpoint, checkpoint)
        recommender = recommender_of(card, section, fitted)
        ranked = rank(recommender, fitted.items, stored["test_split"].arrow(), batch_size=256, top=5)
        stored[card.rankings] = store.publish(card.rankings, Table(ranked))
    return Feed(settings, stored)
