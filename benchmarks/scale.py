"""What sessions, splits and the fitted tables cost on DuckDB and on Spark as the events grow, and whether they agree.

    python benchmarks/scale.py [--millions 1 10 50] [--server PYTHON | --url sc://host:port] [--folder FOLDER]

Generated events (those of preparation.py) are ingested once; both engines start from the same Parquet. Each table has
an engine of its own, as each asset has, and is in the store when its time ends. DuckDB and the client of Spark each
run in a process of their own. --server, the Python of an environment with pyspark (``make .venv-spark/installed``),
starts a cluster of two workers of one core each on loopback, anew for each size and not counted; its CPU seconds are
those of the client, master, workers, executors and server together, its memory the sum of the most that each of them
held. --url takes a cluster that is there, of which only seconds are known. Without both DuckDB runs alone. Exit code
1 where contents differ.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from engine_tables import fits_of, steps_of
from preparation import write_log
from spark_cluster import spark_cluster
from tabulate import tabulate

from sessrec_pipeline.engine import open_engine
from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.logs.ingest import ingest_landed
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.store import Store, Stored

EXECUTOR_MEMORY = "3g"


def settings_of(home: Path, url: str | None = None) -> Settings:
    """Of the generated events, on DuckDB or on the server at ``url``."""
    engine = {"kind": "spark", "url": url} if url else {}
    return FeedSettings(home=home, sessions={"min_item_support": 5}, split={"rule": "days"}, engine=engine)


def ingest(home: Path, events: int) -> None:
    """Land and read so many events; ``raw_sessions`` is in the home's lake afterwards."""
    settings = settings_of(home)
    settings.landing.mkdir(parents=True)
    write_log(settings.landing / "generated.tsv", events)
    raw = ingest_landed(settings, "generated.tsv", lambda line: None).events
    Store(settings).publish("raw_sessions", raw, partition="generated.tsv")
    (settings.landing / "generated.tsv").unlink()


def prepare(home: Path, url: str | None) -> dict[str, Any]:
    """Make every table in turn; the seconds of each, the rows and content hash of each, and the engine's name."""
    settings = settings_of(home, url)
    store, made, seconds = Store(settings), dict[str, Stored](), dict[str, float]()
    raw = [store.find("raw_sessions", "generated.tsv").path]
    steps = steps_of(settings, raw, lambda asset: made[asset].path, fits_of(settings))
    for asset, make in steps.items():
        begin = time.perf_counter()
        with open_engine(settings) as engine:
            table = make(engine)
        made[asset] = store.publish(asset, table)
        seconds[asset] = time.perf_counter() - begin
        print(f"{asset}: {seconds[asset]:.1f} s", file=sys.stderr, flush=True)
    contents = {asset: [stored.node.rows, stored.node.data_version] for asset, stored in made.items()}
    return {"seconds": seconds, "contents": contents, "engine": made["sessions"].node.engine}


class Cost(NamedTuple):
    """What one size cost on one engine; None where it cannot be known from here."""

    engine: str
    seconds: dict[str, float]
    contents: dict[str, Any]
    cpu: float | None
    mb: float | None


def in_a_process(home: Path, *arguments: str) -> tuple[dict[str, Any], float, float]:
    """What ``--run`` tells, its CPU seconds, and the most MB it held."""
    command = [sys.executable, __file__, "--run", str(home), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    told = process.stdout.read() if process.stdout else ""
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    cpu, mb = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6
    print(f"the process: {cpu:.1f} CPU seconds, {mb:,.0f} MB", file=sys.stderr, flush=True)
    return json.loads(told), cpu, mb


def on_duckdb(home: Path) -> Cost:
    """Everything inside one process."""
    found, cpu, mb = in_a_process(home)
    return Cost(found["engine"], found["seconds"], found["contents"], cpu, mb)


def on_spark(home: Path, server: str | None, url: str | None) -> Cost:
    """On the cluster at ``url``, or on one of our own."""
    if server is None:
        found, _, _ = in_a_process(home, "--url", str(url))
        return Cost(found["engine"], found["seconds"], found["contents"], None, None)
    folder = home.parent / "cluster"
    folder.mkdir()
    with spark_cluster(server, folder, memory=EXECUTOR_MEMORY) as cluster:
        idle = cluster.cpu_seconds()
        found, cpu, mb = in_a_process(home, "--url", cluster.url)
        cpu, mb = cpu + cluster.cpu_seconds() - idle, mb + cluster.peak_mb()
    return Cost(found["engine"], found["seconds"], found["contents"], cpu, mb)


@contextmanager
def ingested(millions: float, folder: Path | None) -> Iterator[Path]:
    """A home with so many events, which is gone afterwards."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        home = Path(name) / "home"
        in_a_process(home, "--ingest", str(int(millions * 1e6)))
        yield home


def main() -> None:
    """All sizes on both engines, a table for each size and one of all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--millions", type=float, nargs="+", default=[1])
    parser.add_argument("--server", help="Python of an environment with pyspark: start a cluster here")
    parser.add_argument("--url", help="the Spark Connect server of a cluster that is there")
    parser.add_argument("--folder", type=Path, help="where the homes stand meanwhile; the cluster must see it")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--ingest", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        print(json.dumps(ingest(args.run, args.ingest) if args.ingest else prepare(args.run, args.url)))
        return
    rows: list[list[Any]] = []
    before: dict[int, Cost] = {}
    agree = True
    for millions in args.millions:
        with ingested(millions, args.folder) as home:
            costs = [on_duckdb(home)]
            if args.server or args.url:
                costs.append(on_spark(home, args.server, args.url))
        agree &= all(cost.contents == costs[0].contents for cost in costs)
        tables = []
        for asset, same in costs[0].contents.items():
            agreed = [cost.contents[asset] == same for cost in costs[1:]]
            tables.append([asset, same[0], *(cost.seconds[asset] for cost in costs), *agreed])
        header = ["table", "rows", *(f"{cost.engine}, s" for cost in costs), *(["same content"] if costs[1:] else [])]
        print(f"\n{millions:g} million events\n\n{tabulate(tables, header, floatfmt='.1f', intfmt=',')}", flush=True)
        for n, cost in enumerate(costs):
            total = sum(cost.seconds.values())
            growth = total / sum(before[n].seconds.values()) if n in before else None
            rows.append([f"{millions:g}", cost.engine, total, cost.cpu, cost.mb, growth])
            before[n] = cost
    header = ["million events", "engine", "seconds", "CPU seconds", "peak MB", "times the seconds before"]
    print(f"\n{tabulate(rows, header, tablefmt='github', floatfmt=('', '', '.1f', '.1f', ',.0f', '.2f'))}")
    raise SystemExit(not agree)


if __name__ == "__main__":
    main()
