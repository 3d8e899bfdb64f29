"""A small demo home, made by the command itself."""

import re
from pathlib import Path

import pytest
from terminal import sessrec

from sessrec_pipeline.feed import CHOICES

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


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("cli") / "demo"
    home.mkdir()
    (home / "sessrec.toml").write_text(TOML)
    result = sessrec(home, "demo")
    assert result.exit_code == 0, result.output
    assert "oracle" in result.output and "gru4rec" in result.output
    assert "vs best" in result.output and "paired test of recall@20" in result.output
    verdicts = re.findall(
        r"(?:differs|differs within margin|equivalent|not told apart|too few sessions) p=", result.output
    )
    assert len(verdicts) == len(CHOICES) - 1, "of all but the best"
    assert f"Report: {home / 'reports' / 'report.html'}" in result.output
    return home
