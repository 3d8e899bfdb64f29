"""``sessrec search`` works on the very studies of the tuning assets, wherever they are kept."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner

from assets.graph import build
from assets.ingestion import landed_logs
from assets.runs import execute, ingest
from sessrec_pipeline.cli import main
from sessrec_pipeline.feed import FeedSettings, load_settings
from sessrec_pipeline.logs.synthetic import write_logs
from sessrec_pipeline.settings import SyntheticSettings
from sessrec_pipeline.storage.store import Store

TOML = """
models = ["markov", "ar", "gru4rec"]
[training]
tuning_trials = {trials}
{study}
[gru4rec]
layers = [8]
n_epochs = 1
n_sample = 16
batch_size = 16
[evaluation]
cutoffs = [5]
"""


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The command names its feed in the environment."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def configured(feed: Callable[..., FeedSettings]) -> Callable[..., FeedSettings]:
    def make(trials: int = 2, study: str = "") -> FeedSettings:
        home = feed().home
        (home / "sessrec.toml").write_text(TOML.format(trials=trials, study=study))
        write_logs(SyntheticSettings(sessions=120, items=50, days=1), home / "landing")
        return load_settings(home)

    return make


def make(settings: FeedSettings, instance: dg.DagsterInstance, *assets: str) -> None:
    definitions = build(settings)
    logs = [path.name for path in settings.landing.iterdir()]
    instance.add_dynamic_partitions(str(landed_logs.name), logs)
    if "sessions" in assets:
        assert ingest(definitions, logs, instance) == ({}, {})
    job = definitions.resolve_job_def("rebuild")
    assert execute(job, instance, asset_selection=[dg.AssetKey(name) for name in assets]).success


SPLITS = ("sessions", "train_split", "tuning_train_split", "tuning_test_split")


def command(settings: FeedSettings, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["--home", str(settings.home), "search", *arguments])
    return result.exit_code, result.output


@pytest.mark.parametrize("database", [False, True])
def test_the_assets_take_what_the_command_found(
    configured: Callable[..., FeedSettings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    database: bool,
) -> None:
    settings = configured(study=f'study = "sqlite:///{tmp_path}/s3cret.sqlite"' if database else "")
    with dg.DagsterInstance.ephemeral() as instance:
        make(settings, instance, *SPLITS)
        code, said = command(settings)
        assert code == 0, said
        lines = said.splitlines()
        assert [line for line in lines if "finished" in line] == [
            f"{model}: all 2 trials are finished" for model in ("markov", "ar", "gru4rec")
        ]
        assert sum("mrr@5" in line for line in lines) == 6
        assert command(settings)[1].splitlines() == [line for line in lines if "finished" in line], "nothing is left"

        def again(*_: object, **__: object) -> float:
            raise AssertionError("a trial was done twice")

        monkeypatch.setattr("sessrec_pipeline.tuning.search.TuningSplit.value", again)
        make(settings, instance, "markov_tuning", "ar_tuning", "gru4rec_tuning")
        told = [str(event) for event in instance.all_logs(instance.get_runs()[0].run_id)]
    for model in ("markov", "ar", "gru4rec"):
        assert Store(settings).find(f"{model}_tuning").arrow()["trial"].to_pylist() == [0, 1]
    assert bool(list(settings.training_states.glob("*.sqlite"))) != database
    written = [path for path in settings.home.rglob("*") if path.is_file() and path.name != "sessrec.toml"]
    assert not [path for path in written if b"s3cret" in path.read_bytes()]
    assert not [line for line in [*told, said, *capfd.readouterr()] if "s3cret" in line]


def test_a_command_that_cannot_search_says_why(configured: Callable[..., FeedSettings]) -> None:
    settings = configured()
    code, said = command(settings)
    assert code == 2 and "nothing is materialized" in said
    settings.lake.mkdir()
    code, said = command(settings)
    assert code == 2 and len(said.splitlines()) == 1
    assert "tuning_train_split is not there yet" in said and "`sessrec materialize` makes it" in said
    code, said = command(settings, "popularity")
    assert code == 2 and "'popularity' has no search; there are markov, ar, gru4rec" in said
    code, said = command(configured(trials=0))
    assert code == 2 and "set [training] tuning_trials" in said


def test_splits_of_other_settings_are_not_searched(
    configured: Callable[..., FeedSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = configured()
    with dg.DagsterInstance.ephemeral() as instance:
        make(settings, instance, *SPLITS)
    monkeypatch.setenv("SESSREC_SPLIT__RATIO", "0.6")
    code, said = command(settings, "markov")
    assert code == 2 and "train_split is not up to date: `sessrec materialize tuning_test_split`" in said


def test_a_database_that_is_away_is_one_sentence(configured: Callable[..., FeedSettings]) -> None:
    settings = configured(study='study = "sqlite:////no/such/folder/study.sqlite"')
    with dg.DagsterInstance.ephemeral() as instance:
        make(settings, instance, *SPLITS)
    code, said = command(settings, "markov")
    assert code == 2 and len(said.splitlines()) == 1 and "[training] study: sqlite:///" in said


def test_a_study_that_is_no_url_is_refused_without_being_shown(configured: Callable[..., FeedSettings]) -> None:
    settings = configured()
    toml = settings.home / "sessrec.toml"
    toml.write_text(toml.read_text().replace("[gru4rec]", 'study = "me:s3cret@db"\n[gru4rec]', 1))
    code, said = command(settings)
    assert code == 2 and "training.study: write the URL of a database" in said and "s3cret" not in said


def test_the_code_is_part_of_what_is_shared(
    configured: Callable[..., FeedSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two machines with different versions of the code must not mix their trials."""
    settings = configured()
    with dg.DagsterInstance.ephemeral() as instance:
        make(settings, instance, *SPLITS)
    assert command(settings)[0] == 0
    before = {path.name for path in settings.training_states.iterdir()}
    monkeypatch.setattr("assets.tuning.code_digest", lambda roots: "another version")
    assert command(settings)[0] == 0
    assert len({path.name for path in settings.training_states.iterdir()} - before) == 3
