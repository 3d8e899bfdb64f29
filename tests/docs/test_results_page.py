"""The examples of docs/results.md are of the demo feed: the Python API comes to the same on its logs."""

import re
from pathlib import Path

import pandas as pd

from sessrec_pipeline import SKNN, Events, compare, evaluate, temporal_split
from sessrec_pipeline.logs.synthetic import write_logs
from sessrec_pipeline.settings import SyntheticSettings

PAGE = (Path(__file__).parents[2] / "docs" / "results.md").read_text(encoding="utf-8")
INTERVAL = r"\[[-+\d.]+ [-+\d.]+\]"


def demo(folder: Path) -> tuple[Events, Events]:
    logs = pd.concat([pd.read_csv(path, sep="\t") for path in write_logs(SyntheticSettings(), folder)])
    return temporal_split(logs, session="SessionId", item="ItemId", time="Time", time_unit="s")


def test_the_examples_are_what_the_demo_feed_says(tmp_path: Path) -> None:
    train, test = demo(tmp_path)
    models = {name: SKNN(k=int(name)).fit(train) for name in ("100", "20")}
    items, rows = re.findall(r"sessrec recommend --items (\S+) -k (\d+)\n", PAGE)[0]
    listed = models["100"].recommend(items.split(","), k=int(rows))["item"]
    assert re.findall(r"^ +\d +(\d+) +[\d.]+$", PAGE, re.MULTILINE) == list(listed)

    def interval(low: float, high: float, form: str = ".3f") -> str:
        return f"[{low:{form}} {high:{form}}]"

    def estimate(model: str, metric: str) -> tuple[str, str]:
        value, low, high = (board.loc[model, f"{metric}_at_20{end}"] for end in ("", "_low", "_high"))
        return f"{value:.4f}", interval(low, high)

    board = evaluate(models, test).set_index("model")
    history = re.findall(rf" sknn +200  ([\d.]+) ({INTERVAL})  ([\d.]+) ({INTERVAL})", PAGE)
    assert history == [(*estimate(name, "recall"), *estimate(name, "mrr")) for name in ("100", "20")]

    pairs = compare(models, test)
    pairs = pairs[(pairs["model_a"] == "100") & (pairs["k"] == 20)].set_index("metric")
    compared = re.findall(rf"^sknn +\S+ +200 +([\d.]+) +([\d.]+) +([-+.\d]+) ({INTERVAL})", PAGE, re.MULTILINE)
    for (before, now, difference, bounds), metric in zip(compared, ("recall", "mrr"), strict=True):
        assert (before, now) == (estimate("100", metric)[0], estimate("20", metric)[0])
        row = pairs.loc[metric]  # before less now
        assert difference == f"{-row['difference']:+.4f}"
        assert bounds == interval(-row["high"], -row["low"], "+.3f")
