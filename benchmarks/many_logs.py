"""What it costs that the same rows come as many small logs: one file against 120 (daily) and 385 (hourly).

    python benchmarks/many_logs.py [--events 200000] [--logs 1 120 385] [--bad 0] [--assets sessions]

Each row is one `sessrec materialize` of a new feed, in a process of its own: seconds on the clock, seconds of CPU, and
both as multiples of the one file. ``--bad`` puts so many logs beside them that are refused. ``--assets`` names what is
made; none is everything, with the leaderboard and the report.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from tabulate import tabulate

SESSREC = [sys.executable, "-c", "from sessrec_pipeline.__main__ import main; main()"]
TOML = 'models = ["markov"]\n[split]\nrule = "days"\ndays = 2\n'
HEADER = "SessionId\tItemId\tTime\n"
ITEMS, LENGTH, DAYS = 2_000, 5, 16


def lines(events: int) -> list[str]:
    """Rows of sessions of ``LENGTH`` events over ``DAYS`` days, in order of time."""
    rng = np.random.default_rng(1)
    sessions = np.repeat(np.arange(events // LENGTH), LENGTH)
    starts = np.sort(rng.integers(0, DAYS * 86_400, events // LENGTH))
    times = 1_767_571_200 + np.repeat(starts, LENGTH) + np.tile(np.arange(LENGTH) * 20, events // LENGTH)
    items = (ITEMS * rng.random(len(sessions)) ** 3).astype(int)
    order = np.argsort(times, kind="stable")
    return [f"{s}\t{i}\t{t}\n" for s, i, t in zip(sessions[order], items[order], times[order], strict=True)]


def land(landing: Path, rows: Sequence[str], logs: int, bad: int) -> None:
    """The rows in so many logs of equal length, beside some with another header."""
    landing.mkdir(parents=True)
    bounds = np.linspace(0, len(rows), logs + 1).astype(int)
    for number, (start, stop) in enumerate(pairwise(bounds)):
        (landing / f"{number:04}.tsv").write_text(HEADER + "".join(rows[start:stop]))
    for number in range(bad):
        (landing / f"bad-{number:04}.tsv").write_text("other\theader\n1\t2\n")


def cost(home: Path, assets: Sequence[str], expected: int) -> tuple[float, float]:
    """Seconds on the clock and of CPU of one command; ends the program where it does not exit as expected."""
    begin = time.perf_counter()
    with (home / "told.txt").open("w") as told:
        process = subprocess.Popen([*SESSREC, "--home", home, "materialize", *assets], stdout=told, stderr=told)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != expected:
        raise SystemExit((home / "told.txt").read_text()[-3000:])
    return time.perf_counter() - begin, usage.ru_utime + usage.ru_stime


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--logs", type=int, nargs="+", default=[1, 120, 385])
    parser.add_argument("--bad", type=int, default=0)
    parser.add_argument("--assets", nargs="*", default=["sessions"])
    arguments = parser.parse_args(argv)
    rows, table = lines(arguments.events), []
    first: tuple[float, float] | None = None
    for logs in arguments.logs:
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder) / "feed"
            land(home / "landing", rows, logs, arguments.bad)
            (home / "sessrec.toml").write_text(TOML)
            wall, cpu = cost(home, arguments.assets, expected=int(arguments.bad > 0))
        first = first or (wall, cpu)
        table.append([logs, wall, cpu, wall / first[0], cpu / first[1]])
    print(tabulate(table, ["logs", "seconds", "CPU s", "times", "CPU times"], tablefmt="github", floatfmt=",.2f"))


if __name__ == "__main__":
    main()
