"""A study's table for people: a line for each variation, model after model, as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sessrec_pipeline.evaluation.estimates import Estimate
from sessrec_pipeline.studies.study import Study, measured, shown, variations

if TYPE_CHECKING:
    import pandas as pd

COUNTS = {"train_sessions": "training sessions", "items": "items", "left_out": "test events left out"}


def as_text(frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Heading and lines: variation, model, both metrics with intervals, Recall's difference, the study's counts."""
    import pandas as pd

    counts = {column: name for column, name in COUNTS.items() if frame[column].notna().any()}
    recall = frame[frame["metric"] == "recall"]
    mrr = frame[frame["metric"] == "mrr"].set_index(["variation", "model"])
    lines = []
    for variation in variations(frame):
        own = recall[recall["variation"] == variation].sort_values(["value", "model"], ascending=[False, True])
        for row in own.to_dict("records"):
            other = mrr.loc[(variation, row["model"])]
            same = pd.isna(row["difference"])
            lines.append(
                [
                    variation,
                    shown(str(row["model"])),
                    Estimate(row["value"], row["low"], row["high"]).in_brackets(),
                    "" if same else Estimate.from_row(row, "difference").in_brackets(signed=True),
                    Estimate(other["value"], other["low"], other["high"]).in_brackets(),
                    f"{int(row['predictions']):,}",
                    *["" if pd.isna(row[column]) else f"{int(row[column]):,}" for column in counts],
                ]
            )
    header = ["variation", "model", measured(frame), "difference", measured(frame, "mrr"), "predictions"]
    return [*header, *counts.values()], lines


def as_markdown(found: Sequence[tuple[Study, pd.DataFrame]]) -> str:
    """A table of the studies and their findings."""
    lines = [f"| {study.title} | {study.finding(frame)} |" for study, frame in found]
    return "\n".join(["| study | finding |", "| --- | --- |", *lines]) + "\n"
