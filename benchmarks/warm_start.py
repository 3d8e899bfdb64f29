"""Training on from yesterday's model against training anew, on daily logs: seconds and recall, side by side.

Lands the first half of a folder of daily Online Retail logs, trains; lands the second half, and then trains (a) on from
the first model with the sessions that came, (b) from nothing with all of them. Both are ranked on the same last days.

    python benchmarks/warm_start.py --logs FOLDER [--epochs 3]
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import dagster as dg

from assets.runs import materialize_all
from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings
from sessrec_pipeline.settings import (
    LogSettings,
    RowRule,
    SessionSettings,
    Settings,
    SplitSettings,
    TrainingSettings,
)
from sessrec_pipeline.storage.store import Store


def online_retail(home: Path, epochs: int, *, warm_start: bool) -> Settings:
    """Settings of the Online Retail logs: an invoice is a session, cancellations are left out."""
    return FeedSettings(
        home=home,
        logs=LogSettings(
            format="csv",
            session="InvoiceNo",
            item="StockCode",
            time="InvoiceDate",
            time_unit="iso8601",
            keep=[RowRule(column="InvoiceNo", not_prefix="C"), RowRule(column="Quantity", minimum=1)],
        ),
        sessions=SessionSettings(drop_duplicates=False, drop_consecutive_repeats=True, min_item_support=5),
        split=SplitSettings(rule="days", days=7),
        gru4rec=GRU4RecSettings(
            loss="cross-entropy",
            logq=1,
            batch_size=64,
            learning_rate=0.1,
            dropout_embedding=0.25,
            n_sample=1024,
            n_epochs=epochs,
        ),
        training=TrainingSettings(warm_start=warm_start),
    )


def run(settings: Settings, instance: dg.DagsterInstance) -> tuple[float, float, float]:
    """Materialize everything; seconds of training, Recall@20 and MRR@20 (conservative ties)."""
    if not materialize_all(settings, instance).success:
        raise SystemExit("a step failed; its error stands above")
    last = next(run.run_id for run in instance.get_runs() if run.job_name == "rebuild")
    (step,) = instance.get_run_step_stats(last, ["gru4rec_checkpoint"])
    board = {row["model"]: row for row in Store(settings).find("leaderboard").arrow().to_pylist()}["gru4rec"]
    return (step.end_time or 0.0) - (step.start_time or 0.0), board["recall_at_20"], board["mrr_at_20"]


def main() -> None:
    """Run the comparison and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logs", type=Path, required=True, help="folder of daily logs, named by date")
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()
    logs = sorted(arguments.logs.iterdir())
    half = len(logs) // 2
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, dg.DagsterInstance.ephemeral() as instance:
        warm = online_retail(Path(folder) / "feed", arguments.epochs, warm_start=True)
        warm.landing.mkdir(parents=True)
        for log in logs[:half]:
            shutil.copy(log, warm.landing)
        first = run(warm, instance)
        for log in logs[half:]:
            shutil.copy(log, warm.landing)
        second = run(warm, instance)
        # The same home, so that ingestion and preparation are shared and only the training differs.
        full = run(online_retail(warm.home, arguments.epochs, warm_start=False), instance)
    print(f"{len(logs)} logs, {arguments.epochs} epochs, {time.monotonic() - began:.0f} s in all\n")
    print(f"{'':<28}{'seconds':>9}{'R@20':>9}{'MRR@20':>9}")
    for name, (seconds, recall, mrr) in {
        f"first {half} logs, from nothing": first,
        "all logs, warm start": second,
        "all logs, from nothing": full,
    }.items():
        print(f"{name:<28}{seconds:>9.1f}{recall:>9.4f}{mrr:>9.4f}")
    print(f"\nwarm start / full: {second[0] / full[0]:.2f} of the time, {second[1] / full[1]:.3f} of the recall")


if __name__ == "__main__":
    main()
