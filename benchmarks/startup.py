"""What it costs to start `sessrec`: CPU seconds of its commands on a small demo home where everything is made.

    python benchmarks/startup.py [--home FOLDER] [--runs 5]

The home is made once (default: build/startup). CPU seconds are user and system time of the process, the median of
several runs; a machine that is slow or busy shows in the last column, which divides by `python -c "import dagster"`.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

SESSREC = [sys.executable, "-c", "from sessrec_pipeline.cli import main; main()"]
TOML = """\
[synthetic]

[gru4rec]
n_epochs = 1
"""
RECOMMEND = ["recommend", "--items", "1,2,3", "--model"]
COMMANDS: dict[str, tuple[list[str], float | None]] = {
    'python -c "import dagster"': ([sys.executable, "-c", "import dagster"], None),
    "sessrec --help": ([*SESSREC, "--help"], 0.4),
    "sessrec recommend, Markov": ([*SESSREC, *RECOMMEND, "markov"], 1.2),
    "sessrec recommend, VSTAN": ([*SESSREC, *RECOMMEND, "vstan"], 1.2),
    "sessrec recommend, GRU4Rec": ([*SESSREC, *RECOMMEND, "gru4rec"], 1.2),
    "sessrec check": ([*SESSREC, "check"], 2.0),
    "sessrec materialize, nothing to do": ([*SESSREC, "materialize"], 2.0),
}
"""The command and its target in CPU seconds; those of the first line are the unit of the last column."""


def cpu_seconds(command: Sequence[str], home: Path) -> float:
    """User and system time of one run; CalledProcessError where it fails (failed checks are no failure here)."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=os.environ | {"SESSREC_HOME": str(home)}, capture_output=True, check=False)
    if done.returncode not in (0, 1):
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path("build/startup"))
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    home = arguments.home.resolve()
    if not home.exists():
        home.mkdir(parents=True)
        (home / "sessrec.toml").write_text(TOML)
        subprocess.run([*SESSREC, "--home", str(home), "demo"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*SESSREC, "--home", str(home), "materialize"], check=True, stdout=subprocess.DEVNULL)
    # Round by round, so that what else the machine does meets all commands alike.
    rounds = [
        {name: cpu_seconds(command, home) for name, (command, _) in COMMANDS.items()} for _ in range(arguments.runs)
    ]
    medians = {name: statistics.median(seconds[name] for seconds in rounds) for name in COMMANDS}
    unit = medians[next(iter(COMMANDS))]
    rows = [
        [name, f"{medians[name]:.2f}", "" if target is None else f"< {target:g}", f"{medians[name] / unit:.2f}"]
        for name, (_, target) in COMMANDS.items()
    ]
    print(tabulate(rows, ["", "CPU s", "target", "imports of dagster"], colalign=("left", *["right"] * 3)))


if __name__ == "__main__":
    main()
