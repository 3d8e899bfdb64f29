"""Rankings in shards: the same tables as in one piece, whatever ranks which shard and when."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from sessrec_pipeline.definitions import build
from sessrec_pipeline.logs.synthetic import write_logs
from sessrec_pipeline.runs import execute, materialize_all, out_of_date, run_checks
from sessrec_pipeline.settings import GRU4RecConfig, Settings, SyntheticSettings
from sessrec_pipeline.storage.io_managers import SECONDS
from sessrec_pipeline.storage.store import Store

pytestmark = pytest.mark.usefixtures("no_drawings")

SMALL = SyntheticSettings(sessions=150, items=50, days=2)
QUICK = GRU4RecConfig(layers=[8], n_epochs=1, n_sample=16, batch_size=16)
MODELS = ["markov", "sknn", "gru4rec"]
RANKED = [*MODELS, "popularity", "oracle"]
TIMED = {"costs", "report"}


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def make(home: Path, shards: int, **evaluation: object) -> Settings:
    evaluation = {"shards": shards, "bootstrap_samples": 100, "permutations": 1000} | evaluation
    return Settings(home=home, models=MODELS, synthetic=SMALL, gru4rec=QUICK, evaluation=evaluation)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sharded")


@pytest.fixture(scope="module")
def whole(home: Path, instance: dg.DagsterInstance) -> dict[str, str]:
    """Content hashes of the feed ranked in one piece."""
    settings = make(home, 1)
    write_logs(SMALL, settings.landing)
    assert materialize_all(settings, instance).success
    return versions(settings)


def versions(settings: Settings) -> dict[str, str]:
    store = Store(settings)
    names = [f"{model}_rankings" for model in RANKED]
    return {name: store.find(name).node.data_version for name in [*names, "slices", "protocols"]}


def test_shards_give_the_same_tables(home: Path, whole: dict[str, str], instance: dg.DagsterInstance) -> None:
    settings = make(home, 3)
    outcome = materialize_all(settings, instance)
    assert outcome.success, outcome.failed
    print(outcome.rebuilt)
    assert versions(settings) == whole
    assert materialize_all(settings, instance).rebuilt == []
