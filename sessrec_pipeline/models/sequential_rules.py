"""SR, sequential rules: what came within a few events after the current item, the nearer the more weight.

- Kamehkhosh, Jannach, Ludewig: A comparison of frequent pattern techniques and a deep learning method for
  session-based recommendation. RecTemp at RecSys 2017.
- Ludewig, Jannach: Evaluation of session-based recommendation algorithms. UMUAI 28, 2018, arXiv 1803.09587.

The weight of the rule a -> b is the sum of w(d) over all events of b that come d <= ``steps`` events after one of
a; an item that comes again has a rule to itself.
"""

from pathlib import Path

from sessrec_pipeline.engine import Engine
from sessrec_pipeline.settings import SequentialRulesSettings
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.sql import sql_text

UNIT = 100 * 2520**2
"""Weights are counted in parts of this: 1/d and 1/d**2 are whole numbers of them up to d = 10, the default steps."""


def fit_sequential_rules(engine: Engine, train: Path, config: SequentialRulesSettings) -> Table:
    """The fitted table (item, next_item, weight, rule_rank)."""
    engine.register("train", train)
    engine.write(
        "sr",
        sql_text("models", "sequential_rules"),
        steps=config.steps,
        weighting=config.weighting,
        unit=UNIT,
        pruning=config.pruning,
    )
    return engine.table("sr")
