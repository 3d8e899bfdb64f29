"""The notebook runs from top to bottom, in about a minute, and holds no results."""

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "walkthrough.ipynb"


def cells() -> list[dict[str, Any]]:
    return list(json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"])


def test_the_notebook_has_six_exercises_and_no_results() -> None:
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells() if "outputs" in cell)
    text = "".join("".join(cell["source"]) for cell in cells() if cell["cell_type"] == "markdown")
    assert [f"**{n}. " in text for n in range(1, 8)] == [True] * 6 + [False]
    assert "pip install notebook" in text


def test_the_notebook_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its cells one after the other, as a kernel runs them; what they check themselves must hold."""
    monkeypatch.chdir(tmp_path)
    plt.switch_backend("agg")
    names: dict[str, Any] = {"__name__": "__main__"}
    drawn = []
    for n, cell in enumerate(cells()):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"cell {n}", "exec"), names)
            drawn += [plt.figure(number).axes[0].get_xlabel() for number in plt.get_fignums()]
            plt.close("all")
    assert drawn.count("Recall@20") == 7
    assert len(drawn) == 11
    assert names["by_hand"]["oracle"] >= names["by_hand"].drop("oracle").max() - 0.05
    assert list(tmp_path.iterdir()) == [], "it leaves nothing on disk"
