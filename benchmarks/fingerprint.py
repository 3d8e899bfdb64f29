"""The content hash of every artefact that fixed logs and settings give: what a refactoring must not change.

    python benchmarks/fingerprint.py --datasets FOLDER [--feeds demo tuned ...] > before.txt
    ... change the code ...
    python benchmarks/fingerprint.py --datasets FOLDER > after.txt; diff before.txt after.txt

FOLDER holds ``rsc15_100k``, ``serenade_toy`` and ``online_retail``; without it only the synthetic feeds are run.
Columns that hold seconds or lineage ids are left out of the hashes, and so are the artefacts that consist of them
(costs, report).
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import duckdb

QUICK = """
[gru4rec]
layers = [32]
n_epochs = {epochs}
n_sample = 256
batch_size = 64
dropout_embedding = 0.2
"""
FEEDS = {
    "demo": "",  # as `sessrec demo` makes it
    "tuned": """
[synthetic]
sessions = 400
days = 4
[training]
tuning_trials = 3
validate_epochs = true
[studies]
trained = true
"""
    + QUICK.format(epochs=2),
    "rsc15_100k": """
[sessions]
drop_duplicates = false
min_session_length = 1
[split]
rule = "given"
test_logs = ["yoochoose-clicks-100k_test.txt"]
"""
    + QUICK.format(epochs=2),
    "serenade_toy": """
[logs]
session_scope = "log"
[sessions]
drop_consecutive_repeats = true
min_item_support = 5
[split]
rule = "days"
days = 1
"""
    + QUICK.format(epochs=1),
    "online_retail": """
[logs]
format = "csv"
session = "InvoiceNo"
item = "StockCode"
time = "InvoiceDate"
time_unit = "iso8601"
extra_columns = ["Quantity"]
keep = [{column = "InvoiceNo", not_prefix = "C"}, {column = "Quantity", minimum = 1}]
[sessions]
drop_consecutive_repeats = true
min_item_support = 5
[split]
rule = "days"
days = 7
"""
    + QUICK.format(epochs=1),
}
LOGS = {
    "rsc15_100k": ("rsc15_100k", "yoochoose-clicks-100k_t[er]*[tl].txt", None),
    "serenade_toy": ("serenade_toy", "*.txt", None),
    "online_retail": ("online_retail/by-day", "*.csv", 60),
}
"""Folder of the logs, which of them, and how many of the first."""
NO_DATA = {
    "metrics": ("rankings",),
    "leaderboard": ("rankings", "tuned", "tuning_seconds"),
    "gru4rec_validation": ("seconds",),
}
"""Columns with seconds, and with lineage ids, in which code versions have a part."""
LEFT_OUT = ("costs", "report", "studies_report")


def sessrec(home: Path, *arguments: str) -> None:
    """Run the command; what it prints is shown only where it fails."""
    command = [str(Path(sys.executable).with_name("sessrec")), "--home", str(home), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "SESSREC_HOME": str(home)})
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")


def hash_of_rows(connection: duckdb.DuckDBPyConnection, table: str, leave_out: Sequence[str], where: str = "") -> str:
    """A hash of the rows of a warehouse table in the order of all columns."""
    described = connection.execute(f"DESCRIBE {table}").fetchall()
    columns = sorted(row[0] for row in described if row[0] not in leave_out)
    listed = ", ".join(f'"{column}"' for column in columns)
    rows = connection.execute(f"SELECT {listed} FROM {table} {where} ORDER BY ALL").fetchall()
    return hashlib.sha256(json.dumps([columns, rows], default=str).encode()).hexdigest()


def tuning_hashes(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    """A hash of each model's trials (number, value, settings), whichever table holds them."""
    columns = [row[0] for row in connection.execute(f"DESCRIBE {table}").fetchall()]
    models = (
        [row[0] for row in connection.execute(f"SELECT DISTINCT model FROM {table} ORDER BY 1").fetchall()]
        if "model" in columns
        else [table.removesuffix("_tuning")]
    )
    found = {}
    for model in models:
        where = f"WHERE model = '{model}'" if "model" in columns else ""
        rows = connection.execute(f"SELECT trial, value, config FROM {table} {where} ORDER BY trial").fetchall()
        text = json.dumps([(trial, value, json.loads(config)) for trial, value, config in rows], sort_keys=True)
        found[f"tuning of {model}"] = hashlib.sha256(text.encode()).hexdigest()
    return found


def fingerprint(home: Path) -> dict[str, str]:
    """The hash of each current artefact of a home, by its name."""
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        artefacts = connection.execute(
            "SELECT asset, current.partition_key, data_version "
            "FROM lineage.current JOIN lineage.node USING (id, asset) ORDER BY 1, 2"
        ).fetchall()
        found: dict[str, str] = {}
        for asset, partition, version in artefacts:
            if asset in LEFT_OUT:
                continue
            if asset.endswith("_tuning"):
                found |= tuning_hashes(connection, asset)
            elif asset in NO_DATA:
                found[asset] = hash_of_rows(connection, asset, NO_DATA[asset])
            else:
                found[f"{asset}[{partition}]" if partition else asset] = version
    return found


def main() -> None:
    """Materialize each feed in a fresh home and print ``feed artefact hash`` lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", type=Path, help="folder with the public logs")
    parser.add_argument("--feeds", nargs="+", choices=FEEDS, default=list(FEEDS))
    arguments = parser.parse_args()
    for feed in arguments.feeds:
        if feed in LOGS and arguments.datasets is None:
            continue
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder) / feed
            (home / "landing").mkdir(parents=True)
            if FEEDS[feed]:
                (home / "sessrec.toml").write_text(FEEDS[feed])
            if feed in LOGS:
                where, pattern, count = LOGS[feed]
                for log in sorted((arguments.datasets / where).glob(pattern))[:count]:
                    shutil.copy(log, home / "landing")
            sessrec(home, "materialize" if feed in LOGS else "demo")
            if feed not in LOGS:
                sessrec(home, "studies")
            for name, version in sorted(fingerprint(home).items()):
                print(f"{feed:<14} {name:<50} {version[:32]}", flush=True)
        print(f"{feed}: {time.monotonic() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
