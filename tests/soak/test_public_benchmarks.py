"""The smallest public benchmark from its raw files to the table. Minutes; run with ``pytest -m soak``."""

from collections.abc import Callable
from pathlib import Path

import pyarrow.compute as pc
import pytest
from click.testing import CliRunner

from sessrec_pipeline.cli import main
from sessrec_pipeline.feed import load_settings
from sessrec_pipeline.storage.store import Store

pytestmark = pytest.mark.soak


def test_rsc15_reaches_what_it_must(dataset: Callable[[str], Path], tmp_path: Path) -> None:
    data = dataset("rsc15_100k")
    result = CliRunner().invoke(
        main, ["--home", str(tmp_path), "reproduce", "rsc15_100k", "--data", str(data), "--seeds", "1"]
    )
    assert result.exit_code == 0, result.output
    table = Store(load_settings(tmp_path)).find("reproduction").arrow()
    for metric, least in (("recall", 0.697), ("mrr", 0.368)):
        wanted = {"kind": "ours", "model": "gru4rec", "metric": metric, "k": 20, "tie_rule": "conservative"}
        rows = table
        for column, value in wanted.items():
            rows = rows.filter(pc.equal(rows[column], value))
        assert rows["predictions"].to_pylist() == [10_152]
        assert rows["value"][0].as_py() >= least
