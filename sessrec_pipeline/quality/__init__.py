"""Rules that hold for healthy logs, sessions and splits: ``describe`` shows them before, the checks after."""

from sessrec_pipeline.quality.rule import Asset, Evidence, Finding, Rule
from sessrec_pipeline.quality.rules import RULES, examine, examine_log

__all__ = ["RULES", "Asset", "Evidence", "Finding", "Rule", "examine", "examine_log"]
