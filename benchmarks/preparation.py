"""Time and memory from a landed log to train and test, beside a plain pandas script of the same steps.

    python benchmarks/preparation.py [--millions 1 10] [--memory-limit 1GB] [--repeat 1]

Each program runs in a process of its own, in turn: read the TSV, drop exact copies, keep sessions of two events or more
and items of five or more until nothing changes, number sessions and events in time order, cut off the last day, write
everything as Parquet. Both must come to the same numbers of events. The time is wall time with all cores; the
memory is the most that the process held.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pc
from tabulate import tabulate

from sessrec_pipeline.engine import DuckDBEngine
from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.logs.ingest import ingest_landed
from sessrec_pipeline.preparation.sessions import prepare_sessions
from sessrec_pipeline.preparation.split import test_split, train_split
from sessrec_pipeline.settings import SessionSettings, SplitSettings
from sessrec_pipeline.storage.store import Store

SUPPORT, DAYS, START = 5, 1, 1_767_225_600


def write_log(path: Path, events: int, seed: int = 0) -> None:
    """A TSV of ``events`` rows over 30 days, 1 % of them copies, in the order of time as a shop writes it."""
    rng = np.random.default_rng(seed)
    schema = pa.schema([("SessionId", pa.int64()), ("ItemId", pa.int64()), ("Time", pa.int64())])
    options = pc.WriteOptions(delimiter="\t", quoting_style="none", quoting_header="none")
    with pc.CSVWriter(path, schema, write_options=options) as writer:
        done, first_session = 0, 0
        while done < events:
            n = min(1_000_000, events - done)
            begin = START + int(30 * 86_400 * done / events)
            span = max(1, int(30 * 86_400 * n / events))
            sessions = max(1, n // 4)
            session = rng.integers(sessions, size=n)
            starts = np.sort(rng.integers(span, size=sessions))
            moment = begin + starts[session] + rng.integers(1800, size=n)
            item = (rng.pareto(0.9, size=n) * 300).astype(np.int64) % 200_000
            copies = rng.integers(n, size=n // 100)
            session[: len(copies)], item[: len(copies)] = session[copies], item[copies]
            moment[: len(copies)] = moment[copies]
            order = np.argsort(moment, kind="stable")
            writer.write_table(pa.table([first_session + session[order], item[order], moment[order]], schema=schema))
            done, first_session = done + n, first_session + sessions


def ours(log: Path, home: Path, memory_limit: str) -> dict[str, int]:
    """The pipeline's own steps and store, without Dagster."""
    settings = FeedSettings(
        home=home,
        sessions=SessionSettings(min_item_support=SUPPORT),
        split=SplitSettings(rule="days", days=DAYS),
        memory_limit=memory_limit,
    )
    settings.landing.mkdir(parents=True)
    (settings.landing / log.name).hardlink_to(log)
    store = Store(settings)
    raw = store.publish("raw_sessions", ingest_landed(settings, log.name, lambda line: None).events, partition=log.name)
    with DuckDBEngine(settings) as engine:
        sessions = store.publish("sessions", prepare_sessions(engine, settings, [raw.path], lambda line: None))
    with DuckDBEngine(settings) as engine:
        train = store.publish("train_split", train_split(engine, settings.split, sessions.path))
    with DuckDBEngine(settings) as engine:
        test = store.publish("test_split", test_split(engine, settings.split, sessions.path, train.path))
    return {
        "sessions": int(sessions.node.rows or 0),
        "train": int(train.node.rows or 0),
        "test": int(test.node.rows or 0),
    }


def with_pandas(log: Path, home: Path) -> dict[str, int]:
    """The same steps as a careful person writes them with pandas."""
    home.mkdir()
    frame = pd.read_csv(log, sep="\t", dtype={"SessionId": str, "ItemId": str})
    frame.to_parquet(home / "raw.parquet")
    frame = frame.drop_duplicates()
    before = -1
    while before != len(frame):
        before = len(frame)
        frame = frame[frame.groupby("SessionId")["ItemId"].transform("size") >= 2]
        frame = frame[frame.groupby("ItemId")["SessionId"].transform("size") >= SUPPORT]
    frame = frame.assign(start=frame.groupby("SessionId")["Time"].transform("min"))
    frame = frame.sort_values(["start", "SessionId", "Time"], kind="stable")
    frame["number"] = (frame["SessionId"] != frame["SessionId"].shift()).cumsum() - 1
    frame["position"] = frame.groupby("number").cumcount()
    frame.to_parquet(home / "sessions.parquet")
    cutoff = frame["Time"].max() - DAYS * 86_400
    train = frame[(frame["start"] < cutoff) & (frame["Time"] < cutoff)]
    train = train[train.groupby("SessionId")["ItemId"].transform("size") >= 2]
    train.to_parquet(home / "train.parquet")
    test = frame[(frame["start"] >= cutoff) & frame["ItemId"].isin(train["ItemId"].unique())]
    test = test[test.groupby("SessionId")["ItemId"].transform("size") >= 2]
    test.to_parquet(home / "test.parquet")
    return {"sessions": len(frame), "train": len(train), "test": len(test)}


def measure(program: str, log: Path, folder: Path, memory_limit: str) -> dict[str, object]:
    """One program in a process of its own: seconds, peak memory in MB, what it kept."""
    with tempfile.TemporaryDirectory(dir=folder) as home:
        command = [sys.executable, __file__, "--run", program, "--log", str(log), "--home", f"{home}/home"]
        begin = time.perf_counter()
        process = subprocess.Popen([*command, "--memory-limit", memory_limit], stdout=subprocess.PIPE, text=True)
        told = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
    if status:
        raise SystemExit(f"{program} failed on {log.name}")
    return {"seconds": seconds, "cpu": usage.ru_utime + usage.ru_stime, "mb": usage.ru_maxrss * 1024 / 1e6} | {
        "kept": json.loads(told)
    }


def main() -> None:
    """All sizes, both programs in turn, the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--millions", type=float, nargs="+", default=[1, 10])
    parser.add_argument("--memory-limit", default="1GB", help="DuckDB's, for ours")
    parser.add_argument("--repeat", type=int, default=1, help="the best time and the highest peak count")
    parser.add_argument("--without-pandas", action="store_true", help="for sizes that pandas cannot hold")
    parser.add_argument("--folder", type=Path, help="where logs and homes stand meanwhile")
    parser.add_argument("--run", choices=["ours", "pandas"], help=argparse.SUPPRESS)
    parser.add_argument("--log", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        kept = ours(args.log, args.home, args.memory_limit) if args.run == "ours" else with_pandas(args.log, args.home)
        print(json.dumps(kept))
        return
    programs = ["ours"] if args.without_pandas else ["ours", "pandas"]
    rows = []
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        for millions in args.millions:
            log = folder / f"events-{millions:g}m.tsv"
            write_log(log, int(millions * 1e6))
            runs = {p: [measure(p, log, folder, args.memory_limit)] for p in programs}
            for _ in range(args.repeat - 1):
                for program in programs:
                    runs[program].append(measure(program, log, folder, args.memory_limit))
            kept = {json.dumps(run["kept"]) for own in runs.values() for run in own}
            if len(kept) > 1:
                raise SystemExit(f"the programs do not agree: {kept}")
            best = {
                p: (min(float(str(r["seconds"])) for r in own), max(float(str(r["mb"])) for r in own))
                for p, own in runs.items()
            }
            for program, (seconds, mb) in best.items():
                theirs = best.get("pandas", (seconds, mb))
                rate = millions * 1e6 / seconds
                rows.append([f"{millions:g}", program, seconds, rate, mb, theirs[0] / seconds, mb / theirs[1]])
            log.unlink()
    header = ["million events", "program", "seconds", "events/s", "peak MB", "speed of pandas'", "memory of pandas'"]
    print(tabulate(rows, header, tablefmt="github", floatfmt=("", "", ".1f", ",.0f", ",.0f", ".2f", ".2f")))


if __name__ == "__main__":
    main()
