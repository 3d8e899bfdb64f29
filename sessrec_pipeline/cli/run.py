"""Commands that make and check a feed's results: demo, materialize, dev, check."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sessrec_pipeline.cli.common import (
    Failure,
    begun_feed,
    existing_feed,
    kept_from,
    prepare_home,
    print_table,
    settings_of,
    store_of,
    wide_option,
    write_file,
)
from sessrec_pipeline.text import about, one_line, say

if TYPE_CHECKING:
    from assets.runs import Outcome
    from sessrec_pipeline.settings import Settings

DEMO_TOML = """\
# Settings of the built-in {kind} feed; see sessrec_pipeline/settings for every field.
[synthetic]
kind = "{kind}"

# Found by an earlier search on a split inside train, never on the test sessions; a run takes them as given.
[gru4rec]
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


@click.command()
@click.option("--null", "null", is_flag=True, help="The study's feed of independent draws, in data/null.")
@wide_option
@click.pass_obj
def demo(home: Path | None, null: bool) -> None:
    """Write the demo logs, materialize the whole graph, print the leaderboard."""
    from sessrec_pipeline.storage.files import replacing

    kind = "null" if null else "demo"
    settings = settings_of(home or Path(os.environ.get("SESSREC_HOME") or f"data/{kind}"))
    toml = settings.home / "sessrec.toml"
    if not toml.exists():
        with replacing(toml) as temporary:
            temporary.write_text(DEMO_TOML.format(kind=kind), encoding="utf-8")
        settings = settings_of(settings.home)
    if settings.synthetic is None:
        raise Failure(f"{toml} has no [synthetic] table: this home is a feed of your own; run the demo elsewhere")
    from sessrec_pipeline.logs.synthetic import write_logs

    prepare_home(settings)
    logs = write_logs(settings.synthetic, settings.landing)
    say(f"{len(logs)} logs in {settings.landing}", err=True)
    outcome = _materialize(settings)
    print_leaderboard(store_of(settings).find("leaderboard").arrow().to_pylist(), settings)
    say(f"\nReport: {settings.reports / 'report.html'}")
    say(f"UI:     make dev   (or: sessrec --home {_relative_to_here(settings.home)} dev), then http://127.0.0.1:3000")
    _exit_if_incomplete(outcome)


@click.command()
@click.argument("assets", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Rebuild also what is up to date.")
@wide_option
@click.pass_obj
def materialize(home: Path | None, assets: tuple[str, ...], everything: bool) -> None:
    """Take what landed, rebuild what is not up to date in this process, print the leaderboard.

    With ASSETS, only these and what they rest on, and no leaderboard.

    Exit code 1 when a log was not taken or a model failed (the others went on), 2 when there is no result.
    """
    settings = begun_feed(home)
    prepare_home(settings)
    outcome = _materialize(settings, assets, everything)
    if not assets:
        print_leaderboard(store_of(settings).find("leaderboard").arrow().to_pylist(), settings)
        say(f"\nReport: {settings.reports / 'report.html'}")
    _exit_if_incomplete(outcome)


def _exit_if_incomplete(outcome: "Outcome") -> None:
    """Exit code 1 where a log or a model is not in the result, with the reason."""
    _print_refused_logs(outcome)
    if outcome.without:
        say(f"not on the leaderboard: {', '.join(outcome.without)}", err=True)
        for step, reason in outcome.failed.items():
            say(f"  {step}: {reason}", err=True)
    if outcome.refused or outcome.without:
        sys.exit(1)


def _materialize(settings: "Settings", assets: Sequence[str] = (), everything: bool = False) -> "Outcome":
    from assets.instance import open_instance
    from assets.runs import UnknownAssetError, materialize_all

    with open_instance(settings) as instance:
        try:
            outcome = materialize_all(
                settings, instance, up_to=assets, everything=everything, report=lambda line: say(line, err=True)
            )
        except UnknownAssetError as error:
            raise Failure(str(error)) from error
    if not outcome.success and (assets or not outcome.without):
        _print_refused_logs(outcome)
        if not outcome.landed:
            raise Failure(f"no log has landed: put logs into {settings.landing}")
        raise Failure("\n".join(f"{step}: {reason}" for step, reason in outcome.failed.items()))
    return outcome


def _print_refused_logs(outcome: "Outcome") -> None:
    for name, reason in outcome.refused.items():
        say(one_line(f"not taken: {about(name, reason)}"), err=True)


def print_leaderboard(rows: Sequence[Mapping[str, Any]], settings: "Settings") -> None:
    """The rows of the leaderboard as a table, and what its words mean."""
    from sessrec_pipeline.evaluation.estimates import Estimate

    rule = rows[0]["tie_rule"]
    cutoffs = settings.evaluation.cutoffs
    columns = [f"{metric}_at_{k}" for metric in ("recall", "mrr") for k in cutoffs] + [f"ndcg_at_{max(cutoffs)}"]
    header = [c.replace("recall_at_", "R@").replace("mrr_at_", "MRR@").replace("ndcg_at_", "NDCG@") for c in columns]
    say(f"\nFull ranking of every test event, 95 % bootstrap intervals over sessions, {rule} tie rule\n")
    body = [
        [row["model"], *[Estimate.from_row(row, c).in_brackets() for c in columns],
         _difference_from(row, "best"), _difference_from(row, "next"), f"{row['predictions']:,}", row["tuned"]]
        for row in rows
    ]  # fmt: skip
    middle = [name for name in header if not name.endswith(f"@{max(cutoffs)}")]
    spare = ["predictions", "tuned", *middle, header[-1], "vs next"]
    print_table(["model", *header, "vs best", "vs next", "predictions", "tuned"], body, spare)
    metric, k = settings.evaluation.deciding
    margin = f"±{100 * settings.evaluation.equivalence_margin:g} %"
    say(
        f"\nvs best, vs next: paired test of {metric}@{k} over the same sessions, p corrected by Holm over all pairs, "
        f"at {settings.evaluation.alpha:g}\nequivalent: the whole interval of the difference lies within {margin} of "
        "the better value\nnot told apart: the difference may be chance, and may be more than that"
    )


def _difference_from(row: Mapping[str, Any], other: str) -> str:
    """What can be said of a model of the leaderboard and the `other` one, the best or the next, and the p-value."""
    verdict, p = row[f"vs_{other}"], row[f"p_{other}"]
    return "-" if verdict is None else verdict if p is None else f"{verdict} p={p:.4f}"


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True)
@click.pass_obj
def dev(home: Path | None, port: int) -> None:
    """Open the Dagster UI and daemon on this feed (loopback only; the UI has no login)."""
    settings = begun_feed(home)
    prepare_home(settings)
    from sessrec_pipeline.cli.ui import serve

    serve(settings, port)


@click.command()
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), help="Write JUnit XML, for CI systems.")
@click.option("--markdown", type=click.Path(path_type=Path, dir_okay=False), help="Write a summary, for pull requests.")
@wide_option
@click.pass_obj
def check(home: Path | None, junit: Path | None, markdown: Path | None) -> None:
    """Run all asset checks and print them.

    Exit code 0 when all is well (warnings do not count), 1 when a check of severity ERROR failed or a check could not
    run, 2 when there is no result: nothing is materialized, or the settings cannot be used.
    """
    settings = existing_feed(home)
    may_write = kept_from(settings) is None
    if may_write:
        prepare_home(settings)
    import dagster as dg

    from assets.inputs import not_ingested, superseded
    from assets.instance import open_instance
    from assets.runs import failed_last, run_checks
    from sessrec_pipeline.monitoring.verdicts import Verdict, as_junit, as_markdown, tally

    with open_instance(settings) if may_write else dg.DagsterInstance.ephemeral() as instance:
        if not may_write:  # who may only read a feed checks it all the same; the UI does not hear of it
            instance.add_dynamic_partitions("landed_logs", list(store_of(settings).partitions("raw_sessions")))
        verdicts = run_checks(settings, instance)
        expected = "What was tried last could be made."
        verdicts += [Verdict(a, "made", "FAILED", expected, why) for a, why in failed_last(settings, instance).items()]
        refused = not_ingested(instance, store_of(settings))
    outputs = [(junit, as_junit(verdicts)), (markdown, as_markdown(verdicts).encode())]
    for path, content in outputs:
        if path is not None:
            write_file(path, content)
    rows = [[v.outcome, v.asset, v.check, v.seen] for v in verdicts]
    header = ["", "asset", "check", "what was seen"]
    print_table(header, rows)
    for verdict in verdicts:
        if verdict.outcome != "passed":
            say(f"\n{verdict.outcome}: {verdict.asset} {verdict.check}\n  {verdict.sentence}")
    if refused:
        say(f"\nnot ingested: {', '.join(refused)}; `sessrec materialize` says why")
    checked = {verdict.asset for verdict in verdicts}
    if behind := [names for names in superseded(store_of(settings)) if names[0] in checked]:
        asset, source = behind[0]
        more = f", and so were {len(behind) - 1:,} more" if len(behind) > 1 else ""
        say(
            f"\nout of date: {asset} was made from another version of {source} than is current now{more}; the checks "
            "held each against what it was made from, and `sessrec materialize` makes them again"
        )
    if other := _other_settings(settings):
        say(f"\nout of date: made with {', '.join(other)}; `sessrec materialize` makes it with today's settings")
    red = any(v.red for v in verdicts)
    say(f"\n{tally(verdicts)}", err=red)
    sys.exit(int(red))


def _other_settings(settings: "Settings") -> list[str]:
    """The settings that the leaderboard was made with, where they are not today's."""
    from sessrec_pipeline.feed import cards_of
    from sessrec_pipeline.storage.lineage import flat

    store = store_of(settings)
    if not store.has("leaderboard"):
        return []
    leaderboard = store.find("leaderboard")
    today = dict(flat(settings.model_dump(mode="json", exclude={"home"})))
    made = {name: value for node in leaderboard.lineage.nodes for name, value in flat(node.config)}
    other = [f"{name} = {value} (now {today[name]})" for name, value in made.items() if today.get(name, value) != value]
    ranked, wanted = set(leaderboard.arrow(["model"])["model"].to_pylist()), {card.name for card in cards_of(settings)}
    if gone := sorted(ranked - wanted):
        other.append(f"{', '.join(gone)} among the models")
    if new := sorted(wanted - ranked):
        other.append(f"no {', '.join(new)} among the models")
    return other


def _relative_to_here(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
