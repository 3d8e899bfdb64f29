"""Commands about what earlier runs came to: history, compare."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sessrec_pipeline.cli.common import Failure, existing_feed, print_table, store_of, wide_option
from sessrec_pipeline.text import did_you_mean, say, say_json

if TYPE_CHECKING:
    from sessrec_pipeline.evaluation.between_runs import Change
    from sessrec_pipeline.settings import Settings
    from sessrec_pipeline.storage.lineage import Node
    from sessrec_pipeline.storage.store import Store, Stored


@dataclass(frozen=True)
class Run:
    """The metrics of one run, as they were published."""

    stored: "Stored"
    settings: "Settings"

    @property
    def name(self) -> str:
        """How people name it: the beginning of the run's id; of the lineage id where no run made it."""
        return (self.stored.node.run_id or self.stored.node.id)[:8]

    @property
    def when(self) -> str:
        """To the minute, UTC."""
        return self.stored.node.created_at[:16].replace("T", " ")

    @cached_property
    def rows(self) -> dict[str, dict[str, dict[str, Any]]]:
        """By model and metric, as in ``recall@20``: the one that decides today, where the run has it, comes first.

        Recall and MRR at the run's largest cutoff follow.
        """
        rule, (metric, k) = self.settings.evaluation.tie_rule, self.settings.evaluation.deciding
        table = [row for row in self.stored.arrow().to_pylist() if row["tie_rule"] == rule]
        largest = max(row["k"] for row in table)
        wanted = [f"{metric}@{k}", f"recall@{largest}", f"mrr@{largest}"]
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for row in table:
            found.setdefault(row["model"], {})[f"{row['metric']}@{row['k']}"] = row
        return {model: {name: rows[name] for name in wanted if name in rows} for model, rows in found.items()}

    def row(self, model: str) -> dict[str, Any]:
        """The model's value in the metric that decides."""
        return next(iter(self.rows[model].values()))

    def best(self, ceilings: set[str]) -> str:
        """The best model of those shown; the oracle does not compete."""
        competing = [model for model in self.rows if model not in ceilings] or list(self.rows)
        return max(competing, key=lambda model: float(self.row(model)["value"]))

    def origin(self, model: str) -> "list[Node]":
        """The model's rankings with all that they rest on, and the metrics."""
        return [self.stored.node, *self.stored.lineage.origin(self.row(model)["rankings"])]

    def rankings(self, model: str) -> "Node":
        """The version of the model's rankings that was measured."""
        wanted = self.row(model)["rankings"]
        return next(node for node in self.stored.lineage.ancestors if node.id == wanted)


def _heading(metric: str) -> str:
    return metric.replace("recall", "r").upper()


def runs_of(store: "Store") -> list[Run]:
    """All runs whose metrics are kept, the oldest first; Failure where there is none."""
    from sessrec_pipeline.storage.files import DamagedFileError
    from sessrec_pipeline.storage.store import Stored

    found = []
    for path in store.history.evaluations():
        try:
            stored = Stored(path, store.history.read_lineage(path)).verified()
        except DamagedFileError as error:
            say(f"left out: {error}", err=True)
            continue
        found.append(Run(stored, store.settings))
    if not found:
        raise Failure("no run is remembered yet: `sessrec materialize` keeps the metrics of every run from now on")
    return found


@click.command()
@click.option("--model", help="The runs of this model; by default the best one of each run.")
@click.option("--last", type=click.IntRange(min=1), default=20, show_default=True, help="How many runs to show.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line for each run and model.")
@wide_option
@click.pass_obj
def history(home: Path | None, model: str | None, last: int, as_json: bool) -> None:
    """What every run came to, the oldest first, and what changed since the run before.

    In the metric that decides ([evaluation] primary), and Recall or MRR at the largest cutoff.

    In the warehouse the table history has all metrics of all runs.
    """
    settings = existing_feed(home)
    from sessrec_pipeline.evaluation.estimates import Estimate
    from sessrec_pipeline.storage.lineage import changes

    runs = runs_of(store_of(settings))
    known = sorted({name for run in runs for name in run.rows})
    if model is not None and model not in known:
        raise Failure(f"no run has a model {model!r}{did_you_mean(model, known)}; there are {', '.join(known)}")
    ceilings, metrics = _ceilings(settings), list(next(iter(runs[-1].rows.values())))[:2]
    shown: list[list[object]] = []
    details: list[str] = []
    earlier = runs[-last - 1] if len(runs) > last else None
    before: dict[str, Run] = dict.fromkeys(earlier.rows, earlier) if earlier else {}
    led = earlier.best(ceilings) if earlier else None
    for run in runs[-last:]:
        best = run.best(ceilings)
        if model is None and not as_json and led not in (None, best):
            gone = "" if led in run.rows else f", and {led} was not ranked"
            details.append(f"{run.name}: the best model is {best} instead of {led}{gone}")
        led = best
        for name in [model] if model else known if as_json else [best]:
            if name not in run.rows:
                continue
            change = changes(before[name].origin(name), run.origin(name)) if name in before else None
            if as_json:
                _print_json(run, name, change)
                continue
            if change is not None and (words := change.in_words()):
                details.append(f"{run.name}: {words}")
            cells = [run.rows[name].get(metric) for metric in metrics]
            values = ["-" if cell is None else Estimate.of(cell).in_brackets() for cell in cells]
            sessions = f"{run.row(name)['sessions']:,}"
            shown.append([run.when, run.name, name, sessions, *values, change.kinds if change else ""])
        before |= dict.fromkeys(run.rows, run)
    if not as_json:
        header = ["when (UTC)", "run", "model", "sessions", *map(_heading, metrics), "changed"]
        print_table(header, shown, spare=["sessions"])
        if details:
            say("\n".join(["", "what changed since the run before, of what the model rests on", *details]))
        if len(runs) > last:
            say(f"(the last {last} of {len(runs)} runs; --last shows more)", err=True)


def _ceilings(settings: "Settings") -> set[str]:
    from sessrec_pipeline.feed import cards_of

    return {card.name for card in cards_of(settings) if card.kind == "ceiling"}


def _print_json(run: Run, model: str, change: Any) -> None:
    node, cells = run.stored.node, run.rows[model]
    row = {
        "run": node.run_id,
        "evaluation": node.id,
        "when": node.created_at,
        "model": model,
        **{m.replace("@", "_at_"): {n: cell[n] for n in ("value", "low", "high")} for m, cell in cells.items()},
        "predictions": run.row(model)["predictions"],
        "sessions": run.row(model)["sessions"],
        "code": node.code_version,
        "changed": None if change is None else asdict(change),
    }
    say_json(row)


@click.command()
@click.argument("before", required=False)
@click.argument("now", required=False)
@click.option("--model", "models", multiple=True, help="Only this model; may stand several times.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line for each model and metric.")
@wide_option
@click.pass_obj
def compare(home: Path | None, before: str | None, now: str | None, models: Sequence[str], as_json: bool) -> None:
    """How the models of the run NOW differ from those of BEFORE, on the sessions that both ranked.

    Runs are named by the beginning of their id, as `sessrec history` shows it: by default the last two; with one name,
    that run and the last. With --model, they may also be versions of its rankings, as `sessrec versions` shows them.
    """
    settings = existing_feed(home)
    from sessrec_pipeline.evaluation.between_runs import changes_between
    from sessrec_pipeline.evaluation.comparisons import VERDICT_SESSIONS
    from sessrec_pipeline.quality.splits import LEAST_SESSIONS
    from sessrec_pipeline.storage.lineage import changes

    store = store_of(settings)
    runs = runs_of(store)
    if before is None and len(runs) < 2:
        raise Failure("only one run is remembered; `sessrec materialize` adds one once something changed")
    first = _side(store, runs, before or runs[-2].name, models)
    last = _side(store, runs, now or runs[-1].name, models)
    there = [model for model in first.rankings if model in last.rankings]
    if missing := [model for model in models if model not in there]:
        meant = did_you_mean(missing[0], there)
        raise Failure(
            f"not in both runs: {', '.join(missing)}{meant}; both have {', '.join(there) or 'no model in common'}"
        )
    pairs, gone = {}, []
    for model in models or there:
        old, new = _ranks(store, first.rankings[model]), _ranks(store, last.rankings[model])
        if old is None or new is None:
            gone.append(model)
        else:
            pairs[model] = old, new
    same = [model for model in pairs if first.rankings[model].data_version == last.rankings[model].data_version]
    found = changes_between({model: pair for model, pair in pairs.items() if model not in same}, settings.evaluation)
    if as_json:
        for change in found:
            say_json(asdict(change) | {"verdict": _verdict(change, settings.evaluation.alpha)})
    else:
        say(f"before:  {first.title}\nnow:     {last.title}")
        say(f"changed: {changes(first.nodes, last.nodes).in_words() or 'nothing that lineage knows of'}\n")
    if found and not as_json:
        print_table(
            ["model", "metric", "sessions", "before", "now", "now - before", "p", ""],
            [
                [
                    change.model,
                    f"{'R' if change.metric == 'recall' else 'MRR'}@{change.k}",
                    f"{change.sessions:,}",
                    *("-" if value is None else f"{value:.4f}" for value in (change.before, change.now)),
                    _difference(change),
                    "-" if change.p is None else f"{change.p:.4f}",
                    _verdict(change, settings.evaluation.alpha),
                ]
                for change in found
            ],
        )
        say(
            "\nsessions: those of which both runs ranked the same predictions, with a paired sign-flip test over\n"
            f"them, p corrected by Holm over the models; below {LEAST_SESSIONS} sessions there is no interval, below "
            f"{VERDICT_SESSIONS} no verdict\n"
            "within margin, equivalent: by less than "
            f"{settings.evaluation.equivalence_margin:.0%} of the better value, as the interval shows"
        )
    for names, what in (
        ([model for model in first.rankings if model not in last.rankings], "only before"),
        ([model for model in last.rankings if model not in first.rankings], "only now"),
        (same, "the same rankings in both"),
        (gone, f"ranks are gone ([storage] keep_ranks = {settings.storage.keep_ranks})"),
    ):
        if names:
            say(f"{what}: {', '.join(names)}", err=as_json)


@dataclass(frozen=True)
class Side:
    """One side of a comparison: the rankings by model, and all that they rest on."""

    title: str
    rankings: "dict[str, Node]"
    nodes: "Sequence[Node]"


def _side(store: "Store", runs: Sequence[Run], name: str, models: Sequence[str]) -> Side:
    """What ``name`` means: a run, or else a version of the rankings of the one model that is compared."""
    matching = [run for run in runs if run.stored.node.run_id.startswith(name) or run.stored.node.id.startswith(name)]
    if len({run.name for run in matching}) > 1:
        raise Failure(f"more than one run begins with {name!r}: {', '.join(run.name for run in matching)}")
    if matching:
        run = matching[-1]
        rankings = {model: run.rankings(model) for model in run.rows}
        return Side(f"run {run.name} of {run.when} UTC", rankings, run.stored.lineage.nodes)
    if len(models) == 1:
        asset = f"{models[0]}_rankings"
        kept = [*(v.stored.lineage for v in store.versions(asset)), *store.history.lineages(asset)]
        versions = {lineage.node.data_version: lineage for lineage in kept}
        found = [version for version in versions if version.startswith(name)]
        if len(found) == 1:
            lineage = versions[found[0]]
            return Side(f"{asset} {found[0][:12]}", {models[0]: lineage.node}, lineage.nodes)
    names = ", ".join(dict.fromkeys(run.name for run in runs[-5:]))
    also = "" if models else "; a version of rankings needs its --model"
    raise Failure(f"no run begins with {name!r}; the last ones are {names} (`sessrec history` lists all){also}")


def _ranks(store: "Store", rankings: "Node") -> Path | None:
    """Verified ranks of a version of rankings, from the history or else from the lake; None where they are gone."""
    from sessrec_pipeline.storage.files import DamagedFileError
    from sessrec_pipeline.storage.store import Stored

    if kept := store.history.ranks(rankings):
        try:
            return Stored(kept, store.history.read_lineage(kept)).verified().path
        except DamagedFileError as error:
            say(f"left out: {error}", err=True)
    for version in store.versions(rankings.asset):
        if version.stored.node.data_version == rankings.data_version:
            return version.stored.verified().path
    return None


def _difference(change: "Change") -> str:
    if change.before is None or change.now is None:
        return "-"
    interval = "" if change.low is None else f" [{change.low:+.3f} {change.high:+.3f}]"
    return f"{change.now - change.before:+.4f}{interval}"


def _verdict(change: "Change", alpha: float) -> str:
    if not change.sessions:
        return "no session in common"
    found = change.verdict(alpha)
    side = "better" if (change.now or 0) > (change.before or 0) else "worse"
    return found.replace("differs", side)
