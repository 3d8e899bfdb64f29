"""From the published artefacts to the data of the report."""

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from sessrec_pipeline.feed import cards_of
from sessrec_pipeline.quality.stored import broken_rules
from sessrec_pipeline.report.data import ReportData, TrainedModel, summed
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.store import Stored

QUARANTINE_SAMPLE = 20
TABLES = ("leaderboard", "metrics", "comparisons", "slices", "protocols", "beyond_accuracy", "costs", "drift")
"""Assets that the report shows as they are."""
NEEDED = (*TABLES, "sessions", "train_split", "test_split")
"""What ``collect`` must be given; the checkpoints of trained models may be among it too."""


def collect(
    settings: Settings, found: Mapping[str, Stored], raw_sessions: Sequence[Stored], quarantine: Sequence[Stored]
) -> ReportData:
    """The data of the report, from the artefacts by asset and all partitions of the two assets that have some."""
    events = found["sessions"].arrow(["item", "time"])
    starts = found["test_split"].arrow(["session_start"])["session_start"]
    checkpoints = {card.name: found[card.checkpoint] for card in cards_of(settings) if card.checkpoint in found}
    names = ("leaderboard", "metrics", *(f"{name}_checkpoint" for name in checkpoints), "test_split", "drift")
    rests_on = [*(found[name] for name in names if name in found), *raw_sessions]
    splits = {part: [found[f"{part}_split"]] for part in ("train", "test")}
    return ReportData(
        feed=settings.synthetic.kind if settings.synthetic else settings.home.name,
        settings=settings,
        **{name: found[name].arrow().to_pandas() for name in TABLES},
        raw=summed(log.stats for log in raw_sessions),
        sessions=found["sessions"].stats,
        train=found["train_split"].stats,
        test=found["test_split"].stats,
        item_events=pc.value_counts(events["item"]).field("counts").to_numpy(),
        train_lengths=_lengths(found["train_split"]),
        test_lengths=_lengths(found["test_split"]),
        times_us=events["time"].to_numpy(),
        boundary_us=None if settings.split.rule == "given" else pc.min(starts).as_py(),
        trained=[
            TrainedModel(
                name,
                json.loads(str(checkpoint.stats["losses"])),
                checkpoint.checkpoint().config,
                str(checkpoint.stats["device"]),
            )
            for name, checkpoint in checkpoints.items()
        ],
        quarantine=_sample(quarantine),
        broken=broken_rules(settings, {"events": raw_sessions, "sessions": [found["sessions"]], **splits}),
        lineages=[stored.lineage for stored in rests_on],
    )


def _lengths(split: Stored) -> NDArray[np.int64]:
    return np.bincount(split.arrow(["session_number"])["session_number"].to_numpy()).astype(np.int64)


def _sample(quarantine: Sequence[Stored]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for log in quarantine:
        if log.node.rows and len(rows) < QUARANTINE_SAMPLE:
            rows += log.arrow(["log", "line", "reason"]).slice(0, QUARANTINE_SAMPLE - len(rows)).to_pylist()
    return rows
