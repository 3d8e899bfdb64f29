"""What one more day costs: the night of day 30 against the night of the last day, step by step.

    python benchmarks/daily.py --logs FOLDER [--day 30] [--window 30]

Lands a folder of daily Online Retail logs up to the day before, materializes, lands the day and materializes again; the
table has the seconds of the second time, with warm starts of GRU4Rec. The last column takes only the logs of the last
``--window`` days (``[sessions] window_days``).
"""

import argparse
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
from tabulate import tabulate
from warm_start import online_retail

from assets.runs import materialize_all
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.store import Store

STAGES = {
    "read_landed_log": "ingestion",
    "sessions": "sessions",
    "train_split": "splits",
    "test_split": "splits",
    "gru4rec_checkpoint": "GRU4Rec, one epoch",
    "popularity": "count models",
    "markov": "count models",
    "drift": "drift",
}
"""Stage of a step; the others are rankings, metrics and pages."""


def night(settings: Settings, logs: Sequence[Path], instance: dg.DagsterInstance) -> dict[str, float]:
    """Seconds by stage of what the last of ``logs`` makes necessary once the others have been taken."""
    settings.landing.mkdir(parents=True, exist_ok=True)
    for log in logs[:-1]:
        shutil.copy(log, settings.landing)
    materialize(settings, instance)
    before = {run.run_id for run in instance.get_runs()}
    shutil.copy(logs[-1], settings.landing)
    materialize(settings, instance)
    seconds: dict[str, float] = defaultdict(float)
    for run in instance.get_runs():
        if run.run_id not in before:
            for step in instance.get_run_step_stats(run.run_id):
                stage = STAGES.get(step.step_key, "checks" if step.step_key.endswith("_checks") else "evaluation")
                seconds[stage] += (step.end_time or 0.0) - (step.start_time or 0.0)
    sessions = Store(settings).find("sessions")
    return {"events": float(sessions.stats["events_in"])} | seconds | {"all": sum(seconds.values())}


def materialize(settings: Settings, instance: dg.DagsterInstance) -> None:
    """All that is due; ends the program where a step failed."""
    if not materialize_all(settings, instance).success:
        raise SystemExit("a step failed; its error stands above")


def main() -> None:
    """The three nights and their table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logs", type=Path, required=True, help="folder of daily logs, named by date")
    parser.add_argument("--day", type=int, default=30)
    parser.add_argument("--window", type=float, default=30, help="days")
    arguments = parser.parse_args()
    logs = sorted(arguments.logs.iterdir())
    with tempfile.TemporaryDirectory() as folder, dg.DagsterInstance.ephemeral() as instance:
        feed = online_retail(Path(folder) / "feed", 1, warm_start=True)
        nights = {f"day {arguments.day}": night(feed, logs[: arguments.day], instance)}
        nights[f"day {len(logs)}"] = night(feed, logs, instance)
    with tempfile.TemporaryDirectory() as folder, dg.DagsterInstance.ephemeral() as instance:
        feed = online_retail(Path(folder) / "feed", 1, warm_start=True)
        sessions = feed.sessions.model_copy(update={"window_days": arguments.window})
        windowed = feed.model_copy(update={"sessions": sessions})
        nights[f"day {len(logs)}, last {arguments.window:g} days"] = night(windowed, logs, instance)
    stages = list(dict.fromkeys(stage for column in nights.values() for stage in column))
    rows = [[stage, *(column.get(stage, 0.0) for column in nights.values())] for stage in stages]
    print(tabulate(rows, ["seconds", *nights], tablefmt="github", floatfmt=",.2f"))


if __name__ == "__main__":
    main()
