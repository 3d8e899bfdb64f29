"""A feed with nothing to learn beside one with structure, each with its oracle.

Both are generated here, of the size of the feed where that is synthetic itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from sessrec_pipeline.engine import DuckDBEngine
from sessrec_pipeline.logs.ingest import ingest_landed
from sessrec_pipeline.logs.synthetic import write_logs
from sessrec_pipeline.preparation.sessions import prepare_sessions
from sessrec_pipeline.report.looks import ORACLE
from sessrec_pipeline.settings import LogSettings, SessionSettings, Settings, SplitSettings, SyntheticSettings
from sessrec_pipeline.storage.store import Stored
from sessrec_pipeline.studies.figures import points
from sessrec_pipeline.studies.laboratory import Laboratory
from sessrec_pipeline.studies.results import Row
from sessrec_pipeline.studies.study import Study, cells, few, measured, shown

if TYPE_CHECKING:
    import pandas as pd

KINDS: tuple[Literal["demo", "null"], ...] = ("demo", "null")


def inputs(settings: Settings) -> Sequence[str]:
    """Nothing of the feed."""
    return []


def measure(lab: Laboratory, stored: Mapping[str, Stored]) -> pa.Table:
    """A row for each kind of feed, model and metric; the oracle is among the models."""
    rows: list[Row] = []
    for x, kind in enumerate(KINDS):
        law = (lab.feed.synthetic or SyntheticSettings()).model_copy(update={"kind": kind})
        train, test = lab.split(_sessions(lab, law), SplitSettings())
        settings = lab.settings.model_copy(update={"synthetic": law})
        fitted = lab.fit(train, [*lab.models, ORACLE], settings)
        rankings = {name: lab.rank(model, test.arrow()) for name, model in fitted.items()}
        rows += lab.measure(rankings, variation=f"{kind} feed", x=float(x))
    return lab.results.compared(rows, ORACLE)


def _sessions(lab: Laboratory, law: SyntheticSettings) -> Stored:
    """Logs of the law, landed and ingested as any others, under the default settings."""
    plain = {"logs": LogSettings(), "sessions": SessionSettings(), "split": SplitSettings(), "synthetic": law}
    settings = lab.settings.model_copy(update=plain)
    raw = []
    for log in write_logs(law, settings.landing):
        ingested = ingest_landed(settings, log.name, lambda _: None)
        lab.store.publish("quarantine", ingested.quarantine, partition=log.name)
        raw.append(lab.store.publish("raw_sessions", ingested.events, partition=log.name))
    with DuckDBEngine(settings) as engine:
        table = prepare_sessions(engine, settings, [log.path for log in raw], lambda _: None)
    return lab.store.publish("sessions", table)


def finding(frame: pd.DataFrame) -> str:
    """How near each feed's best model comes to its ceiling, and whether any is above it."""
    sentences = []
    for kind in KINDS:
        found = cells(frame, f"{kind} feed")
        oracle = found.pop(ORACLE)
        best = next(iter(found))
        above = [shown(m) for m, cell in found.items() if cell.moved > 0]
        level = [shown(m) for m, cell in found.items() if not cell.moved]
        text = f"On the {kind} feed {shown(best)} is best with {measured(frame)} {found[best].in_brackets()}, "
        text += f"{found[best].value / oracle.value:.0%} of the oracle's {oracle.in_brackets()}"
        if above:
            text += f"; {few(above)} {'are' if len(above) > 1 else 'is'} above it beyond the intervals: a leak"
        elif level:
            text += f"; there is no difference beyond the intervals between it and {few(level)}"
        sentences.append(f"{text}.")
    return " ".join(sentences)


def figure(frame: pd.DataFrame) -> str:
    """The two feeds side by side."""
    return points(frame, "Recall on a feed with structure and on one without")


STUDY = Study(
    "null_feed",
    "A feed with nothing to learn",
    "What do the same models reach where every event is an independent draw, and how far is each from the ceiling?",
    inputs,
    measure,
    finding,
    figure,
    reads=("synthetic",),
)
