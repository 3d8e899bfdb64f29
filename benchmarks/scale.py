"""Sessions, splits and count models on DuckDB and on Spark: seconds of each table, and whether the contents are equal.

    python benchmarks/engines.py --url sc://host:port [--events 100000] [--toml FILE LOG ...] [--shared FOLDER]

The events are generated, or read from logs of one's own under the settings of a ``sessrec.toml``. Both engines start
from the same ingested logs, in homes that are removed again; each table has an engine of its own, as each asset has,
and is in the store when its time ends. --shared names the folder for them, which the cluster must see.
"""

import argparse
import shutil
import tempfile
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from preparation import write_log
from tabulate import tabulate

from sessrec_pipeline.engine import Engine, open_engine
from sessrec_pipeline.logs.ingest import ingest_landed
from sessrec_pipeline.models.markov import fit_markov
from sessrec_pipeline.models.popularity import fit_popularity
from sessrec_pipeline.preparation.sessions import prepare_sessions
from sessrec_pipeline.preparation.split import test_split, train_split
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.store import Store, Stored

GENERATED = {"sessions": {"min_item_support": 5}, "split": {"rule": "days"}}


def measure(settings: Settings, raw: list[Path]) -> dict[str, tuple[float, Stored]]:
    """Each table in turn: its seconds and what was published."""
    store, found = Store(settings), dict[str, tuple[float, Stored]]()
    split, tuning = settings.split, settings.split.tuning

    def at(asset: str) -> Path:
        return found[asset][1].path

    steps: dict[str, Callable[[Engine], Table]] = {
        "sessions": lambda engine: prepare_sessions(engine, settings, raw, lambda line: None),
        "train_split": lambda engine: train_split(engine, split, at("sessions")),
        "test_split": lambda engine: test_split(engine, split, at("sessions"), at("train_split")),
        "tuning_train_split": lambda engine: train_split(engine, tuning, at("train_split")),
        "tuning_test_split": lambda engine: test_split(engine, tuning, at("train_split"), at("tuning_train_split")),
        "popularity": lambda engine: fit_popularity(engine, at("train_split")),
        "markov": lambda engine: fit_markov(engine, at("train_split")),
    }
    for asset, make in steps.items():
        begin = time.perf_counter()
        with open_engine(settings) as engine:
            table = make(engine)
        stored = store.publish(asset, table)
        found[asset] = time.perf_counter() - begin, stored
    return found


def main() -> None:
    """Both engines, the table; exit code 1 where a content differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True, help="the server of Spark Connect")
    parser.add_argument("--events", type=int, default=100_000, help="how many to generate")
    parser.add_argument("--toml", type=Path, help="settings of logs of one's own")
    parser.add_argument("logs", type=Path, nargs="*", help="logs of one's own")
    parser.add_argument("--shared", type=Path, help="where the homes stand meanwhile")
    args = parser.parse_args()
    sections: dict[str, Any] = tomllib.loads(args.toml.read_text()) if args.toml else GENERATED
    known = {key: value for key, value in sections.items() if key in Settings.model_fields and key != "engine"}
    with tempfile.TemporaryDirectory(dir=args.shared) as folder:
        results = []
        for kind, engine in (("duckdb", {}), ("spark", {"kind": "spark", "url": args.url})):
            settings = Settings(home=Path(folder) / kind, engine=engine, **known)
            settings.landing.mkdir(parents=True)
            for log in args.logs:
                shutil.copy(log, settings.landing)
            if not args.logs:
                write_log(settings.landing / "generated.tsv", args.events)
            raw = []
            for name in sorted(path.name for path in settings.landing.iterdir()):
                events = ingest_landed(settings, name, lambda line: None).events
                raw.append(Store(settings).publish("raw_sessions", events, partition=name).path)
            results.append(measure(settings, raw))
    duckdb, spark = results
    rows = [
        (
            asset,
            f"{one.node.rows:,}",
            seconds,
            spark[asset][0],
            one.node.data_version == spark[asset][1].node.data_version,
        )
        for asset, (seconds, one) in duckdb.items()
    ]
    rows.append(("all", "", sum(row[2] for row in rows), sum(row[3] for row in rows), all(row[4] for row in rows)))
    labels = [result["sessions"][1].node.engine for result in results]
    print(tabulate(rows, ["table", "rows", *(f"{label}, s" for label in labels), "same content"], floatfmt=".2f"))
    raise SystemExit(not all(row[4] for row in rows))


if __name__ == "__main__":
    main()
