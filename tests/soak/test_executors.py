"""The whole graph with a process per step, as the UI runs it. A minute or two; run with ``pytest -m soak``."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from sessrec_pipeline.definitions import build
from sessrec_pipeline.logs.synthetic import write_logs
from sessrec_pipeline.runs import materialize_all
from sessrec_pipeline.settings import Settings, load_settings
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


def test_a_process_per_step_makes_the_same_content(feed: Callable[..., Settings]) -> None:
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
