"""The rules asked of tables as a feed's store keeps them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from sessrec_pipeline.engine import DuckDBEngine
from sessrec_pipeline.quality.clocks import UNSURE_HOUR
from sessrec_pipeline.quality.rule import Asset, Evidence, Finding, Rule
from sessrec_pipeline.quality.rules import examine
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.store import Stored


@contextmanager
def evidence_of(settings: Settings, tables: Mapping[str, Sequence[Stored]]) -> Iterator[Evidence]:
    """Stored tables by their names in ``Evidence``, in an engine that keeps to the feed's memory limit."""
    with DuckDBEngine(settings) as engine:
        for name, stored in tables.items():
            engine.register(name, [artefact.verified().path for artefact in stored])
        stats = {name: stored[0].stats for name, stored in tables.items() if len(stored) == 1}
        if events := tables.get("events"):
            stats["events"] = {UNSURE_HOUR: sum(int(log.stats.get(UNSURE_HOUR, 0)) for log in events)}
        yield Evidence(engine.connection, settings, stats)


def broken_rules(settings: Settings, tables: Mapping[str, Sequence[Stored]]) -> list[tuple[Rule, Finding]]:
    """The rules that a feed breaks, of splits first, then of sessions, then of logs: the nearer to its figures.

    tables: events (a table for each log), sessions, train and test. Of logs nothing is asked where there are none.
    """
    assets: tuple[Asset, ...] = ("test_split", "sessions", *(("raw_sessions",) if tables["events"] else ()))
    with evidence_of(settings, {name: stored for name, stored in tables.items() if stored}) as evidence:
        return [found for asset in assets for found in examine(asset, evidence) if found[1].broken]
