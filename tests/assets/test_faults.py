"""Faults of machines, disks and logs that touch the whole graph, each put in for real or where it would strike."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
import torch

from assets.runs import Outcome, materialize_all
from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.logs.synthetic import write_logs
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings
from sessrec_pipeline.models.gru4rec.trainer import GRU4RecTrainer
from sessrec_pipeline.settings import SessionSettings, SyntheticSettings
from sessrec_pipeline.storage.store import NotMaterializedError, Store

pytestmark = pytest.mark.usefixtures("no_drawings")

LAW = SyntheticSettings(sessions=120, items=60, days=2)
FEW = ["markov", "gru4rec"]
QUICK = GRU4RecSettings(layers=[8], n_epochs=1, n_sample=16, batch_size=16)
CHECKPOINT = ["gru4rec_checkpoint"]


@pytest.fixture
def demo(feed: Callable[..., FeedSettings]) -> FeedSettings:
    settings = feed(models=FEW, synthetic=LAW, gru4rec=QUICK)
    write_logs(LAW, settings.landing)
    return settings


def materialized(settings: FeedSettings, instance: dg.DagsterInstance, *events: tuple[object, object, int]) -> Outcome:
    rows = "".join(f"{session}\t{item}\t{1767225600 + second}\n" for session, item, second in events)
    (settings.landing / "log.tsv").write_text(f"SessionId\tItemId\tTime\n{rows}")
    return materialize_all(settings, instance)


# --- logs with next to nothing in them --------------------------------------------------------------------------------


def test_one_item_gives_trivial_results(feed: Callable[..., FeedSettings], instance: dg.DagsterInstance) -> None:
    settings = feed(models=FEW, gru4rec=QUICK)
    events = [(session, "only", 100 * session + k) for session in range(40) for k in range(3)]
    assert materialized(settings, instance, *events).success
    board = Store(settings).find("leaderboard").arrow()
    assert set(board["recall_at_5"].to_pylist()) == {1.0}


@pytest.mark.parametrize(
    ("sections", "events", "step", "sentence"),
    [
        ({}, [("s", k, k) for k in range(30)], "train_split", "no training session is left"),
        ({}, [(k, k % 9, k) for k in range(30)], "sessions", "after dropping sessions too short"),
        (
            {"sessions": SessionSettings(min_item_support=5)},
            [(s, f"{s} {k}", 10 * s + k) for s in range(20) for k in range(3)],
            "sessions",
            "after dropping rare items",
        ),
    ],
    ids=["one session", "sessions of one event", "rare items"],
)
def test_nothing_left_is_refused_by_the_name_of_the_filter(
    feed: Callable[..., FeedSettings],
    instance: dg.DagsterInstance,
    sections: dict[str, object],
    events: list[tuple[object, object, int]],
    step: str,
    sentence: str,
) -> None:
    outcome = materialized(feed(models=FEW, gru4rec=QUICK, **sections), instance, *events)
    assert not outcome.success
    assert sentence in outcome.failed[step]


# --- the machine ------------------------------------------------------------------------------------------------------


def test_a_disk_that_refuses_fails_the_step_and_keeps_what_was_there(
    demo: FeedSettings, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = ["gru4rec_checkpoint", "metrics"]
    assert materialize_all(demo, instance, up_to=wanted).success
    store = Store(demo)
    before = {asset: store.find(asset).node.id for asset in ("sessions", *wanted)}
    for code in (errno.EROFS, errno.ENOSPC, errno.EACCES):

        def refuse(self: Path, target: Path, code: int = code) -> Path:
            raise OSError(code, os.strerror(code), str(target))

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", refuse)
            outcome = materialize_all(demo, instance, up_to=wanted, everything=True)
        assert not outcome.success
        assert any(os.strerror(code) in reason for reason in [*outcome.refused.values(), *outcome.failed.values()])
        assert {asset: store.find(asset).node.id for asset in before} == before
        assert not list(demo.home.rglob(".tmp-*.parquet"))
    assert materialize_all(demo, instance, up_to=wanted, everything=True).success


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_out_of_memory_in_training_says_what_to_lower(
    demo: FeedSettings, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    assert materialize_all(demo, instance, up_to=CHECKPOINT).success
    before = Store(demo).find("gru4rec_checkpoint").node.id

    def refuse(*_: object, **__: object) -> None:
        raise error

    bigger = demo.model_copy(update={"gru4rec": QUICK.model_copy(update={"n_sample": 32})})
    monkeypatch.setattr(GRU4RecTrainer, "step", refuse)
    outcome = materialize_all(bigger, instance, up_to=CHECKPOINT)
    assert "n_sample = 32" in outcome.failed["gru4rec_checkpoint"]
    assert Store(demo).find("gru4rec_checkpoint").node.id == before


def test_a_training_that_diverges_keeps_the_last_checkpoint(demo: FeedSettings, instance: dg.DagsterInstance) -> None:
    assert materialize_all(demo, instance, up_to=CHECKPOINT).success
    before = Store(demo).find("gru4rec_checkpoint").node.id
    wild = demo.model_copy(update={"gru4rec": QUICK.model_copy(update={"learning_rate": 1e30, "n_epochs": 3})})
    outcome = materialize_all(wild, instance, up_to=CHECKPOINT)
    assert "try a learning_rate below" in outcome.failed["gru4rec_checkpoint"]
    assert Store(demo).find("gru4rec_checkpoint").node.id == before


def test_a_log_that_is_deleted_after_it_was_seen_is_named(
    demo: FeedSettings, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    from assets import runs

    scan = runs.scan

    def scan_and_lose(*arguments: object, **options: object) -> object:
        found = scan(*arguments, **options)  # type: ignore[arg-type]
        max(demo.landing.iterdir()).unlink()
        return found

    gone = max(demo.landing.iterdir()).name
    monkeypatch.setattr(runs, "scan", scan_and_lose)
    outcome = materialize_all(demo, instance, up_to=["sessions"])
    assert "is not in" in outcome.refused[gone]
    with pytest.raises(NotMaterializedError):
        Store(demo).find("raw_sessions", gone)
    assert outcome.success, "the other log went on"


@pytest.mark.parametrize("asset", ["quarantine", "raw_sessions"])
def test_a_log_of_which_half_was_published_is_read_again(
    demo: FeedSettings, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, asset: str
) -> None:
    """A run that dies before it publishes the one or the other of a log's two tables."""
    publish = Store.publish

    def die(self: Store, name: str, *rest: object, **options: object) -> object:
        if name == asset:
            raise RuntimeError("died here")
        return publish(self, name, *rest, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Store, "publish", die)
        assert not materialize_all(demo, instance, up_to=["sessions"]).success
    assert materialize_all(demo, instance, up_to=["sessions"]).success
    assert len(Store(demo).partitions("quarantine")) == len(list(demo.landing.iterdir()))


PREPARE = """
import sys
from pathlib import Path
import dagster as dg
from assets.runs import materialize_all
from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.storage.store import Store
settings = FeedSettings(home=Path(sys.argv[1]), models=["markov", "vsknn"])
with dg.DagsterInstance.ephemeral() as instance:
    assert materialize_all(settings, instance, up_to=["metrics"]).success
print([Store(settings).find(a).node.data_version for a in ("sessions", "test_split", "vsknn_rankings", "metrics")])
"""


def test_locale_and_time_zone_of_the_host_change_nothing(tmp_path: Path) -> None:
    told = set()
    for name, environment in (
        ("here", {"LC_ALL": "C.UTF-8", "TZ": "UTC"}),
        (
            "there",
            {"LC_ALL": "C", "LANG": "C", "TZ": "Pacific/Kiritimati", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        ),
    ):
        landing = tmp_path / name / "landing"
        landing.mkdir(parents=True)
        rows = [
            f"s{s}\t{'é日本'[k % 3]}{(s * k) % 7}\t{1767225600 + 3600 * s + k}\n" for s in range(60) for k in range(4)
        ]
        (landing / "log.tsv").write_text("SessionId\tItemId\tTime\n" + "".join(rows), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-c", PREPARE, str(tmp_path / name)],
            env={**os.environ, **environment},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
        told.add(done.stdout.splitlines()[-1])
    assert len(told) == 1
