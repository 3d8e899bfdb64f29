"""The report: one HTML file that says who is best, on what evidence, and where every row of the logs went.

The page holds no script and asks the network for nothing. Every number in it is computed here from the data that are
given, and all names are treated as hostile text. The same data give the same bytes.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup
from numpy.typing import NDArray

from sessrec_pipeline.report import figures
from sessrec_pipeline.report.figures import ORACLE, metric_name, model_name, printable
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.lake import Stats
from sessrec_pipeline.storage.lineage import Lineage, Node
from sessrec_pipeline.storage.pages import Page

Counts = Mapping[str, int | float | str]
"""The stats of an artefact."""

METRICS = ("recall", "mrr", "ndcg")
TIE_RULES = ("standard", "median", "conservative")
DROPPED, QUARANTINED = "dropped: ", "quarantined: "
MANY_LOGS = 30
"""More landed logs than this are summarised."""
MANY_ROWS = 20
"""Most rows of the quarantine that are shown."""


@dataclass(frozen=True)
class ReportData:
    """Everything that the page tells, as the assets published it."""

    feed: str
    """Name of the feed, for the title."""
    settings: Settings
    leaderboard: pd.DataFrame
    """The leaderboard table."""
    metrics: pd.DataFrame
    """The metrics table."""
    raw: Counts
    """Counts of ``raw_sessions``, summed over the landed logs (see ``summed``)."""
    sessions: Counts
    """Counts of ``sessions``."""
    train: Counts
    """Counts of ``train_split``."""
    test: Counts
    """Counts of ``test_split``."""
    item_events: NDArray[np.int64]
    """Events of each item in ``sessions``, in any order."""
    train_lengths: NDArray[np.int64]
    """Events of each training session."""
    test_lengths: NDArray[np.int64]
    """Events of each test session."""
    times_us: NDArray[np.int64]
    """Time of each event in ``sessions``, microseconds since 1970."""
    boundary_us: int | None = None
    """The moment from which on sessions test; None where the split is not one in time."""
    losses: Sequence[float] = ()
    """GRU4Rec's training loss of each epoch; empty where there is no GRU4Rec."""
    gru4rec: Mapping[str, Any] | None = None
    """GRU4Rec's settings; None where there is no GRU4Rec."""
    device: str = ""
    """Where GRU4Rec was trained."""
    quarantine: Sequence[Mapping[str, Any]] = ()
    """Some rows of the quarantine: log, line, reason."""
    lineages: Sequence[Lineage] = ()
    """Lineages of what the report rests on; their ancestors are shown too."""


def summed(counts: Iterable[Counts]) -> Stats:
    """The counts of several logs as those of one."""
    total: dict[str, int | float | str] = {}
    for stats in counts:
        for name, count in stats.items():
            if not isinstance(count, str):
                total[name] = total.get(name, 0) + count  # type: ignore[operator]  # only numbers come here
    return total


def render(data: ReportData) -> Page:
    """The whole page. ValueError where the leaderboard is empty."""
    if data.leaderboard.empty:
        raise ValueError("the leaderboard is empty; materialize the rankings of a model first")
    funnel = make_funnel(data)
    cutoffs = _cutoffs(data)
    tie_rule = _tie_rule(data)
    html = _template().render(
        data=data,
        headline=headline(data),
        ceiling=_ceiling(data),
        warnings=_warnings(data, funnel),
        key_numbers=_key_numbers(data),
        tie_rule=tie_rule,
        tie_text=TIE_TEXTS[tie_rule],
        metrics=[(metric, metric_name(metric)) for metric in METRICS],
        cutoffs=cutoffs,
        k=cutoffs[-1],
        rows=_leaderboard_rows(data),
        ties=_tie_rows(data),
        tie_notes=_tie_notes(data),
        funnel=funnel,
        drawings=_drawings(data),
        protocol=protocol(data),
        training=_training(data),
        logs=_logs(data),
        artefacts=_artefacts(data),
        quarantine=list(data.quarantine)[:MANY_ROWS],
    )
    return Page(html.rstrip())


@cache
def _template() -> Template:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("report.html.j2")


def _finalize(value: Any) -> Any:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


# --- who is best -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Value:
    """A metric with its 95 % interval."""

    value: float
    low: float
    high: float
    best: bool = False
    """Whether no model but the oracle is higher."""

    def __str__(self) -> str:
        return f"{self.value:.4f}"

    @property
    def interval(self) -> str:
        """The interval, as text."""
        return f"{self.low:.4f}–{self.high:.4f}"  # noqa: RUF001 - a range is set with an en dash

    @property
    def whole(self) -> str:
        """Value and interval, as text."""
        return f"{self} ({self.interval})"


def _cutoffs(data: ReportData) -> list[int]:
    prefix = "recall_at_"
    columns = [str(c).removeprefix(prefix) for c in data.leaderboard.columns if str(c).startswith(prefix)]
    return sorted(int(c) for c in columns if c.isdigit())


def _tie_rule(data: ReportData) -> str:
    return str(data.leaderboard["tie_rule"].iloc[0])


def _value(row: "pd.Series[Any]", metric: str, k: int, best: float = np.inf) -> Value:
    name = f"{metric}_at_{k}"
    value = float(row[name])
    return Value(value, float(row[f"{name}_low"]), float(row[f"{name}_high"]), value >= best)


def _main(data: ReportData) -> tuple[list[tuple[str, Value]], Value | None]:
    """Every model's value of the metric that ranks them, best first, and the oracle's."""
    k = _cutoffs(data)[-1]
    found = [(str(row["model"]), _value(row, "recall", k)) for _, row in data.leaderboard.iterrows()]
    models = sorted((f for f in found if f[0] != ORACLE), key=lambda f: (-f[1].value, f[0]))
    return models, next((value for model, value in found if model == ORACLE), None)


def headline(data: ReportData) -> str:
    """One sentence: who is best, and whether its interval overlaps with that of the next one."""
    models, oracle = _main(data)
    metric = f"Recall@{_cutoffs(data)[-1]}"
    if not models:
        return f"No model has been ranked yet, only the oracle: {metric} {oracle.whole if oracle else '-'}."
    name, best = models[0]
    start = f"{metric} {best} (95 % interval {best.interval})"
    if len(models) == 1:
        return f"{model_name(name)} is the only model: {start}."
    second, value = models[1]
    if best.value == value.value:
        return f"{model_name(name)} and {model_name(second)} are level: both have {start}."
    verdict = (
        "the two intervals overlap, so these test sessions alone do not settle which is better"
        if value.high >= best.low
        else "the two intervals do not overlap"
    )
    return f"{model_name(name)} is best with {start}, ahead of {model_name(second)} with {value.whole}; {verdict}."


def _ceiling(data: ReportData) -> str:
    """What the oracle is and how far the best model is below it; empty where there is none."""
    models, oracle = _main(data)
    if oracle is None:
        return ""
    text = (
        "The oracle ranks by the true probabilities of the generator that drew these sessions, so no model can be "
        f"expected to do better: Recall@{_cutoffs(data)[-1]} {oracle.whole}."
    )
    synthetic = data.settings.synthetic
    if synthetic is not None and synthetic.kind == "null":
        text += " This feed is made of independent draws: nothing in a session tells what comes next."
    if models:
        name, best = models[0]
        gap = oracle.value - best.value
        share = f", {_percent(best.value / oracle.value)} of it" if oracle.value > 0 else ""
        side = f"{gap:.4f} below" if gap > 0 else f"{-gap:.4f} above" if gap < 0 else "level with"
        text += f" {model_name(name)} is {side} this ceiling{share}."
        if gap < 0 and best.low <= oracle.high:
            text += " The intervals overlap: on a finite test set chance can do that."
    return text


def _warnings(data: ReportData, funnel: "Funnel") -> list[str]:
    """What makes the numbers of this page doubtful; empty when all is well."""
    found = []
    models, oracle = _main(data)
    for name, value in models:
        if oracle is not None and value.low > oracle.high:
            found.append(
                f"{model_name(name)} is above the oracle by more than chance ({value.whole} against {oracle.whole}): "
                "it sees something that it should not."
            )
    predictions = {int(n) for n in data.leaderboard["predictions"]}
    expected = data.test.get("predictions")
    if len(predictions) > 1:
        numbers = ", ".join(f"{n:,}" for n in sorted(predictions))
        found.append(f"The models were measured on different numbers of predictions ({numbers}); rank them again.")
    elif expected is not None and predictions != {expected}:
        found.append(
            f"The models were measured on {predictions.pop():,} predictions, but the test split now has {expected:,}; "
            "rank them again."
        )
    if funnel.unaccounted:
        found.append(
            "Some rows are not accounted for below: most likely the tables come from different versions of the logs. "
            "Materialize all of them again."
        )
    versions: dict[tuple[str, str | None], int] = {}
    for node in _nodes(data):
        versions[node.asset, node.partition] = versions.get((node.asset, node.partition), 0) + 1
    several = sorted(f"{asset}{f' [{p}]' if p is not None else ''}" for (asset, p), n in versions.items() if n > 1)
    if several:
        more = f" and {len(several) - 5} more" if len(several) > 5 else ""
        found.append(f"The results rest on more than one version of {', '.join(several[:5])}{more}.")
    return found


def _key_numbers(data: ReportData) -> list[tuple[str, str]]:
    """Number and what it counts."""
    first = data.leaderboard.iloc[0]
    return [
        (f"{int(first['predictions']):,}", "predictions"),
        (f"{int(first['sessions']):,}", "test sessions"),
        (f"{_count(data.train, 'sessions'):,}", "training sessions"),
        (f"{_count(data.train, 'events'):,}", "training events"),
        (f"{_count(data.train, 'items'):,}", "items in training"),
    ]


# --- tables of the models --------------------------------------------------------------------------------------------

TIE_TEXTS = {
    "standard": "among items with the same score the target counts as first",
    "median": "among items with the same score the target counts as the middle one",
    "conservative": "among items with the same score the target counts as last",
}


@dataclass(frozen=True)
class ModelRow:
    """A row of the leaderboard."""

    place: int | None
    """None for the oracle, which does not compete."""
    name: str
    colour: str
    values: list[Value]
    """In the order of METRICS and, inside, of the cutoffs."""
    predictions: int
    sessions: int


def _leaderboard_rows(data: ReportData) -> list[ModelRow]:
    cutoffs = _cutoffs(data)
    table = data.leaderboard
    competing = table[table["model"] != ORACLE]
    looks = figures.looks([str(m) for m in table["model"]])
    rows = []
    place = 0
    for _, row in table.iterrows():
        model = str(row["model"])
        place += model != ORACLE
        values = [
            _value(row, metric, k, np.inf if model == ORACLE else float(competing[f"{metric}_at_{k}"].max()))
            for metric in METRICS
            for k in cutoffs
        ]
        rows.append(
            ModelRow(
                None if model == ORACLE else place,
                model_name(model),
                looks[model].colour,
                values,
                int(row["predictions"]),
                int(row["sessions"]),
            )
        )
    return rows


@dataclass(frozen=True)
class TieRow:
    """A model's Recall under each tie rule."""

    name: str
    values: dict[str, Value]

    @property
    def gap(self) -> float:
        """How much of the standard value rests on ties."""
        return self.values["standard"].value - self.values["conservative"].value

    @property
    def saturated(self) -> bool:
        """Whether the standard value is beyond what chance explains of the conservative one."""
        return self.values["standard"].value > self.values["conservative"].high


def _tie_rows(data: ReportData) -> list[TieRow]:
    k = _cutoffs(data)[-1]
    table = data.metrics[(data.metrics["metric"] == "recall") & (data.metrics["k"] == k)]
    rows = []
    for model in data.leaderboard["model"]:
        own = table[table["model"] == model].set_index("tie_rule")
        if set(TIE_RULES) <= set(own.index):
            values = {
                rule: Value(own.loc[rule, "value"], own.loc[rule, "low"], own.loc[rule, "high"]) for rule in TIE_RULES
            }
            rows.append(TieRow(model_name(str(model)), values))
    return rows


def _tie_notes(data: ReportData) -> list[str]:
    """Whether the tie rule matters, in words."""
    rows = _tie_rows(data)
    if not rows:
        return ["The metrics table does not hold all tie rules."]
    notes = []
    for row in rows:
        if row.saturated:
            notes.append(
                f"{row.name}'s scores are saturated: {row.values['standard']} under the standard rule is only "
                f"{row.values['conservative']} under the conservative one, because many targets share their score "
                "with other items. Its standard value is not to be trusted."
            )
    competing = [row for row in rows if row.name != model_name(ORACLE)]
    differing = [row.name for row in rows if f"{abs(row.gap):.4f}" != "0.0000"]
    if not differing:
        notes.append("All tie rules give every model the same value: equal scores play no part here.")
    elif not notes:
        widest = max(rows, key=lambda row: row.gap)
        notes.append(
            f"The rules differ for {_list(differing)}, by at most {widest.gap:.4f} ({widest.name}); "
            "in every case the standard value is inside the 95 % interval of the conservative one."
        )
    orders = {
        rule: [r.name for r in sorted(competing, key=lambda r: -r.values[rule].value)] for rule in TIE_RULES
    }  # sorted is stable, so models that are level keep the leaderboard's order
    own = orders[_tie_rule(data)]
    for rule, order in orders.items():
        if order != own:
            notes.append(f"Under the {rule} rule the order would be {', '.join(order)}.")
    return notes


# --- where the rows went ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FunnelRow:
    """A line of the funnel: what is there, or what left."""

    label: str
    count: int
    kind: str
    """total, lost, or missing (what no count explains)."""
    note: str = ""


@dataclass(frozen=True)
class Funnel:
    """From the rows of the landed logs to train and test; rows in = train + test + lost + missing."""

    rows: list[FunnelRow]
    rows_in: int
    train: int
    test: int

    @property
    def lost(self) -> int:
        """Rows that left on the way for a reason."""
        return sum(row.count for row in self.rows if row.kind == "lost")

    @property
    def unaccounted(self) -> bool:
        """Whether rows are missing, or too many, without a reason."""
        return any(row.kind == "missing" for row in self.rows)

    @property
    def sum_text(self) -> str:
        """The sum, in words."""
        missing = self.rows_in - self.train - self.test - self.lost
        tail = f" + {missing:,} that no count explains" if self.unaccounted else ""
        return (
            f"{self.rows_in:,} rows in = {self.train:,} train + {self.test:,} test + {self.lost:,} that left on the "
            f"way{tail}."
        )

    def width(self, row: FunnelRow) -> str:
        """Length of a row's bar in percent of the rows in."""
        share = abs(row.count) / self.rows_in if self.rows_in else 0.0
        return f"{min(100 * share, 100):.3f}"

    def share(self, row: FunnelRow) -> str:
        """A row's share of the rows in, as text."""
        if not row.count or not self.rows_in:
            return ""
        share = row.count / self.rows_in
        return _percent(share) if abs(share) >= 0.0005 else f"< {_percent(0.001)}"


def make_funnel(data: ReportData) -> Funnel:
    """The data funnel from the published counts."""
    rows_in = _count(data.raw, "rows_in")
    rows = [FunnelRow("Rows in the landed logs", rows_in, "total")]

    def step(lost: list[FunnelRow], label: str, into: int, note: str) -> None:
        """Lines of one step, which ends with ``into`` events; ``label`` is empty where no total is shown."""
        before = next(row.count for row in reversed(rows) if row.kind == "total")
        rows.extend(row for row in lost if row.count)
        none = ", ".join(row.label for row in lost if not row.count)
        if none:
            rows.append(FunnelRow(none, 0, "lost"))
        missing = before - sum(row.count for row in lost) - into
        if missing:
            rows.append(FunnelRow("not accounted for", missing, "missing"))
        if label:
            rows.append(FunnelRow(label, into, "total", note))

    keep = ", ".join(sorted({rule.reason for rule in data.settings.logs.keep})).replace("_", " ")
    reasons = [
        FunnelRow(f"quarantined: {_words(name)}", count, "lost") for name, count in _dropped(data.raw, QUARANTINED)
    ]
    quarantined = _count(data.raw, "quarantined")
    unexplained = quarantined - sum(row.count for row in reasons)
    if unexplained or not reasons:
        reasons.append(FunnelRow("quarantined", unexplained, "lost"))
    left_out = FunnelRow("left out by rule", _count(data.raw, "left_out"), "lost", keep)
    step([left_out, *reasons], "Events read", _count(data.raw, "events"), "")

    sessions_in = _count(data.sessions, "events_in")
    lost = [FunnelRow(name, count, "lost") for name, count in _dropped(data.sessions, DROPPED)]
    events = sessions_in - sum(row.count for row in lost)
    step(lost, "Events in sessions", events, _size(data.sessions))

    train, test = _count(data.train, "events"), _count(data.test, "events")
    lost = [
        FunnelRow(f"{part}: {name}", count, "lost")
        for part, stats in (("train", data.train), ("test", data.test))
        for name, count in _dropped(stats, DROPPED)
    ]
    step(lost, "", train + test, "")
    rows.append(FunnelRow("Train", train, "total", _size(data.train)))
    predictions = _count(data.test, "predictions")
    rows.append(FunnelRow("Test", test, "total", f"{_size(data.test)}, {predictions:,} predictions"))
    return Funnel(rows, rows_in, train, test)


def _count(stats: Counts, name: str) -> int:
    return int(stats.get(name, 0))


def _dropped(stats: Counts, prefix: str) -> list[tuple[str, int]]:
    return sorted((name.removeprefix(prefix), int(count)) for name, count in stats.items() if name.startswith(prefix))


def _size(stats: Counts) -> str:
    return f"{_count(stats, 'sessions'):,} sessions, {_count(stats, 'items'):,} items"


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f}\u00a0%"  # a no-break space


def _words(reason: str) -> str:
    return reason.replace("_", " ")


def _list(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


# --- how it was made -------------------------------------------------------------------------------------------------


def protocol(data: ReportData) -> list[tuple[str, str]]:
    """How the numbers came about: a heading and its sentences, from the settings that were in force."""
    split, sessions, evaluation = data.settings.split, data.settings.sessions, data.settings.evaluation
    first = data.leaderboard.iloc[0]
    cutoffs = _list([str(k) for k in _cutoffs(data)])

    made = [f"Sessions have {sessions.min_session_length} to {sessions.max_session_length:,} events"]
    if sessions.min_item_support > 1:
        made.append(f"items have at least {sessions.min_item_support} events")
    if sessions.inactivity_gap_minutes is not None:
        made.append(f"a pause of {sessions.inactivity_gap_minutes:g} minutes starts a new session")
    made.append(f"exact duplicates are {'dropped' if sessions.drop_duplicates else 'kept'}")
    made.append(f"consecutive repeats of an item are {'dropped' if sessions.drop_consecutive_repeats else 'kept'}")

    rules = {
        "ratio": f"The first {100 * split.ratio:g}\u00a0% of the sessions in time order train, the others test.",
        "days": (
            f"Sessions that start in the last {split.days:g} day{'s' if split.days != 1 else ''}{_since(data)} test. "
            "Training ends at that moment: what a training session did later belongs to neither."
        ),
        "given": "The log brings its own split: "
        + (
            f"the column “{split.column}” says train or test."
            if split.column is not None
            else f"{_list(split.test_logs)} {'are' if len(split.test_logs) > 1 else 'is'} the test set, "
            "all other logs train."
        ),
    }
    unseen = _count(data.test, "unseen items")
    found = "there was none" if not unseen else f"there {'were' if unseen > 1 else 'was'} {unseen:,}"
    fate = "is kept and counts as a miss" if split.keep_unseen_items else "is dropped before any model sees it"
    return [
        ("Sessions", "; ".join(made) + "."),
        ("Split", rules[split.rule]),
        ("Unseen items", f"A test event on an item that training never saw {fate}; {found}."),
        (
            "Ranking",
            f"After every event of a test session but its last, the whole catalogue of {_count(data.train, 'items'):,} "
            f"items is ranked, and the next event's item is looked up in that ranking: {int(first['predictions']):,} "
            f"predictions in {int(first['sessions']):,} sessions. No candidates are sampled.",
        ),
        ("Ties", f"The leaderboard uses the {_tie_rule(data)} rule: {TIE_TEXTS[_tie_rule(data)]}."),
        (
            "Metrics",
            f"Recall@K is the share of predictions with the target among the first K, MRR@K the mean of 1/rank and "
            f"NDCG@K the mean of 1/log2(rank + 1), both 0 beyond K; K is {cutoffs}. "
            "Every prediction weighs the same.",
        ),
        (
            "Intervals",
            f"95 % bootstrap intervals from {evaluation.bootstrap_samples:,} resamples of the test sessions "
            f"(seed {evaluation.seed}); all models see the same resamples.",
        ),
    ]


def _since(data: ReportData) -> str:
    cutoff = data.train.get("cutoff")
    if cutoff is None:
        return ""
    return f" (from {datetime.fromtimestamp(int(cutoff) / 1e6, UTC):%Y-%m-%d %H:%M:%S} UTC on)"


@dataclass(frozen=True)
class Drawing:
    """A figure and what it shows."""

    title: str
    svg: Markup
    place: str
    """Section of the page."""


def _drawings(data: ReportData) -> list[Drawing]:
    k, rule = _cutoffs(data)[-1], _tie_rule(data)
    found = [("models", f"Recall@{k}, best on top", figures.model_comparison(data.leaderboard, "recall", k))]
    found += [("models", f"{metric_name(m)} over K", figures.metric_curves(data.metrics, m, rule)) for m in METRICS]
    found += [
        ("data", "Events over time", figures.events_over_time(data.times_us, data.boundary_us)),
        ("data", "Session lengths", figures.session_lengths(data.train_lengths, data.test_lengths)),
        ("data", "Item popularity", figures.popularity(data.item_events)),
    ]
    if len(data.losses):
        found.append(("training", "Training loss", figures.loss_curve(data.losses)))
    # Safe: drawn by figures.py alone, which escapes every name.
    return [Drawing(title, Markup(svg), place) for place, title, svg in found]  # noqa: S704


def _training(data: ReportData) -> list[tuple[str, str]]:
    """Name and value of GRU4Rec's settings; empty where there is no GRU4Rec."""
    if data.gru4rec is None:
        return []
    rows = [("device", data.device)] if data.device else []
    if len(data.losses):
        rows.append(("last loss", f"{data.losses[-1]:.6g}"))
    return rows + [(name, _plain(value)) for name, value in data.gru4rec.items()]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)


# --- what it rests on ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Logs:
    """The landed logs, some of them left out where they are many."""

    rows: list[tuple[str, int | None, str] | None]
    """Name, rows, sha256; None stands for those that are left out."""
    count: int
    total: int
    digest: str
    """sha256 over all names and hashes."""


@dataclass(frozen=True)
class Artefact:
    """The versions of one asset that the results rest on."""

    asset: str
    what: str
    """Rows, or the number of partitions."""
    versions: list[str]
    code: list[str]
    engines: list[str]
    config: str
    """JSON; empty where the asset reads no settings."""


def _nodes(data: ReportData) -> list[Node]:
    """All nodes, once each, parents before children."""
    nodes = {node.id: node for lineage in data.lineages for node in lineage.nodes}
    depth: dict[str, int] = {}

    def measure(key: str) -> int:
        if key not in depth:
            depth[key] = 1 + max((measure(p) for p in nodes[key].parents if p in nodes), default=0)
        return depth[key]

    return sorted(nodes.values(), key=lambda n: (measure(n.id), n.asset, n.partition or "", n.id))


def _logs(data: ReportData) -> Logs:
    landed = sorted((n for n in _nodes(data) if n.asset == "landing"), key=lambda n: (n.partition or "", n.id))
    rows: list[tuple[str, int | None, str] | None] = [(n.partition or "", n.rows, n.data_version) for n in landed]
    if len(rows) > MANY_LOGS:
        rows = [*rows[:5], None, *rows[-5:]]
    text = "\n".join(f"{n.data_version}  {n.partition}" for n in landed)
    return Logs(rows, len(landed), sum(n.rows or 0 for n in landed), hashlib.sha256(text.encode()).hexdigest())


def _artefacts(data: ReportData) -> list[Artefact]:
    groups: dict[str, list[Node]] = {}
    for node in _nodes(data):
        if node.asset != "landing":
            groups.setdefault(node.asset, []).append(node)
    found = []
    for asset, nodes in groups.items():
        partitions = {n.partition for n in nodes if n.partition is not None}
        rows = sum(n.rows or 0 for n in nodes)
        what = f"{len(partitions):,} logs, {rows:,} rows" if partitions else f"{rows:,} rows" if rows else ""
        configs = sorted({json.dumps(n.config, sort_keys=True, ensure_ascii=False) for n in nodes if n.config})
        found.append(
            Artefact(
                asset,
                what,
                _few([n.data_version[:12] for n in nodes]),
                _few([n.code_version[:12] for n in nodes]),
                _few([n.engine for n in nodes]),
                "\n".join(json.dumps(json.loads(c), indent=1, sort_keys=True, ensure_ascii=False) for c in configs),
            )
        )
    return found


def _few(values: Iterable[str], most: int = 3) -> list[str]:
    """The different values in their order, at most three of them and then how many more."""
    different = [value for value in dict.fromkeys(values) if value]
    more = len(different) - most
    return [*different[:most], f"and {more} more"] if more > 0 else different
