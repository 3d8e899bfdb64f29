"""A study's table for people: a line for each variation, model after model, as text."""

import pandas as pd

from sessrec_pipeline.report.looks import metric_name, model_name
from sessrec_pipeline.studies.study import Cell, Study, variations

COUNTS = {"train_sessions": "training sessions", "items": "items", "left_out": "test events left out"}


def as_text(frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Heading and lines: variation, model, Recall and MRR with their intervals, and the counts that the study has."""
    k = int(frame["k"].iloc[0])
    counts = {column: name for column, name in COUNTS.items() if frame[column].notna().any()}
    header = ["variation", "model", f"{metric_name('recall')}@{k}", f"{metric_name('mrr')}@{k}", "predictions"]
    lines = []
    for variation in variations(frame):
        own = frame[frame["variation"] == variation]
        recall = own[own["metric"] == "recall"].sort_values(["value", "model"], ascending=[False, True])
        mrr = own[own["metric"] == "mrr"].set_index("model")
        for row in recall.to_dict("records"):
            other = mrr.loc[row["model"]]
            lines.append(
                [
                    variation,
                    model_name(str(row["model"])),
                    str(Cell(row["value"], row["low"], row["high"])),
                    str(Cell(other["value"], other["low"], other["high"])),
                    f"{row['predictions']:,}",
                    *["" if pd.isna(row[column]) else f"{int(row[column]):,}" for column in counts],
                ]
            )
    return [*header, *counts.values()], lines


def as_markdown(found: list[tuple[Study, pd.DataFrame]]) -> str:
    """Questions, findings and tables of several studies."""
    parts = []
    for study, frame in found:
        header, lines = as_text(frame)
        table = ["| " + " | ".join(line) + " |" for line in [header, ["---"] * len(header), *lines]]
        parts.append(f"## {study.title}\n\n{study.question}\n\n**{study.finding(frame)}**\n\n" + "\n".join(table))
    return "\n\n".join(parts) + "\n"
