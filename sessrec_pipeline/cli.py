"""The ``sessrec`` command: what people and CI jobs do with a feed without opening the UI."""

import atexit
import os
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sessrec_pipeline.settings import Settings, SettingsError

if TYPE_CHECKING:
    from assets.runs import Outcome
    from sessrec_pipeline.storage.store import Store

DEMO_TOML = """\
# Settings of the built-in {kind} feed; see sessrec_pipeline/settings.py for every field.
[synthetic]
kind = "{kind}"

[gru4rec] # chosen on a split inside train, never on the test sessions
layers = [100]
loss = "cross-entropy"
batch_size = 50
n_epochs = 15
learning_rate = 0.03
momentum = 0.2
dropout_embedding = 0.5
dropout_hidden = 0.2
n_sample = 512
sample_alpha = 0.0
logq = 1.0
"""

TABLE_WIDTH = 120


class Failure(click.ClickException):
    """A sentence for the person at the terminal; exit code 2."""

    exit_code = 2


class Commands(click.Group):
    """Commands whose known troubles end in their sentence, not in a traceback."""

    def invoke(self, context: click.Context) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(context)
        except Exception as error:
            from sessrec_pipeline.storage.files import BusyError, DamagedFileError
            from sessrec_pipeline.storage.layout import LayoutError
            from sessrec_pipeline.tuning.trials import TuningDatabaseError

            if isinstance(error, DamagedFileError | BusyError | LayoutError | TuningDatabaseError):
                raise Failure(str(error)) from error
            raise


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sessrec_pipeline")
@click.option(
    "--home",
    type=click.Path(path_type=Path),
    help="Folder of the feed (default: $SESSREC_HOME, else data/ once it has logs or a sessrec.toml, else data/demo).",
)
@click.pass_context
def main(context: click.Context, home: Path | None) -> None:
    """Session logs in, ranked next-item recommenders out."""
    context.obj = home
    _quiet_teardown()


def _quiet_teardown() -> None:
    """Silence stderr once the interpreter has begun to end.

    With torch loaded, objects of DuckDB's bindings outlive the interpreter, and the bindings print a page of leak
    warnings under the result that people came for. Everything is closed and on disk by then.
    """

    def close() -> None:
        sys.stderr.flush()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)

    atexit.register(close)


def _settings(home: Path | None) -> Settings:
    from sessrec_pipeline.feed import load_settings

    try:
        settings = load_settings(home)
    except SettingsError as error:
        raise Failure(str(error)) from None
    # The code location is imported by name, here and in every step process, and finds the feed by this.
    os.environ["SESSREC_HOME"] = str(settings.home)
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)
    return settings


def _existing(home: Path | None) -> Settings:
    """The settings of a feed that has results; a mistyped home is not made."""
    settings = _settings(home)
    if not settings.lake.is_dir():
        raise Failure(f"nothing is materialized in {settings.home}; run `sessrec materialize`, or name another --home")
    return settings


def _prepare_home(settings: Settings) -> None:
    """Folders, Dagster's configuration, and no leftovers of processes that died."""
    store = _store(settings)  # refuses a home of an earlier layout before anything is written
    settings.landing.mkdir(parents=True, exist_ok=True)
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    shipped = (files("sessrec_pipeline") / "dagster.yaml").read_text(encoding="utf-8")
    config = settings.dagster_home / "dagster.yaml"
    if not config.exists():
        config.write_text(shipped, encoding="utf-8")
    store.mend(lambda line: click.echo(line, err=True))


def _store(settings: Settings) -> "Store":
    from sessrec_pipeline.storage.store import Store

    return Store(settings)


@main.command()
@click.option("--null", "null", is_flag=True, help="The study's feed of independent draws, in data/null.")
@click.pass_obj
def demo(home: Path | None, null: bool) -> None:
    """Write the demo logs, materialize the whole graph, print the leaderboard."""
    kind = "null" if null else "demo"
    home = home or Path(os.environ.get("SESSREC_HOME") or f"data/{kind}")
    toml = home / "sessrec.toml"
    if not toml.exists():
        home.mkdir(parents=True, exist_ok=True)
        toml.write_text(DEMO_TOML.format(kind=kind), encoding="utf-8")
    settings = _settings(home)
    if settings.synthetic is None:
        raise Failure(f"{toml} has no [synthetic] table: this home is a feed of your own; run the demo elsewhere")
    from sessrec_pipeline.logs.synthetic import write_logs

    _prepare_home(settings)
    logs = write_logs(settings.synthetic, settings.landing)
    click.echo(f"{len(logs)} logs in {settings.landing}", err=True)
    _materialize(settings)
    _print_leaderboard(settings)
    click.echo(f"\nReport: {settings.reports / 'report.html'}")
    click.echo(f"UI:     make dev   (or: sessrec --home {_relative(settings.home)} dev), then http://127.0.0.1:3000")


@main.command()
@click.argument("assets", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Rebuild also what is up to date.")
@click.pass_obj
def materialize(home: Path | None, assets: tuple[str, ...], everything: bool) -> None:
    """Take what landed, rebuild what is not up to date in this process, print the leaderboard.

    With ASSETS, only these and what they rest on, and no leaderboard.

    Exit code 1 when a log was not taken (the others went on), 2 when there is no result.
    """
    settings = _settings(home)
    _prepare_home(settings)
    outcome = _materialize(settings, assets, everything)
    if not assets:
        _print_leaderboard(settings)
        click.echo(f"\nReport: {settings.reports / 'report.html'}")
    if outcome.refused:
        _say_refused(outcome)
        sys.exit(1)


def _materialize(settings: Settings, assets: Sequence[str] = (), everything: bool = False) -> "Outcome":
    from assets.runs import UnknownAssetError, materialize_all, open_instance

    with open_instance(settings) as instance:
        try:
            outcome = materialize_all(
                settings, instance, up_to=assets, everything=everything, say=lambda line: click.echo(line, err=True)
            )
        except UnknownAssetError as error:
            raise Failure(str(error)) from error
    if not outcome.success:
        _say_refused(outcome)
        if not outcome.landed:
            raise Failure(f"no log has landed: put logs into {settings.landing}")
        raise Failure("\n".join(f"{step}: {reason}" for step, reason in outcome.failed.items()))
    return outcome


def _say_refused(outcome: "Outcome") -> None:
    for name, reason in outcome.refused.items():
        click.echo(f"not taken: {reason if reason.startswith(name) else f'{name}: {reason}'}", err=True)


def _print_leaderboard(settings: Settings) -> None:
    from sessrec_pipeline.evaluation.estimates import Estimate

    rows = _store(settings).find("leaderboard").arrow().to_pylist()
    rule = rows[0]["tie_rule"]
    cutoffs = settings.evaluation.cutoffs
    columns = [f"{metric}_at_{k}" for metric in ("recall", "mrr") for k in cutoffs] + [f"ndcg_at_{max(cutoffs)}"]
    header = [c.replace("recall_at_", "R@").replace("mrr_at_", "MRR@").replace("ndcg_at_", "NDCG@") for c in columns]
    click.echo(f"\nFull ranking of every test event, 95 % bootstrap intervals over sessions, {rule} tie rule\n")
    body = [
        [row["model"], *[Estimate.from_row(row, c).in_brackets() for c in columns],
         _told(row, "best"), _told(row, "next"), f"{row['predictions']:,}", row["tuned"]]
        for row in rows
    ]  # fmt: skip
    _table(["model", *header, "vs best", "vs next", "predictions", "tuned"], body)
    alpha = settings.evaluation.alpha
    click.echo(
        f"\nvs best, vs next: paired test of R@{max(cutoffs)} over the same sessions, p corrected by Holm over all "
        f"pairs; level: no difference found at {alpha:g}"
    )


def _told(row: dict[str, Any], other: str) -> str:
    """Whether a model of the leaderboard can be told from the best or the next one."""
    p = row[f"p_{other}"]
    if p is None:
        return "-"
    return f"{'level' if row[f'level_with_{other}'] else 'differs'} p={p:.4f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(str(line[i])) for line in [header, *rows]) for i in range(len(header))]
    for line in [header, ["-" * width for width in widths], *rows]:
        click.echo("  ".join(str(cell).ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


@main.command()
@click.argument("name")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder with the benchmark's raw files.")
@click.option(
    "--seeds", default=3, show_default=True, type=click.IntRange(min=1), help="Trainings of each trained model."
)
@click.pass_obj
def reproduce(home: Path | None, name: str, data: Path, seeds: int) -> None:
    """Run the public benchmark NAME from raw files to a table with published figures beside ours.

    Settings, model and report stand in data/reproduce/NAME; a run that was stopped goes on where it was.
    """
    home = (home or Path(os.environ.get("SESSREC_HOME") or f"data/reproduce/{name}")).resolve()
    os.environ["SESSREC_HOME"] = str(home)  # the code location, imported by the next line, must not look elsewhere
    from assets import reproduce as benchmark

    try:
        recipe = benchmark.set_up(name, data, home)
        settings = _settings(home)
        _prepare_home(settings)
        from assets.runs import open_instance

        with open_instance(settings) as instance:
            table = benchmark.run(name, recipe, settings, instance, seeds)
    except benchmark.ReproductionError as error:
        raise Failure(str(error)) from None
    click.echo(f"\n{name}: {recipe.title}")
    for heading, rows in benchmark.as_text(table.arrow(), settings):
        k = max(settings.evaluation.cutoffs)
        click.echo(f"\n{heading}\n")
        _table(["model", f"R@{k}", f"MRR@{k}", "source"], rows)
    click.echo(f"\nTable:  reproduction in {settings.warehouse}\nReport: {settings.reports / 'report.html'}")


@main.command()
@click.argument("names", nargs=-1)
@click.option("--markdown", type=click.Path(path_type=Path, dir_okay=False), help="Write the findings, as a table.")
@click.pass_obj
def studies(home: Path | None, names: Sequence[str], markdown: Path | None) -> None:
    """Make the studies NAMES (default: all) on what is materialized; print their tables and findings.

    Exit code 2 when one of them could not be made.
    """
    settings = _existing(home)
    _prepare_home(settings)
    from assets.runs import open_instance, run_studies
    from sessrec_pipeline.studies.register import studies_of
    from sessrec_pipeline.studies.tables import as_markdown, as_text

    known = {study.name: study for study in studies_of(settings)}
    if strange := [name for name in names if name not in known]:
        raise Failure(f"no study {strange[0]!r}; there are {', '.join(known)}")
    chosen = [study for name, study in known.items() if not names or name in names]
    with open_instance(settings) as instance:
        failed = run_studies(settings, instance, chosen)
    if failed:
        raise Failure("\n".join(f"{step}: {reason}" for step, reason in failed.items()))
    found = [(study, _find(_store(settings), study.asset).arrow().to_pandas()) for study in chosen]
    if markdown is not None:
        _write(markdown, as_markdown(found).encode())
    for study, frame in found:
        click.echo(f"\n{study.title}: {study.question}\n")
        _table(*as_text(frame))
        click.echo(f"\n{study.finding(frame)}")
    click.echo(f"\nPage: {settings.reports / 'studies_report.html'}")


@main.command()
@click.argument("models", nargs=-1)
@click.pass_obj
def search(home: Path | None, models: Sequence[str]) -> None:
    """Take trials of the searches for the best settings of MODELS (default: all), until all trials are finished.

    For any number of processes, on every machine that sees the feed's home, beside `sessrec materialize` or before it.
    """
    settings = _existing(home)
    from assets.runs import stale
    from assets.search import take_part
    from sessrec_pipeline.storage.store import NotMaterializedError
    from sessrec_pipeline.tuning.trials import tuned_cards

    known = [card.name for card in tuned_cards(settings)]
    if not known:
        raise Failure("there is nothing to search: set [training] tuning_trials in sessrec.toml")
    if strange := [name for name in models if name not in known]:
        raise Failure(f"{strange[0]!r} has no search; there are {', '.join(known)}")
    if late := stale(settings, "tuning_test_split"):
        raise Failure(f"{late} is not up to date: `sessrec materialize tuning_test_split` makes what a search rests on")
    try:
        for model in take_part(settings, models or known, click.echo):
            click.echo(f"{model}: all {settings.training.tuning_trials} trials are finished")
    except NotMaterializedError as error:
        raise Failure(f"{error}: `sessrec materialize` makes it before it searches") from None


@main.command()
@click.option("--port", default=3000, show_default=True)
@click.pass_obj
def dev(home: Path | None, port: int) -> None:
    """Open the Dagster UI and daemon on this feed (loopback only; the UI has no login)."""
    settings = _settings(home)
    _prepare_home(settings)
    from assets.runs import end_dead_runs, open_instance

    with open_instance(settings) as instance:  # or they would count against the limit of runs
        for line in end_dead_runs(instance):
            click.echo(line, err=True)
    click.echo(f"feed: {settings.home}", err=True)
    os.environ["VIRTUAL_ENV"] = sys.prefix  # or dg warns that another environment is active
    dg_command = str(Path(sys.executable).with_name("dg"))
    os.execv(dg_command, [dg_command, "dev", "--host", "127.0.0.1", "--port", str(port)])  # noqa: S606


@main.command()
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), help="Write JUnit XML, for CI systems.")
@click.option("--markdown", type=click.Path(path_type=Path, dir_okay=False), help="Write a summary, for pull requests.")
@click.pass_obj
def check(home: Path | None, junit: Path | None, markdown: Path | None) -> None:
    """Run all asset checks and print them.

    Exit code 0 when all is well (warnings do not count), 1 when a check of severity ERROR failed or a check could not
    run, 2 when there is no result: nothing is materialized, or the settings cannot be used.
    """
    settings = _existing(home)
    _prepare_home(settings)

    from assets.runs import open_instance, run_checks
    from sessrec_pipeline.monitoring.verdicts import as_junit, as_markdown, tally
    from sessrec_pipeline.text import printable

    with open_instance(settings) as instance:
        verdicts = run_checks(settings, instance)
    outputs = [(junit, as_junit(verdicts)), (markdown, as_markdown(verdicts).encode())]
    for path, content in outputs:
        if path is not None:
            _write(path, content)
    rows = [[v.outcome, v.asset, v.check, " ".join(printable(v.seen).split())] for v in verdicts]
    header = ["", "asset", "check", "what was seen"]
    room = TABLE_WIDTH - sum(max(len(line[i]) for line in [header, *rows]) + 2 for i in range(3))
    _table(header, [[*row[:3], _short(row[3], room)] for row in rows])
    for verdict in verdicts:
        if verdict.outcome != "passed":
            click.echo(f"\n{verdict.outcome}: {verdict.asset} {verdict.check}\n  {printable(verdict.sentence)}")
    red = any(v.red for v in verdicts)
    click.echo(f"\n{tally(verdicts)}", err=red)
    sys.exit(int(red))


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}") from None


def _short(value: Any, longest: int = 60) -> str:
    text = str(value)
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


@main.command()
@click.argument("asset")
@click.option("--all", "everything", is_flag=True, help="List every landed log, however many there are.")
@click.pass_obj
def lineage(home: Path | None, asset: str, everything: bool) -> None:
    """Which landed logs, splits, settings and code versions ASSET rests on; for metrics, row by row."""
    settings = _existing(home)
    store = _store(settings)
    partitions = {f"{asset}[{key}]": stored for key, stored in store.partitions(asset).items()}
    found = partitions or {asset: _find(store, asset)}
    with store.warehouse.connect() as connection:
        targets = [(title, stored.node.id) for title, stored in found.items()]
        if asset in ("metrics", "leaderboard"):
            targets = [
                (f"{asset}: {count} rows of {model}", rankings)
                for model, rankings, count in zip(
                    *_columns(connection, f"SELECT model, rankings, COUNT(*) FROM {asset} GROUP BY ALL ORDER BY 1"),
                    strict=True,
                )
            ]
        for title, node in targets:
            click.echo(f"\n{title}")
            rows = connection.execute(
                "SELECT asset, partition_key, data_version, code_version, config, ancestor FROM lineage.origin "
                "WHERE id = $id ORDER BY asset = 'landing', asset, partition_key",
                {"id": node},
            ).fetchall()
            _print_origin(rows, everything)


def _columns(connection: Any, sql: str) -> list[tuple[Any, ...]]:
    return list(zip(*connection.execute(sql).fetchall(), strict=True)) or [(), (), ()]


def _print_origin(rows: Sequence[tuple[Any, ...]], everything: bool) -> None:
    logs = [r for r in rows if r[0] == "landing"]
    steps = [r for r in rows if r[0] != "landing" and (r[1] is None or everything)]
    _table(
        ["  asset", "content", "code", "lineage id", "settings"],
        [
            [f"  {r[0]}{f'[{r[1]}]' if r[1] else ''}", r[2][:12], r[3], r[5], r[4] if everything else _short(r[4])]
            for r in steps
        ],
    )
    shown = logs if everything or len(logs) <= 12 else [*logs[:5], *logs[-5:]]
    click.echo(f"  {len(logs)} landed logs" + ("" if len(shown) == len(logs) else " (--all lists them)"))
    _table(["    log", "sha256"], [[f"    {r[1]}", r[2]] for r in shown])


@main.command()
@click.option("--items", required=True, help="Items of the session so far, oldest first, with commas between.")
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="How many items to recommend.")
@click.option("--model", help="Model of this feed that answers; by default the best one on the leaderboard.")
@click.pass_obj
def recommend(home: Path | None, items: str, k: int, model: str | None) -> None:
    """The next items of an anonymous session."""
    settings = _existing(home)
    from sessrec_pipeline.feed import cards_of
    from sessrec_pipeline.training.device import Compute

    store, cards = _store(settings), {card.name: card for card in cards_of(settings)}
    if model is None:
        board = _find(store, "leaderboard").arrow(["model"])["model"].to_pylist()
        model = next(name for name in board if cards[name].kind == "model")
        click.echo(f"by {model}, the best on the leaderboard", err=True)
    if model not in cards:
        raise Failure(f"no model {model!r}; this feed has {', '.join(cards)}")
    card = cards[model]
    checkpoint = _find(store, card.checkpoint).checkpoint()
    section = card.settings.model_validate(checkpoint.config)
    device = Compute(settings.compute).device() if card.gpu else "cpu"
    recommender = card.load(checkpoint.arrays, section, checkpoint.items, device)
    index = {item: i for i, item in enumerate(checkpoint.items)}
    session = [item.strip() for item in items.split(",") if item.strip()]
    unknown = [item for item in session if item not in index]
    known = [index[item] for item in session if item in index]
    if unknown:
        click.echo(f"not in the catalogue, left out: {', '.join(unknown)}", err=True)
    if not known:
        raise Failure("none of the items is in the catalogue (table popularity of the warehouse): nothing can be said")
    best, scores = recommender.top(known, k)
    rows = [
        [str(n), checkpoint.items[i], f"{score:.4f}"] for n, (i, score) in enumerate(zip(best, scores, strict=True), 1)
    ]
    _table(["rank", "item", "score"], rows)


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
def describe(file: Path) -> None:
    """What FILE looks like, the [logs] that would read it, and what would become of its rows.

    Exit code 1 when it could not be read so, 2 when there is no such file.
    """
    from sessrec_pipeline.logs.describe import describe as described
    from sessrec_pipeline.logs.gate import LogRefusedError

    try:
        lines, readable = described(file)
    except LogRefusedError as error:
        raise Failure(str(error)) from None
    click.echo("\n".join(lines))
    if not readable:
        sys.exit(1)


@main.command()
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.pass_obj
def prune(home: Path | None, dry_run: bool) -> None:
    """Delete ingested logs that are older than [sessions] window_days, that nothing rests on, and whose file is gone.

    Files in the landing folder are never touched: move a log away from there first.
    """
    settings = _existing(home)
    if settings.sessions.window_days is None:
        raise Failure("[sessions] window_days is not set in sessrec.toml: every ingested log is needed")
    _prepare_home(settings)
    from assets.runs import open_instance
    from assets.runs import prune as delete
    from sessrec_pipeline.storage.retention import prunable

    store = _store(settings)
    with open_instance(settings) as instance:
        known = instance.get_dynamic_partitions("landed_logs")
        logs = [log for log, _ in prunable(settings, store, known)] if dry_run else delete(settings, store, instance)
    for log in logs:
        click.echo(log)
    click.echo(f"{len(logs)} of {len(known)} logs {'would go' if dry_run else 'are gone'}", err=True)


@main.command("rebuild-catalog")
@click.pass_obj
def rebuild_catalog(home: Path | None) -> None:
    """Make the warehouse anew from the files of the lake (lineage, fitted tables, metrics)."""
    settings = _existing(home)
    count = _store(settings).rebuild_catalogue(lambda damage: click.echo(f"left out: {damage}", err=True))
    click.echo(f"{count} artefacts entered into {settings.warehouse}")


@main.command()
@click.argument("asset", required=False)
@click.option("--partition", help="Only this partition of ASSET.")
@click.option("--sql", is_flag=True, help="Print only what DuckDB reads the current rows of ASSET from.")
@click.pass_obj
def versions(home: Path | None, asset: str | None, partition: str | None, sql: bool) -> None:
    """The versions of ASSET, or of all tables and models, that are kept, the newest first.

    `duckdb -c "FROM $(sessrec versions metrics --sql)"` reads the current version's files, all partitions together.
    """
    settings = _existing(home)
    if asset is None and (partition is not None or sql):
        raise Failure("--partition and --sql are about one ASSET: name it")
    listed = _store(settings).versions(asset, partition, lambda damage: click.echo(f"left out: {damage}", err=True))
    if asset is not None and not listed:
        if partition is not None:
            raise Failure(f"{asset} has no partition {partition!r}")
        raise Failure(f"{asset} is a page, of which one version is kept: {_find(_store(settings), asset).path}")
    if sql:
        paths = ["'" + str(v.stored.path).replace("'", "''") + "'" for v in listed if v.current]
        click.echo(f"read_parquet([{', '.join(paths)}], hive_partitioning = false)")
        return
    rows = []
    for v in listed:
        node = v.stored.node
        name = node.asset if node.partition is None else f"{node.asset}[{node.partition}]"
        count, size = "" if node.rows is None else f"{node.rows:,}", f"{v.stored.path.stat().st_size:,}"
        marks = " ".join(["current"] * v.current + ["pinned"] * v.pinned)
        rows.append(
            [name, node.data_version[:12], node.created_at, node.code_version, count, size, node.run_id[:8], marks]
        )
    _table(["asset", "version", "when", "code", "rows", "bytes", "run", ""], rows)


@main.command()
@click.argument("asset")
@click.argument("version")
@click.option("--partition", help="Partition, for an asset that has them.")
@click.pass_obj
def restore(home: Path | None, asset: str, version: str, partition: str | None) -> None:
    """Make VERSION, or the one that begins so, the current version of ASSET again, once it is verified.

    What rests on ASSET is out of date then, and made again by the next `sessrec materialize`; ASSET itself too, if it
    was made with other inputs, settings or code than now.
    """
    settings = _existing(home)
    from sessrec_pipeline.storage.store import UnknownVersionError

    try:
        stored = _store(settings).restore(asset, version, partition)
    except UnknownVersionError as error:
        raise Failure(str(error)) from None
    click.echo(f"{asset} is {stored.node.data_version[:12]} of {stored.node.created_at} now: {stored.path}")


@main.command()
@click.pass_obj
def migrate(home: Path | None) -> None:
    """Bring a home that an earlier version made to today's layout of files; stop what works on it first.

    Files are verified and renamed, none is copied. A command that was stopped goes on where it was.
    """
    settings = _existing(home)
    from sessrec_pipeline.storage.migration import migrate as move

    move(settings, click.echo)
    _store(settings).mend(lambda line: click.echo(line, err=True))


def _find(store: "Store", asset: str) -> Any:
    from sessrec_pipeline.storage.store import NotMaterializedError

    try:
        return store.find(asset)
    except NotMaterializedError as error:
        raise Failure(str(error)) from None


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
