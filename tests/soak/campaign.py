"""A seeded campaign: one fault after the other strikes a home at work, and after each of them every promise must hold.

    python tests/soak/campaign.py --faults 1000 --seed 1

A step changes something a team changes (a log lands, is corrected, withdrawn, taken back, leaves the landing folder;
settings change), strikes with a fault while a command runs, then runs what a person would run next, and looks:

- no command prints a traceback, none leaves a process, a file under construction or a lock behind;
- exit code 0 of a command that makes the result means that the result is complete and right, whatever struck it;
- one more `materialize` brings the home to where a fresh home with the same logs and settings is, hash by hash; a log
  that is lost on disk and in landing is named, and landing it again is enough;
- the events of the lake are those that plain Python counts in the logs, each once;
- `verify` finds nothing.

A step's seed is the campaign's and its number, so one step can be run again alone only with those before it.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import pyarrow.parquet as pq

from sessrec_pipeline.feed import load_settings
from sessrec_pipeline.storage.files import OURS, leave
from sessrec_pipeline.storage.store import QUARANTINE, RAW, Store
from sessrec_pipeline.storage.withdrawal import withdrawn_logs

LOGS = [f"log-{number}.tsv" for number in range(6)]
VARIANTS = 2
"""Contents of each log: as it came first, and corrected."""
MODELS = (("popularity", "markov"), ("popularity", "markov", "sknn"))
NOT_COMPARED = ("costs", "report")
"""They show how long the runs took."""
NAME_RANKINGS = ("leaderboard", "metrics")
"""They name the rankings behind them by their lineage, of which the withdrawal of a log is a part."""
LIMIT = 120
"""Seconds after which a command is taken to hang."""


ELSEWHERE = ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"]
ELSEWHERE += ['hostname elsewhere; exec "$@"', "sh"]


@dataclass(frozen=True)
class Ended:
    """How a command ended, and all that it printed."""

    arguments: tuple[str, ...]
    code: int
    text: str

    def __str__(self) -> str:
        return f"$ sessrec {' '.join(self.arguments)}\n{self.text}[exit code {self.code}]\n"


class BrokenError(AssertionError):
    """A promise that did not hold."""


@dataclass(frozen=True)
class State:
    """What the result depends on: the content of each log that counts, and the settings."""

    logs: tuple[tuple[str, int], ...]
    settings: str


@dataclass
class Feed:
    """What the team has done so far."""

    content: dict[str, int] = field(default_factory=dict)
    """Variant by log: what was landed last."""
    away: set[str] = field(default_factory=set)
    """Logs whose files left the landing folder."""
    withdrawn: set[str] = field(default_factory=set)
    models: int = 0
    support: int = 1

    @property
    def toml(self) -> str:
        return (
            f"models = {json.dumps(MODELS[self.models])}\n\n[sessions]\nmin_item_support = {self.support}\n\n"
            '[split]\nrule = "days"\ndays = 1\n'
        )

    @property
    def state(self) -> State:
        kept = tuple(sorted((log, v) for log, v in self.content.items() if log not in self.withdrawn))
        return State(kept, self.toml)


def events_of(log: str, variant: int) -> list[tuple[str, str, int]]:
    """Session, item and second of each event: people who walk along a ring of 30 items, on the log's day.

    A corrected log has other sessions for a tenth of the first ones.
    """
    number = LOGS.index(log)
    today = int(time.time()) // 86_400
    found = []
    for visit in range(60):
        drawn = random.Random(f"{log}/{visit}/{variant if visit < 6 else 0}")
        session = f"{number}-{visit}{'c' * variant if visit < 6 else ''}"
        at, item = (today - len(LOGS) + number) * 86_400 + drawn.randrange(80_000), drawn.randrange(30)
        for _ in range(drawn.randrange(2, 6)):
            found.append((session, f"i{item}", at))
            at, item = at + drawn.randrange(5, 300), (item + drawn.choice((1, 1, 1, 7))) % 30
    return found


def text_of(log: str, variant: int) -> str:
    rows = [f"{session}\t{item}\t{at}" for session, item, at in events_of(log, variant)]
    return "\n".join(["SessionId\tItemId\tTime", *rows, ""])


class Runner:
    """Runs commands in forks of this process, which has imported already what they need: a third of the time."""

    def __init__(self, folder: Path) -> None:
        for module in ("assets.runs", "assets.instance", "sessrec_pipeline.cli", "sessrec_pipeline.report.page"):
            import_module(module)
        self.folder = folder
        self.count = 0

    @contextmanager
    def started(
        self, home: Path, *arguments: str, before: Callable[[], object] = lambda: None, program: bool = False
    ) -> Iterator["Running"]:
        """A command at work, in a session of its own; ended at the latest at the end of the block.

        before: called in the process before the command. program: a process of its own in other namespaces.
        """
        self.count += 1
        out = self.folder / f"out-{self.count}"
        words = ("--home", str(home), *arguments)
        if program:
            with out.open("wb") as file:
                process = subprocess.Popen(
                    [*ELSEWHERE, sys.executable, "-m", "sessrec_pipeline", *words],
                    stdout=file, stderr=file, stdin=subprocess.DEVNULL, start_new_session=True,
                )  # fmt: skip
            pid = process.pid
        else:
            pid = os.fork()
            if pid == 0:
                _become(out, words, before)
        running = Running(pid, arguments, out)
        try:
            yield running
        finally:
            running.end()
            out.unlink()

    def run(self, home: Path, *arguments: str, before: Callable[[], object] = lambda: None) -> Ended:
        with self.started(home, *arguments, before=before) as running:
            return running.wait()


class Running:
    """A command that runs."""

    def __init__(self, pid: int, arguments: tuple[str, ...], out: Path) -> None:
        self.pid, self.arguments, self.out = pid, arguments, out
        self.code: int | None = None

    def wait(self, seconds: float = LIMIT) -> Ended:
        """How it ended; BrokenError where it goes on for longer."""
        until = time.monotonic() + seconds
        while not self.poll():
            if time.monotonic() > until:
                text = self.out.read_text(errors="replace")
                raise BrokenError(f"`sessrec {' '.join(self.arguments)}` did not end in {seconds} s:\n{text}")
            time.sleep(0.01)
        assert self.code is not None
        return Ended(self.arguments, self.code, self.out.read_text(encoding="utf-8", errors="replace"))

    def poll(self) -> bool:
        """Whether it has ended."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is not None

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def orphans(self) -> bool:
        """Whether something that it started is still there a moment after its end."""
        for _ in range(200):
            try:
                os.killpg(self.pid, 0)
            except ProcessLookupError:
                return False
            time.sleep(0.01)
        return True

    def end(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        while not self.poll():
            time.sleep(0.01)


def _become(out: Path, words: tuple[str, ...], before: Callable[[], object]) -> None:
    """In a fork: the command, and nothing of this program after it."""
    code = 70
    try:
        os.setsid()
        handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.argv = ["sessrec", *words]
        before()
        from sessrec_pipeline.__main__ import main

        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
            leave()  # as at the end of the program
        os._exit(code)


# Faults: each strikes while or before a command runs, and gives back how that command ended.


def killed(c: "Campaign") -> Ended:
    return c.struck(lambda running: running.signal(signal.SIGKILL), {-signal.SIGKILL})


def group_killed(c: "Campaign") -> Ended:
    def strike(running: Running) -> None:
        with suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)

    return c.struck(strike, {-signal.SIGKILL})


def interrupted(c: "Campaign") -> Ended:
    return c.struck(lambda running: running.signal(signal.SIGINT), {130})


def terminated(c: "Campaign") -> Ended:
    return c.struck(lambda running: running.signal(signal.SIGTERM), {143})


def flipped(c: "Campaign") -> Ended:
    path = c.some_file()
    content = bytearray(path.read_bytes())
    at, bit = c.random.randrange(len(content)), 1 << c.random.randrange(8)
    content[at] ^= bit
    path.write_bytes(content)
    c.say(f"flipped bit {bit} of byte {at} of {len(content)} in {path.relative_to(c.home)}")
    return c.run(*c.command)


def cut(c: "Campaign") -> Ended:
    path = c.some_file()
    size = c.random.randrange(path.stat().st_size)
    os.truncate(path, size)
    c.say(f"cut {path.relative_to(c.home)} to {size} bytes")
    return c.run(*c.command)


def deleted(c: "Campaign") -> Ended:
    path = c.some_file()
    path.unlink()
    c.say(f"deleted {path.relative_to(c.home)}")
    return c.run(*c.command)


def folder_deleted(c: "Campaign") -> Ended:
    folders = [path for path in (c.home / "lake").rglob("*") if path.is_dir()]
    folder = c.random.choice([*folders, c.home / "reports", c.home / "history"])
    shutil.rmtree(folder, ignore_errors=True)
    c.say(f"deleted the folder {folder.relative_to(c.home)}")
    return c.run(*c.command)


def instance_lost(c: "Campaign") -> Ended:
    shutil.rmtree(c.home / "dagster", ignore_errors=True)
    return c.run(*c.command)


def warehouse_lost(c: "Campaign") -> Ended:
    (c.home / "warehouse.duckdb").unlink(missing_ok=True)
    return c.run(*c.command)


def disk_full(c: "Campaign") -> Ended:
    left = int(2 ** c.random.uniform(10, 23))
    c.say(f"{left} bytes are left on the disk")
    filler = c.disk / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(shutil.disk_usage(c.disk).free - left, 1))
    try:
        return c.run(*c.command)
    finally:
        filler.unlink()


def clock_back(c: "Campaign") -> Ended:
    days = c.random.choice((0.5, 3, 400))

    def before() -> None:
        real = time.time
        time.time = lambda: real() - days * 86_400

    c.say(f"the clock stands {days} days back")
    c.right_at_once = False  # rows are rightly taken for later than now
    return c.run(*c.command, before=before)


def second_process(c: "Campaign") -> Ended:
    with c.runner.started(c.home, "materialize") as other:
        time.sleep(c.random.uniform(0, 1))
        ended = c.run(*c.command)
        c.said.append(beside := other.wait())
        c.expect(beside.code in (0, 1, 2), beside)
    return ended


def reader_holds_on(c: "Campaign") -> Ended:
    pid = os.fork()
    if pid == 0:
        try:
            import duckdb

            duckdb.connect(str(c.home / "warehouse.duckdb"), read_only=True)
            (c.folder / "reads").touch()
            time.sleep(LIMIT)
        finally:
            os._exit(0)
    until = time.monotonic() + 10
    while not (c.folder / "reads").exists() and time.monotonic() < until:
        time.sleep(0.01)
    try:
        return c.run(*c.command)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        (c.folder / "reads").unlink(missing_ok=True)


def elsewhere(c: "Campaign") -> Ended:
    """A process in other namespaces (its own process numbers, another name of the machine) works in the same home."""
    with c.runner.started(c.home, "materialize", program=True) as other:
        time.sleep(c.random.uniform(0.5, 4))
        ended = c.run(*c.command)
        if c.random.random() < 0.5:
            c.say("the process elsewhere was killed")
            other.end()
        else:
            c.said.append(other.wait())
    return ended


FAULTS: list[Callable[["Campaign"], Ended]] = [
    killed, group_killed, interrupted, terminated, flipped, flipped, cut, deleted, folder_deleted, instance_lost,
    warehouse_lost, disk_full, clock_back, second_process, reader_holds_on, elsewhere,
]  # fmt: skip


class Campaign:
    """One home, and what is done to it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self.runner = Runner(folder)
        self.disk = folder / "disk"
        """A small one of its own, so that it can be full."""
        self.disk.mkdir(exist_ok=True)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", self.disk], check=False)
        elsewhere_allowed = subprocess.run([*ELSEWHERE, "true"], check=False)
        self.left_out = {disk_full} if mounted.returncode else set()
        self.left_out |= {elsewhere} if elsewhere_allowed.returncode else set()
        self.home, self.kept = self.disk / "home", folder / "broken"
        self.fresh: dict[State, dict[str, str]] = {}
        self.began = time.monotonic()
        self.counts: Counter[str] = Counter()
        self.seconds: dict[str, float] = defaultdict(float)
        self.broken: dict[str, list[str]] = defaultdict(list)
        self.begin()

    def begin(self) -> None:
        """A home with three logs and its first result."""
        shutil.rmtree(self.home, ignore_errors=True)
        self.feed = Feed()
        (self.home / "landing").mkdir(parents=True)
        for log in LOGS[:3]:
            self.land(log, 0)
        self.write_settings()
        ended = self.runner.run(self.home, "materialize")
        assert ended.code == 0, ended

    # What a team does.

    def land(self, log: str, variant: int) -> None:
        (self.home / "landing" / log).write_text(text_of(log, variant), encoding="utf-8")
        self.feed.content[log] = variant
        self.feed.away.discard(log)

    def write_settings(self) -> None:
        (self.home / "sessrec.toml").write_text(self.feed.toml, encoding="utf-8")

    def change(self) -> None:
        """Something that a team changes between two runs, and the command that it runs then."""
        feed, draw = self.feed, self.random
        self.command: tuple[str, ...] = ("materialize",)
        there = sorted(feed.content)
        kind = draw.choice(
            ("land", "correct", "leave", "withdraw", "undo", "settings", "all", "all", "nothing", "check", "recommend",
             "verify", "rebuild-catalog")
        )  # fmt: skip
        log = draw.choice(there)
        if kind == "land" and (new := sorted(set(LOGS) - set(there))):
            self.land(new[0], 0)
            self.say(f"landed {new[0]}")
        elif kind == "correct" and log not in feed.withdrawn:
            self.land(log, (feed.content[log] + 1) % VARIANTS)
            self.say(f"corrected {log}")
        elif kind == "leave" and log not in feed.withdrawn:
            (self.home / "landing" / log).unlink(missing_ok=True)
            feed.away.add(log)
            self.say(f"{log} left landing")
        elif kind == "withdraw" and len(feed.state.logs) > 2 and log not in feed.withdrawn:
            feed.withdrawn.add(log)
            self.command = ("withdraw", log)
        elif kind == "undo" and (back := sorted(feed.withdrawn - feed.away)):
            feed.withdrawn.discard(back[0])
            self.command = ("withdraw", "--undo", back[0])
        elif kind == "settings":
            feed.models, feed.support = draw.randrange(len(MODELS)), draw.choice((1, 2))
            self.write_settings()
            self.say("changed settings")
        elif kind == "all":
            self.command = ("materialize", "--all")
        elif kind == "recommend":
            self.command = ("recommend", "i1,i2")
        elif kind in ("check", "verify", "rebuild-catalog"):
            self.command = (kind,)

    # A step.

    def step(self, number: int, fault: Callable[["Campaign"], Ended]) -> bool:
        """Whether every promise held."""
        name = fault.__name__
        self.random = random.Random(f"{self.seed}/{number}")
        self.said: list[object] = []
        self.right_at_once = True
        began = time.monotonic()
        self.counts[name] += 1
        try:
            self.change()
            ended = fault(self)
            self.truthful(ended)
            self.recover()
            self.look()
        except BrokenError as error:
            self.said.append(f"BROKEN: {error}")
            self.broken[name].append(f"step {number}: {str(error).strip().splitlines()[0]}")
            self.keep(f"{number}-{name}")
            self.begin()
            return False
        finally:
            self.seconds[name] += time.monotonic() - began
        return True

    def say(self, line: str) -> None:
        self.said.append(line)

    def expect(self, holds: bool, what: object) -> None:
        if not holds:
            raise BrokenError(str(what))

    def run(self, *arguments: str, before: Callable[[], object] = lambda: None) -> Ended:
        ended = self.runner.run(self.home, *arguments, before=before)
        self.said.append(ended)
        self.expect("Traceback" not in ended.text, f"a traceback from `{' '.join(arguments)}`\n{ended}")
        self.expect(ended.code in (0, 1, 2), f"exit code {ended.code} of `{' '.join(arguments)}`\n{ended}")
        return ended

    def struck(self, strike: Callable[[Running], None], codes: set[int]) -> Ended:
        """The command, struck at a random moment."""
        with self.runner.started(self.home, *self.command) as running:
            until = time.monotonic() + self.random.uniform(0, 3)
            while not running.poll() and time.monotonic() < until:
                time.sleep(0.005)
            over = running.poll()
            strike(running)
            ended = running.wait(10)
            self.said.append(ended)
            if -signal.SIGKILL not in codes:
                self.expect(not running.orphans(), f"a process outlives `{' '.join(self.command)}`")
        self.expect("Traceback" not in ended.text, f"a traceback\n{ended}")
        self.expect(over or ended.code in codes | {0, 1}, f"exit code {ended.code}\n{ended}")
        return ended

    def some_file(self) -> Path:
        """A file of the home that the product wrote; each kind is as likely as the others."""
        kinds: dict[str, list[Path]] = defaultdict(list)
        for path in sorted(self.home.rglob("*")):
            place = path.relative_to(self.home)
            if not path.is_file() or not path.stat().st_size or place.parts[0] in ("landing", "damaged"):
                continue
            if path.name != "sessrec.toml" and path.suffix != ".lock":
                kinds[f"{place.parts[0]} {path.suffix}"].append(path)
        return self.random.choice(kinds[self.random.choice(sorted(kinds))])

    def truthful(self, ended: Ended) -> None:
        """Where the command that makes the result says that all is well, all is well."""
        if ended.code == 0 and ended.arguments[0] == "materialize" and self.right_at_once:
            self.equal_to_fresh("right after exit code 0")
        if ended.code in (1, 2):
            self.expect(bool(ended.text.strip()), f"not a word\n{ended}")

    def recover(self) -> None:
        """What a person does next, and no more than that."""
        if self.command[0] == "withdraw":
            self.run(*self.command)  # once more; it may say that this is so already
        ended = self.run("materialize")
        for _ in range(len(self.feed.away)):
            lost = [log for log in sorted(self.feed.away) if f"[{log}] was ingested and is gone" in ended.text]
            if ended.code == 0 or not lost:
                break
            for log in lost:
                self.land(log, self.feed.content[log])
            ended = self.run("materialize")
        if ended.code != 0:
            ended = self.run("materialize")
        self.expect(ended.code == 0, f"materialize does not recover\n{ended}")
        for path in [self.home / "damaged", *self.home.glob("*.damaged*")]:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def look(self) -> None:
        """Whether the home is as if nothing had happened."""
        self.equal_to_fresh("after recovery")
        store = Store(load_settings(self.home))
        there, withdrawn = store.partitions(RAW), set(withdrawn_logs(store))
        self.expect(withdrawn == self.feed.withdrawn, f"withdrawn are {withdrawn}, not {self.feed.withdrawn}")
        self.expect(set(there) == set(self.feed.content), f"there are {set(there)}, not {set(self.feed.content)}")
        for log, stored in there.items():
            if log not in withdrawn:
                rows = pq.ParquetFile(stored.path).read().to_pydict()
                found = Counter(zip(rows["session"], rows["item"], (t // 1_000_000 for t in rows["time"]), strict=True))
                wanted = Counter(dict.fromkeys(events_of(log, self.feed.content[log]), 1))
                self.expect(found == wanted, f"{log}: {len(wanted - found)} events lost, {len(found - wanted)} added")
        left = [path for path in self.home.rglob(".tmp-*") if OURS.match(path.name)]
        self.expect(not left, f"left behind: {left}")
        ended = self.run("verify")
        if ended.code == 1:  # an earlier version, which nothing else looks at
            ended = self.run("verify", "--repair")
        self.expect(ended.code == 0, f"verify\n{ended}")

    def equal_to_fresh(self, when: str) -> None:
        state = self.feed.state
        if state not in self.fresh:
            self.fresh[state] = self.made_fresh(state)
        found, wanted = hashes_of(self.home), self.fresh[state]
        for log in self.feed.withdrawn:  # of which a fresh home knows nothing
            for asset in (RAW, QUARANTINE):
                found.pop(f"{asset} {log}", None)
        made = {key.partition(" ")[0] for key in wanted}  # what models left that the settings no longer name may stay
        there = {key: content for key, content in found.items() if key.partition(" ")[0] in made}
        different = sorted(key for key in there.keys() | wanted.keys() if there.get(key) != wanted.get(key))
        self.expect(not different, f"{when}, other than in a fresh home: {', '.join(different)}")

    def made_fresh(self, state: State) -> dict[str, str]:
        home = self.disk / "fresh"
        shutil.rmtree(home, ignore_errors=True)
        (home / "landing").mkdir(parents=True)
        for log, variant in state.logs:
            (home / "landing" / log).write_text(text_of(log, variant), encoding="utf-8")
        (home / "sessrec.toml").write_text(state.settings, encoding="utf-8")
        ended = self.runner.run(home, "materialize")
        assert ended.code == 0, ended
        return hashes_of(home)

    def keep(self, name: str) -> None:
        self.kept.mkdir(exist_ok=True)
        (self.kept / f"{name}.txt").write_text("\n".join(map(str, self.said)), encoding="utf-8")
        shutil.rmtree(self.kept / name, ignore_errors=True)
        shutil.copytree(self.home, self.kept / name, symlinks=True)

    def table(self) -> str:
        lines = [f"{'fault':<18}{'struck':>8}{'broken':>8}{'s each':>8}"]
        for name in sorted(self.counts):
            count = self.counts[name]
            lines.append(f"{name:<18}{count:>8}{len(self.broken[name]):>8}{self.seconds[name] / count:>8.1f}")
        total, seconds = sum(self.counts.values()), time.monotonic() - self.began
        lines.append(f"{'all':<18}{total:>8}{sum(map(len, self.broken.values())):>8}{seconds / max(total, 1):>8.1f}")
        lines += [f"  {name}: {what}" for name, found in sorted(self.broken.items()) for what in found]
        return "\n".join([*lines, f"seed {self.seed}, {seconds:,.0f} s"])


def hashes_of(home: Path) -> dict[str, str]:
    """Content hash of each current artefact, by asset and partition."""
    found = {}
    for stored in Store(load_settings(home)).current(lambda damage: None):
        asset, content = stored.node.asset, stored.node.data_version
        if asset in NAME_RANKINGS:
            rows = stored.arrow().drop_columns("rankings").to_pylist()
            content = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
        if asset not in NOT_COMPARED:
            found[f"{asset} {stored.node.partition or ''}".strip()] = content
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="number of the first step")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no step after so long")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="kept at the end (default: a temporary one)")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="sessrec-campaign-"))
    folder.mkdir(parents=True, exist_ok=True)
    campaign = Campaign(folder, options.seed)
    try:
        return rounds(campaign, options)
    finally:
        if disk_full not in campaign.left_out:
            subprocess.run(["umount", campaign.disk], check=True)
        if options.folder is None and not campaign.kept.exists():
            shutil.rmtree(folder)


def rounds(campaign: Campaign, options: argparse.Namespace) -> int:
    """The steps, a line each, and the table; 1 where a promise did not hold."""
    faults = [fault for fault in FAULTS if fault not in campaign.left_out]
    for number in range(options.first, options.first + options.faults):
        if time.monotonic() - campaign.began > options.seconds:
            break
        fault = faults[number % len(faults)]
        held = campaign.step(number, fault)
        name = fault.__name__
        print(f"{number:>5} {name:<18} {'held' if held else campaign.broken[name][-1]}", flush=True)
    print(campaign.table())
    for fault in campaign.left_out:
        print(f"{fault.__name__} was left out: this user may not do that here")
    if any(campaign.broken.values()):
        print(f"what was broken is in {campaign.kept}")
    return int(any(campaign.broken.values()))


if __name__ == "__main__":
    sys.exit(main())
