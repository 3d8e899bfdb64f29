"""Time and memory from a landed log to train and test, beside plain scripts of the same steps.

    python benchmarks/preparation.py [--millions 1 10] [--memory-limit 1GB] [--repeat 1]

Each program runs in a process of its own, in turn: read the TSV, drop exact copies, keep sessions of two events or more
and items of five or more until nothing changes, number sessions and events in time order, cut off the last day, write
everything as Parquet. All must come to the same numbers of events. The time is wall time with all cores, the CPU time
that of all threads; the memory is the most that the process held. The lean script is DuckDB as somebody writes it who
wants nothing but the numbers: ids become integers at once, the text stays in two dictionaries, and nothing is counted,
hashed, quarantined or traced.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
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


def with_pandas(log: Path, home: Path, memory_limit: str) -> dict[str, int]:
    """The same steps as a careful person writes them with pandas, which knows no limit."""
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


def lean(log: Path, home: Path, memory_limit: str) -> dict[str, int]:
    """The same steps in DuckDB, and nothing else."""
    home.mkdir()
    connection = duckdb.connect()
    run = connection.execute
    run("SET enable_progress_bar = false")
    run(f"SET memory_limit = '{memory_limit}'")
    run(f"SET temp_directory = '{home}/spill'")
    columns = "{'SessionId': 'VARCHAR', 'ItemId': 'VARCHAR', 'Time': 'BIGINT'}"
    run(f"CREATE TABLE log AS FROM read_csv('{log}', delim = '\t', header = true, columns = {columns})")
    for table, column in (("sessions", "SessionId"), ("items", "ItemId")):
        ids = f"SELECT DISTINCT {column} AS id FROM log"
        run(f"CREATE TABLE {table} AS SELECT id, (ROW_NUMBER() OVER (ORDER BY id) - 1)::INT AS code FROM ({ids})")
        run(f"COPY {table} TO '{home}/{table}_ids.parquet'")
    run(
        "CREATE TABLE raw AS SELECT sessions.code AS session, items.code AS item, Time AS time FROM log "
        "JOIN sessions ON sessions.id = SessionId JOIN items ON items.id = ItemId; DROP TABLE log"
    )
    run(f"COPY raw TO '{home}/raw.parquet'")
    run("CREATE TABLE kept AS SELECT DISTINCT * FROM raw; DROP TABLE raw")
    before, rows = -1, 0
    while before != rows:
        before = rows
        for column, least in (("session", 2), ("item", SUPPORT)):
            enough = f"SELECT {column} FROM kept GROUP BY {column} HAVING COUNT(*) >= {least}"
            run(f"CREATE OR REPLACE TABLE kept AS FROM kept SEMI JOIN ({enough}) USING ({column})")
        [(rows,)] = run("SELECT COUNT(*) FROM kept").fetchall()
    run(
        "CREATE TABLE started AS SELECT session, start, ROW_NUMBER() OVER (ORDER BY start, session) - 1 AS number "
        "FROM (SELECT session, MIN(time) AS start FROM kept GROUP BY session)"
    )
    run(
        "COPY (SELECT number, ROW_NUMBER() OVER (PARTITION BY number ORDER BY time) - 1 AS position, item, time, start "
        f"FROM kept JOIN started USING (session) ORDER BY number, position) TO '{home}/sessions.parquet'"
    )
    [(cutoff,)] = run(f"SELECT MAX(time) - {DAYS * 86_400} FROM kept").fetchall()
    for part, where in (
        ("train", f"start < {cutoff} AND time < {cutoff}"),
        ("test", f"start >= {cutoff} AND item IN (SELECT item FROM '{home}/train.parquet')"),
    ):
        rows_of = f"(SELECT * FROM '{home}/sessions.parquet' WHERE {where})"
        enough = f"(SELECT number FROM {rows_of} GROUP BY number HAVING COUNT(*) >= 2)"
        run(
            f"COPY (FROM {rows_of} SEMI JOIN {enough} USING (number) ORDER BY number, position) "
            f"TO '{home}/{part}.parquet'"
        )
    files = {name: home / f"{name}.parquet" for name in ("sessions", "train", "test")}
    return {name: pq.read_metadata(path).num_rows for name, path in files.items()}


PROGRAMS = {"ours": ours, "lean": lean, "pandas": with_pandas}


class Run(NamedTuple):
    """What one program took, in a process of its own, and the rows that it kept."""

    seconds: float
    cpu: float
    mb: float
    kept: dict[str, int]


def measure(program: str, log: Path, folder: Path, memory_limit: str) -> Run:
    """One program in a process of its own."""
    with tempfile.TemporaryDirectory(dir=folder) as home:
        command = [sys.executable, __file__, "--run", program, "--log", str(log), "--home", f"{home}/home"]
        begin = time.perf_counter()
        process = subprocess.Popen([*command, "--memory-limit", memory_limit], stdout=subprocess.PIPE, text=True)
        told = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
    if status:
        raise SystemExit(f"{program} failed on {log.name}")
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6, json.loads(told))


def main() -> None:
    """All sizes, both programs in turn, the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--millions", type=float, nargs="+", default=[1, 10])
    parser.add_argument("--memory-limit", default="1GB", help="DuckDB's, for ours")
    parser.add_argument("--repeat", type=int, default=1, help="the best time and the highest peak count")
    parser.add_argument(
        "--programs", nargs="+", choices=PROGRAMS, default=list(PROGRAMS), help="pandas cannot hold all"
    )
    parser.add_argument("--folder", type=Path, help="where logs and homes stand meanwhile")
    parser.add_argument("--run", choices=PROGRAMS, help=argparse.SUPPRESS)
    parser.add_argument("--log", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        print(json.dumps(PROGRAMS[args.run](args.log, args.home, args.memory_limit)))
        return
    rows = []
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        for millions in args.millions:
            log = folder / f"events-{millions:g}m.tsv"
            write_log(log, int(millions * 1e6))
            runs: dict[str, list[Run]] = {program: [] for program in args.programs}
            for _ in range(args.repeat):
                for program, own in runs.items():
                    own.append(measure(program, log, folder, args.memory_limit))
            if len(kept := {json.dumps(run.kept) for own in runs.values() for run in own}) > 1:
                raise SystemExit(f"the programs do not agree: {kept}")
            least = {
                program: (min(r.seconds for r in own), min(r.cpu for r in own), max(r.mb for r in own))
                for program, own in runs.items()
            }
            for program, (seconds, cpu, mb) in least.items():
                ratios = [cpu / least[other][1] if other in least else None for other in ("lean", "pandas")]
                rows.append([f"{millions:g}", program, seconds, cpu, mb, *ratios])
            log.unlink()
    header = ["million events", "program", "seconds", "CPU s", "peak MB", "CPU / lean's", "CPU / pandas'"]
    print(tabulate(rows, header, tablefmt="github", floatfmt=("", "", ".1f", ".1f", ",.0f", ".2f", ".2f")))


if __name__ == "__main__":
    main()
