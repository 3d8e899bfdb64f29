"""The whole graph with a process per step, as the UI runs it. A minute or two; run with ``pytest -m soak``."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.reconstruct import ReconstructableJob

from assets.graph import build
from assets.runs import materialize_all
from sessrec_pipeline.feed import FeedSettings, load_settings
from sessrec_pipeline.logs.synthetic import write_logs
from sessrec_pipeline.storage.store import Store

pytestmark = pytest.mark.soak

TOML = """
[synthetic]
sessions = 200
items = 60
days = 2
[gru4rec]
layers = [16]
n_epochs = 2
n_sample = 32
batch_size = 16
"""


def test_a_process_per_step_makes_the_same_content(feed: Callable[..., FeedSettings]) -> None:
    home = feed().home
    (home / "sessrec.toml").write_text(TOML)
    settings = load_settings(home)
    assert settings.synthetic is not None
    write_logs(settings.synthetic, settings.landing)
    settings.dagster_home.mkdir()
    names = [n.key.to_user_string() for n in build(settings).resolve_asset_graph().asset_nodes if not n.is_partitioned]
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        assert materialize_all(settings, instance).success
    store = Store(settings)
    untimed = [name for name in names if name not in ("costs", "report")]  # those show how long the runs took
    before = {name: store.find(name).node.data_version for name in untimed}
    run = subprocess.run(
        [str(Path(sys.executable).with_name("dg")), "launch", "--job", "rebuild"],
        env=os.environ | {"SESSREC_HOME": str(home), "DAGSTER_HOME": str(settings.dagster_home)},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert {name: store.find(name).node.data_version for name in untimed} == before
    assert {store.find(name).node.run_id for name in names} == {store.find("report").node.run_id}


def test_sixteen_steps_that_write_at_once_all_get_through(
    feed: Callable[..., FeedSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = feed()
    monkeypatch.setenv("SESSREC_HOME", str(settings.home))
    settings.dagster_home.mkdir()
    seconds, store = {}, Store(settings)
    job = ReconstructableJob.for_file(str(Path(__file__).with_name("sixteen_writers.py")), "sixteen")
    names = [f"writer_{n}" for n in range(16)]
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        for at_once in (1, 16):
            begin = time.monotonic()
            config = {"execution": {"config": {"max_concurrent": at_once}}}
            with dg.execute_job(job, instance, run_config=config) as result:
                assert result.success
            seconds[at_once] = time.monotonic() - begin
            for name in names:
                stored = store.find(name).verified()
                assert (stored.node.rows, stored.node.run_id) == (200_000, result.run_id)
    with store.warehouse.connect() as connection:
        entered = connection.execute("SELECT asset FROM lineage.current ORDER BY asset").fetchall()
    assert entered == [(name,) for name in sorted(names)]
    print(f"one after another {seconds[1]:.1f} s, sixteen at once {seconds[16]:.1f} s")
