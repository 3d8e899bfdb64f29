"""The asset checks that are made from the rules of ``quality/``, a check for each."""

from collections.abc import Iterator

import dagster as dg

from assets.inputs import input_of
from assets.retries import told
from sessrec_pipeline.quality import RULES, Asset, Evidence, Rule, examine
from sessrec_pipeline.quality.stored import evidence_of
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.store import Store


def quality_checks(settings: Settings) -> list[dg.AssetChecksDefinition]:
    """The checks of logs, sessions and splits; of the splits for tuning where there are any."""
    splits = [_of_split("", settings)]
    if settings.training.tunes:
        splits.append(_of_split("tuning_", settings))
    return [_of_logs(), _of_sessions(), *splits]


def _of_logs() -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(name="log_quality", specs=_specs("raw_sessions", "raw_sessions"))
    @told
    def checks(store: dg.ResourceParam[Store], settings: dg.ResourceParam[Settings]) -> Iterator[dg.AssetCheckResult]:
        """Of all logs together."""
        logs = list(store.logs().values())
        if not logs:
            for rule in _rules("raw_sessions"):
                yield _result(rule, "raw_sessions", passed=True, seen="no log is ingested")
            return
        with evidence_of(settings, {"events": logs}) as evidence:
            yield from _results("raw_sessions", "raw_sessions", evidence)

    return checks


def _of_sessions() -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(name="session_quality", specs=_specs("sessions", "sessions"))
    @told
    def checks(store: dg.ResourceParam[Store], settings: dg.ResourceParam[Settings]) -> Iterator[dg.AssetCheckResult]:
        with evidence_of(settings, {"sessions": [store.find("sessions")]}) as evidence:
            yield from _results("sessions", "sessions", evidence)

    return checks


def _of_split(prefix: str, settings: Settings) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(name=f"{prefix}split_quality", specs=_specs("test_split", f"{prefix}test_split"))
    @told
    def checks(store: dg.ResourceParam[Store], settings: dg.ResourceParam[Settings]) -> Iterator[dg.AssetCheckResult]:
        split = settings.split.tuning if prefix else settings.split
        test = store.find(f"{prefix}test_split")
        tables = {"train": [input_of(store, test, f"{prefix}train_split")], "test": [test]}
        with evidence_of(settings.model_copy(update={"split": split}), tables) as evidence:
            yield from _results("test_split", f"{prefix}test_split", evidence)

    return checks


def _rules(asset: Asset) -> list[Rule]:
    return [rule for rule in RULES if rule.asset == asset]


def _specs(asset: Asset, key: str) -> list[dg.AssetCheckSpec]:
    return [
        dg.AssetCheckSpec(rule.name, asset=key, description=rule.expected, blocking=rule.blocking)
        for rule in _rules(asset)
    ]


def _results(asset: Asset, key: str, evidence: Evidence) -> Iterator[dg.AssetCheckResult]:
    for rule, finding in examine(asset, evidence):
        yield _result(rule, key, passed=not finding.broken, seen=finding.sentence, worthless=finding.worthless)


def _result(rule: Rule, key: str, *, passed: bool, seen: str, worthless: bool = False) -> dg.AssetCheckResult:
    severity = dg.AssetCheckSeverity.ERROR if worthless else dg.AssetCheckSeverity.WARN
    return dg.AssetCheckResult(
        passed=passed, asset_key=key, check_name=rule.name, severity=severity, metadata={"seen": seen}
    )
