"""Rules about logs, sessions and splits, which hold for healthy data: ``describe`` shows them before, the checks after."""

from sessrec_pipeline.quality.rule import Asset, Evidence, Finding, Rule
from sessrec_pipeline.quality.rules import RULES, examine, examine_log

__all__ = ["RULES", "Asset", "Evidence", "Finding", "Rule", "examine", "examine_log"]
