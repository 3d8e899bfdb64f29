"""Flip single bits in every kind of file of a home, and see who notices: nobody may go on with a wrong value.

    python tests/soak/flips.py --flips 2000 --seed 0        # prints a table by kind of file

Each flip is put to the functions that read the file, some also to the commands that print what is stored, and some of
these to the commands that set right what is wrong. A flip is *noticed* when one of them says something about it,
*harmless* when all say what they said before, *accepted* when one says something else, with exit code 0 and without a
word, and a *traceback* when one ends in an error that nobody foresaw.
"""

import hashlib
import json
import random
import re
import shutil
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import click
import duckdb
from click.testing import CliRunner
from optuna.exceptions import OptunaError
from safetensors import safe_open

from assets.instance import open_instance
from assets.processes import end_dead_runs
from sessrec_pipeline.cli import main
from sessrec_pipeline.feed import load_settings
from sessrec_pipeline.logs.gate import LogRefusedError
from sessrec_pipeline.logs.ingest import ingest_landed
from sessrec_pipeline.settings import Settings, SettingsError
from sessrec_pipeline.storage import store as stores
from sessrec_pipeline.storage.files import DamagedFileError, OtherVersionError
from sessrec_pipeline.storage.layout import is_spoilt
from sessrec_pipeline.storage.owners import BusyError
from sessrec_pipeline.storage.store import GoneError, NotMaterializedError, Store, Stored
from sessrec_pipeline.storage.warehouse import remembered, seen
from sessrec_pipeline.training.state import content_hash, load_state
from sessrec_pipeline.tuning.search import check_seal
from sessrec_pipeline.tuning.storage import finished, open_study
from sessrec_pipeline.tuning.trials import TuningDatabaseError

TOML = """\
models = ["markov", "sknn", "gru4rec"]
[synthetic]
sessions = 150
items = 50
days = 2
[gru4rec]
layers = [8]
n_epochs = 2
n_sample = 16
batch_size = 16
[training]
validate_epochs = true
tuning_trials = 2
"""
KINDS: dict[str, str] = {
    "table of the lake": "lake/**/versions/*.parquet",
    "pointer `current`": "*/**/current",
    "checkpoint": "checkpoints/**/*.safetensors",
    "history: metrics": "history/metrics/*.parquet",
    "history: ranks": "history/ranks/**/*.parquet",
    "report": "reports/**/*.html",
    "manifest.json": "manifest.json",
    "manifest.json.before": "manifest.json.before",
    "layout": "layout",
    "warehouse": "warehouse.duckdb",
    "training state": "training/*.safetensors",
    "tuning database": "training/*.sqlite",
    "Dagster: runs.db": "dagster/history/runs.db",
    "Dagster: run tags": "dagster/history/runs.db",
    "Dagster: events": "dagster/history/runs/*.db",
    "Dagster: schedules": "dagster/schedules/*.db",
    "dagster.yaml": "dagster/dagster.yaml",
    "sessrec.toml": "sessrec.toml",
    "landed log": "landing/*",
}
"""Where the files of each kind are. Pins and lock files are empty: there is no bit in them to flip."""
OF_A_PERSON = ("sessrec.toml", "landed log")
"""Kinds whose content is a person's to change: other settings and other rows are legitimate, a traceback is not."""
READING: tuple[tuple[str, ...], ...] = (
    ("recommend", "--json", "--items", "1,2,3"),
    ("recommend", "--json", "--items", "1,2,3", "--model", "gru4rec"),
    ("history", "--json"),
    ("lineage", "metrics", "--full"),
    ("versions", "--wide"),
    ("verify",),
)
"""Commands that print what is stored."""
MAKING: tuple[tuple[str, ...], ...] = (("check", "--wide"), ("materialize",), ("verify", "--repair"), ("verify",))
"""Commands that look at all of it and set right what is not; older versions are the business of the third."""
Verdict = Literal["noticed", "harmless", "accepted", "traceback"]
Found = tuple[Verdict, str, str]
"""What became of a flip, by whom, and their words."""


@dataclass(frozen=True)
class Said:
    """What a command, or a function, came to."""

    code: int
    out: str
    err: str
    traceback: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of one flip."""

    kind: str
    place: str
    verdict: Verdict
    by: str
    said: str


# --- who is asked ----------------------------------------------------------------------------------------------------


def say(home: Path, arguments: Sequence[str]) -> Said:
    """What a command says, run in this process."""
    _forget()
    result = CliRunner().invoke(main, ["--home", str(home), *arguments])
    odd = result.exception is not None and not isinstance(result.exception, SystemExit)
    return Said(result.exit_code, _plain(result.stdout), _plain(result.stderr), repr(result.exception) if odd else "")


def _plain(text: str) -> str:
    """Without what differs from run to run: times that something took."""
    return re.sub(r"\d+(\.\d+)? ?(s|ms|µs|B/s)\b", "", text)


def _forget() -> None:
    stores._known.clear()
    stores._lineage_of.cache_clear()


FORESEEN = (
    DamagedFileError,
    OtherVersionError,
    NotMaterializedError,
    GoneError,
    BusyError,
    SettingsError,
    LogRefusedError,
    TuningDatabaseError,
)
"""What the functions behind the commands raise, and the commands print as a sentence."""


def ask(reader: Callable[[Path], object], path: Path) -> Said:
    """What a function says of a file."""
    _forget()
    try:
        return Said(0, repr(reader(path)), "")
    except FORESEEN as error:
        return Said(2, "", str(error))
    except Exception as error:  # whatever it is, nobody foresaw it
        return Said(1, "", "", repr(error))


def _store_of(path: Path) -> Store:
    return Store(load_settings(_home(path)))


def _home(path: Path) -> Path:
    return next(folder for folder in path.parents if (folder / "sessrec.toml").exists())


def artefact(path: Path) -> object:
    """Whatever an artefact holds, as both engines read it."""
    store = _store_of(path)
    in_history = path.is_relative_to(store.history.folder)
    found = Stored(path, store.history.read_lineage(path)) if in_history else store.at(path)
    if found is None:
        return hashlib.sha256(path.read_bytes().rpartition(b"\n<script")[0]).hexdigest()
    node = found.verified().node
    if path.suffix == ".safetensors":
        return node, found.checkpoint().model, found.checkpoint().content_hash()
    if path.suffix == ".html":
        return hashlib.sha256(path.read_bytes().rpartition(b"\n<script")[0]).hexdigest()
    rows = found.arrow().to_pydict()
    return node, rows, _in_sql(path, rows)


def _in_sql(path: Path, rows: dict[str, list[Any]]) -> object:
    """All rows, and how many have the first value of each column, which DuckDB finds by the statistics of the file."""
    with duckdb.connect() as connection:
        connection.from_parquet(str(path), hive_partitioning=False).create_view("t")
        firsts = {name: values[0] for name, values in rows.items() if values and isinstance(values[0], str | int)}
        counts = [
            connection.execute(f'SELECT COUNT(*) FROM t WHERE "{name}" = $v', {"v": value}).fetchall()
            for name, value in firsts.items()
        ]
        return connection.execute("FROM t").fetchall(), counts


def everything(path: Path) -> object:
    """The current version of every artefact, by the pointers, and what manifest and layout say."""
    store = _store_of(path)
    if damage := store.manifest.damage():
        raise damage
    if is_spoilt(store.settings):
        raise DamagedFileError(path, "it is written again")
    return [store.find(*key).node.id for key in store.manifest.read() or {}], list(store.logs())


def scratch(path: Path) -> object:
    """A training state, under the key that it had, or the trials of a search."""
    if path.suffix == ".sqlite":
        try:
            trials = finished(open_study(path, None), 2)
        except (OptunaError, json.JSONDecodeError) as error:  # a search tells it so
            raise TuningDatabaseError(str(error)) from error
        for trial in trials:
            check_seal(trial)
        return [(trial.number, trial.value, trial.user_attrs.get("config")) for trial in trials]
    state = load_state(path, KEYS[path.name])
    if state is None:
        raise DamagedFileError(path, "training begins anew")
    return content_hash(state, "")


KEYS: dict[str, str] = {}
"""Of the training states of the home as it was made."""


def memory(path: Path) -> object:
    """What is asked of Dagster's instance before each run."""
    told: list[str] = []
    with open_instance(load_settings(_home(path)), told.append) as instance:
        said = end_dead_runs(instance)
        if told:
            raise DamagedFileError(path, told[0])
        return said, instance.get_dynamic_partitions("landed_logs")


def catalogue(path: Path) -> object:
    """What the warehouse knows."""
    with _store_of(path).warehouse.reading() as connection:
        rows = [connection.execute(f"FROM {name}").fetchall() for name in ("metrics", "leaderboard", "history")]
        return sorted(seen(connection), key=str), sorted(remembered(connection)), rows


def settings_of(path: Path) -> Settings:
    """The settings that a file holds."""
    return load_settings(_home(path))


def events(path: Path) -> int:
    """How many events a landed log holds."""
    return int(ingest_landed(load_settings(_home(path)), path.name, lambda line: None).events.arrow().num_rows)


READERS: dict[str, Callable[[Path], object]] = {
    "layout": everything,
    "manifest.json": everything,
    "manifest.json.before": everything,
    "pointer `current`": everything,
    "warehouse": catalogue,
    "training state": scratch,
    "tuning database": scratch,
    "sessrec.toml": settings_of,
    "landed log": events,
    **{kind: memory for kind in KINDS if "agster" in kind},
}
"""The functions that read each kind of file; ``artefact`` for all others."""


def content(home: Path) -> dict[str, str]:
    """The content hashes of what is current in a home, every byte compared; what is damaged is left out."""
    store, found = Store(load_settings(home)), {}
    for stored in store.current(lambda damage: None):
        with suppress(DamagedFileError):
            node = stored.verified().node
            if not TIMED.match(node.asset):
                found[f"{node.asset}[{node.partition}]"] = node.data_version
    return found


TIMED = re.compile(r"(costs|report|leaderboard|\w+_tuning|\w+_validation)$")
"""Artefacts that hold times: two runs make others."""


def judge(before: Mapping[str, Said], now: Mapping[str, Said]) -> Found:
    """The worst of what was said, and who said it."""
    for name, said in now.items():
        if said.traceback:
            return "traceback", name, said.traceback
    for name, said in now.items():
        silent = said.code == before[name].code == 0 and said.err == before[name].err
        if silent and said.out != before[name].out:
            return "accepted", name, said.out[:2000]
    for name, said in now.items():
        if said != before[name]:
            return "noticed", name, f"{said.err}{said.out}"[-500:]
    return "harmless", "", ""


# --- flips -----------------------------------------------------------------------------------------------------------


def places(kind: str, path: Path) -> range:
    """The bytes of a file that a flip of this kind may hit."""
    text = path.read_bytes()
    if kind == "Dagster: run tags" and (spots := [found.start() for found in re.finditer(rb"sessrec/process", text)]):
        return range(spots[-1], min(spots[-1] + 60, len(text)))
    return range(len(text))


def flip(path: Path, place: int, mask: int) -> None:
    """Change bits of one byte in place."""
    with path.open("r+b") as file:
        file.seek(place)
        [byte] = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ mask]))


class Campaign:
    """Flips in a copy of the materialized home ``base``, below the folder ``work``."""

    def __init__(self, base: Path, work: Path, rng: random.Random) -> None:
        self.base, self.home, self.rng = base, work / "home", rng
        self.files = {kind: [p for p in sorted(base.glob(glob)) if p.stat().st_size] for kind, glob in KINDS.items()}
        for path in self.files["training state"]:
            with safe_open(path, framework="numpy") as file:
                KEYS[path.name] = str(file.metadata()["key"])
        self.asked: dict[tuple[str, Path], Said] = {}
        self.said: dict[tuple[tuple[str, ...], ...], dict[str, Said]] = {}
        self.content: dict[str, str] = {}
        self._copy()

    def _copy(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)
        shutil.copytree(self.base, self.home)

    def _before(self, commands: tuple[tuple[str, ...], ...]) -> dict[str, Said]:
        """What the commands say of the home as it was made."""
        if commands not in self.said:
            self.said[commands] = {" ".join(command): say(self.home, command) for command in commands}
            if commands == MAKING:
                self.content = content(self.home)
            self._copy()
        return self.said[commands]

    def one(self, kind: str, *, printed: bool = False, whole: bool = False) -> Outcome:
        """One flip in a file of a kind: put to the function that reads it.

        printed: also to the commands that print; whole: to those, too, that set right what is wrong.
        """
        path = self.rng.choice(self.files[kind])
        place, mask = self.rng.choice(places(kind, path)), 1 << self.rng.randrange(8)
        name, reader = path.relative_to(self.base), READERS.get(kind, artefact)
        if (kind, name) not in self.asked:
            self.asked[kind, name] = ask(reader, self.home / name)
        commands = [c for c, wanted in ((READING, printed or whole), (MAKING, whole)) if wanted]
        before = [self._before(c) for c in commands]
        flip(self.home / name, place, mask)
        found = [judge({reader.__name__: self.asked[kind, name]}, {reader.__name__: ask(reader, self.home / name)})]
        if reader is memory and commands:  # it has set aside what it could not read
            self._copy()
            flip(self.home / name, place, mask)
        for command, earlier in zip(commands, before, strict=True):
            now = {" ".join(c): say(self.home, c) for c in command}
            found.append(judge(earlier, now))
            if command == MAKING and now["materialize"].code == 0 and kind not in OF_A_PERSON:
                if content(self.home) != self.content:
                    found.append(("accepted", "content after materialize", now["materialize"].err[-2000:]))
                if now["verify"].code:
                    found.append(("accepted", "not clean after --repair", now["verify"].out[-2000:]))
        if kind in OF_A_PERSON:  # other content is its owner's will
            found = [("noticed" if verdict == "accepted" else verdict, by, words) for verdict, by, words in found]
        worst = min(found, key=lambda one: ("traceback", "accepted", "noticed", "harmless").index(one[0]))
        if commands or reader is memory:
            self._copy()
        else:  # who only reads has changed nothing
            shutil.copy2(path, self.home / name)
        return Outcome(kind, f"{name}:{place} ^ {mask}", *worst)


TWO_RUNS = ((TOML, "demo"), (TOML.replace("n_epochs = 2", "n_epochs = 3"), "materialize"))


def make_home(home: Path, runs: Sequence[tuple[str, str]] = TWO_RUNS) -> None:
    """A materialized home, after commands under some settings; by default with every kind of file."""
    home.mkdir(parents=True)
    for toml, command in runs:
        (home / "sessrec.toml").write_text(toml)
        made = say(home, [command])
        if made.code or made.traceback:
            raise RuntimeError(f"{made.err}{made.traceback}")


def table(outcomes: Sequence[Outcome]) -> str:
    """Flips by kind of file and by what became of them."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    by: dict[str, Counter[str]] = defaultdict(Counter)
    for outcome in outcomes:
        counts[outcome.kind][outcome.verdict] += 1
        if outcome.verdict == "noticed":
            by[outcome.kind][outcome.by.partition(" --")[0]] += 1
    lines = [f"{'kind of file':<22} {'flips':>6} {'noticed':>8} {'harmless':>9} {'accepted':>9} {'traceback':>10}  by"]
    for kind, found in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        who = ", ".join(f"{name} {n}" for name, n in by[kind].most_common(4))
        lines.append(
            f"{kind:<22} {found.total():>6} {found['noticed']:>8} {found['harmless']:>9} {found['accepted']:>9} "
            f"{found['traceback']:>10}  {who}"
        )
    return "\n".join(lines)


def run(flips: int, seed: int, kinds: Sequence[str], home: Path | None) -> Iterator[Outcome]:
    """The outcomes of so many flips, in turn over the kinds.

    Of each kind the 10th flip is put to the commands that print, too, and the 50th to all of them.
    """
    fast = Path("/dev/shm")  # thousands of copies: a disk would wait for each
    with TemporaryDirectory(prefix="flips-", dir=fast if fast.is_dir() else None) as folder:
        base = home or Path(folder, "base")
        if not base.exists():
            make_home(base)
        campaign = Campaign(base, Path(folder), random.Random(seed))
        for n in range(flips):
            turn = n // len(kinds)
            yield campaign.one(kinds[n % len(kinds)], printed=turn % 10 == 0, whole=turn % 50 == 0)


@click.command()
@click.option("--flips", default=2000, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--kind", "kinds", multiple=True, help="Only these kinds of files.")
@click.option("--home", type=click.Path(path_type=Path), help="Keep the materialized home here, or take it from here.")
def command(flips: int, seed: int, kinds: Sequence[str], home: Path | None) -> None:
    """Flip bits and print what became of them."""
    outcomes, begun = [], time.monotonic()
    for outcome in run(flips, seed, kinds or list(KINDS), home):
        outcomes.append(outcome)
        if outcome.verdict in ("accepted", "traceback"):
            click.echo(f"{outcome.verdict}: {outcome.place}, by {outcome.by}: {outcome.said}", err=True)
        if len(outcomes) % 100 == 0:
            click.echo(f"{len(outcomes)} flips, {time.monotonic() - begun:.0f} s", err=True)
    click.echo(table(outcomes))
    sys.exit(any(outcome.verdict in ("accepted", "traceback") for outcome in outcomes))


if __name__ == "__main__":
    command()
