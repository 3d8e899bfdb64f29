"""AR, association rules of size two: what shares a session with the current item, most often first.

- Ludewig, Jannach: Evaluation of session-based recommendation algorithms. UMUAI 28, 2018, arXiv 1803.09587.
- Kamehkhosh, Jannach, Ludewig: A comparison of frequent pattern techniques and a deep learning method for
  session-based recommendation. RecTemp at RecSys 2017.

The weight of the rule a -> b is the number of pairs of events, first one of a and then one of b, in the same session
and in any order; an item that comes again has a rule to itself.
"""

from pathlib import Path

from sessrec_pipeline.engine import Engine
from sessrec_pipeline.settings import AssociationRulesSettings
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.sql import sql_text


def fit_association_rules(engine: Engine, train: Path, config: AssociationRulesSettings) -> Table:
    """The fitted table (item, other_item, pairs, rule_rank)."""
    engine.register("train", train)
    engine.write("numbered", sql_text("models", "numbered"))
    engine.write("ar", sql_text("models", "association_rules"), pruning=config.pruning)
    return engine.table("ar")
