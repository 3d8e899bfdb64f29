"""Asset checks: what must be true of the data before anyone builds on them.

A blocking check stops everything downstream in the same run; ``sessrec check`` runs them all and exits 1 if one of
severity ERROR failed. They read the published files, not what the run believes that it wrote.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import dagster as dg
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from assets.drift import over_time
from assets.inputs import input_of, not_ingested
from assets.quality import quality_checks
from assets.rankings import shard_partitions
from assets.retries import told
from sessrec_pipeline.clock import DAY, moment
from sessrec_pipeline.engine import DuckDBEngine
from sessrec_pipeline.evaluation.evidence import GAINS
from sessrec_pipeline.evaluation.shards import metrics_of, rank_counts, summed
from sessrec_pipeline.feed import cards_of
from sessrec_pipeline.models.base import Card
from sessrec_pipeline.monitoring.drift import Row, seen
from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.history import rankings_of
from sessrec_pipeline.storage.landed import landed_hash
from sessrec_pipeline.storage.sql import create_view
from sessrec_pipeline.storage.store import Store, Stored
from sessrec_pipeline.storage.withdrawal import is_withdrawn, kept_logs

ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN
MAX_QUARANTINED = 0.01
SHOWN = 3
MOST_COMPARED = 1_000_000
"""Events, about, that are looked at for two logs that are one."""


def _specs(asset: str, names: dict[str, str], *, blocking: bool = True) -> list[dg.AssetCheckSpec]:
    return [dg.AssetCheckSpec(name, asset=asset, description=text, blocking=blocking) for name, text in names.items()]


def _result(
    asset: str, name: str, passed: bool, *, severity: dg.AssetCheckSeverity = ERROR, **seen: Any
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=bool(passed), asset_key=asset, check_name=name, severity=severity, metadata=seen)


def _ask(sql: str, **tables: Stored | Sequence[Stored]) -> list[Any]:
    """The first row of a query over stored tables."""
    with duckdb.connect() as connection:
        for name, stored in tables.items():
            create_view(
                connection, name, [s.verified().path for s in ([stored] if isinstance(stored, Stored) else stored)]
            )
        rows = connection.execute(sql).fetchall()
        return list(rows[0])


def _made_with(stored: Stored, section: str, name: str, today: Any) -> Any:
    """The setting that an artefact was made with."""
    return stored.node.config.get(section, {}).get(name, today)


def _rankings_behind(store: Store, metrics: Stored, models: Sequence[str]) -> dict[str, Stored]:
    """The rankings that metrics were computed from, by model: all that are among the feed's models today."""
    made_from = {node.asset for node in rankings_of(metrics.lineage)}
    return {m: input_of(store, metrics, f"{m}_rankings") for m in models if f"{m}_rankings" in made_from}


def _number(stored: Stored, name: str) -> int:
    return int(stored.stats.get(name, 0))


@dg.multi_asset_check(
    name="ingestion_checks",
    specs=[
        *_specs(
            "raw_sessions",
            {
                "typed_and_complete": "Session, item and time have their types and no nulls or empty ids.",
                "times_in_range": "Every event lies between the settings' earliest year and a day after landing.",
                "nothing_lost": "Rows in the file = events + rows left out by rule + quarantined rows.",
            },
        ),
        *_specs(
            "raw_sessions",
            {
                "few_quarantined": "At most 1 % of a log's rows are unreadable.",
                "files_are_there": "The file of every log whose rows are in the results lies in the landing folder.",
                "logs_keep_their_rows": "No log has less than half of the rows that an earlier file of its name had.",
                "logs_differ": "No two logs have half of their events, or more, in common.",
            },
            blocking=False,
        ),
    ],
)
@told
def ingestion_checks(
    context: dg.AssetCheckExecutionContext, store: dg.ResourceParam[Store], settings: dg.ResourceParam[Settings]
) -> Iterator[dg.AssetCheckResult]:
    """Of all logs together."""
    bad = store.partitions("quarantine")  # of a withdrawn log it may be lost, which is no loss
    logs = [(raw, bad[name]) for name, raw in store.logs().items() if name in bad]
    types = {"log": pa.string(), "line": pa.int64(), "session": pa.string(), "item": pa.string(), "time": pa.int64()}
    wrong = [
        f"{raw.node.partition}: {column} is {schema.field(column).type}"
        for raw, _ in logs
        for schema in [pq.read_schema(raw.path)]
        for column, kind in types.items()
        if schema.field(column).type != kind
    ]
    today = settings.logs.earliest_year
    years = [_made_with(raw, "logs", "earliest_year", today) for raw, _ in logs]
    bound = settings.logs.model_copy(update={"earliest_year": min(years, default=today)}).earliest
    nulls, earliest, latest, rows = 0, bound, bound, 0
    if logs:
        nulls, earliest, latest, rows = _ask(
            "SELECT COUNT(*) FILTER (session IS NULL OR session = '' OR item IS NULL OR item = '' OR time IS NULL), "
            f"COALESCE(MIN(time), {bound}), COALESCE(MAX(time), {bound}), COUNT(*) FROM raw",
            raw=[raw for raw, _ in logs],
        )
    yield _result(
        "raw_sessions",
        "typed_and_complete",
        not wrong and nulls == 0,
        nulls=nulls,
        wrong_types="; ".join(wrong) or "none",
    )
    now = max((raw.path.stat().st_mtime for raw, _ in logs), default=0.0)
    in_range = earliest >= bound and (not logs or latest <= now * 1e6 + DAY)
    span = f"{moment(earliest)} to {moment(latest)} UTC" if rows else "no events"
    yield _result("raw_sessions", "times_in_range", in_range, seen=span)
    lost = {
        str(raw.node.partition): _number(raw, "rows_in")
        - (raw.node.rows or 0)
        - _number(raw, "left_out")
        - (bad.node.rows or 0)
        for raw, bad in logs
    }
    unequal = {name: n for name, n in lost.items() if n != 0}
    seen: dict[str, Any] = {"logs": len(logs), "rows": rows, "rows_missing": _listed(unequal)}
    if refused := not_ingested(context.instance, store):
        seen["landed_but_not_ingested"] = ", ".join(refused)
    yield _result("raw_sessions", "nothing_lost", not unequal, **seen)
    shares = {str(raw.node.partition): (bad.node.rows or 0) / max(_number(raw, "rows_in"), 1) for raw, bad in logs}
    many = sorted((name for name, share in shares.items() if share > MAX_QUARANTINED), key=lambda n: -shares[n])
    words = f"no log has more than {100 * MAX_QUARANTINED:g} %"
    if many:
        worst = _some([f"{100 * shares[name]:.1f} % of {name}" for name in many])
        words = f"{worst}; the rows and reasons are in {store.find('quarantine', many[0]).path}"
    yield _result("raw_sessions", "few_quarantined", not many, severity=WARN, seen=words)
    held = [raw for raw, _ in logs if not is_withdrawn(raw.node)]
    taken = {raw.node.id for raw in store.in_window(held)}
    names = [str(raw.node.partition) for raw in held if raw.node.id in taken and raw.node.rows]
    kept = kept_logs(store)
    gone = [name for name in names if name not in kept and not (settings.landing / name).exists()]
    words = f"no file: {_some(gone)}; land it again, or take its rows out with `sessrec withdraw`" if gone else "all"
    yield _result("raw_sessions", "files_are_there", not gone, severity=WARN, seen=words)
    shrunk = _some([f"{name} had {before:,} rows and has {now:,} now" for name, before, now in _shrunk(store, held)])
    words = f"{shrunk}; if its file was cut off or emptied, land it again" if shrunk else "all"
    yield _result("raw_sessions", "logs_keep_their_rows", not shrunk, severity=WARN, seen=words)
    alike = _alike(settings, held) if len(held) > 1 else []
    pairs = _some([f"{one} and {other} ({100 * share:.0f} % of the smaller one)" for one, other, share in alike])
    words = f"{pairs}; where one corrects the other, take out the other with `sessrec withdraw`" if alike else "none"
    yield _result("raw_sessions", "logs_differ", not alike, severity=WARN, seen=words)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in counts.items() if number) or "none"


def _shrunk(store: Store, logs: Sequence[Stored]) -> list[tuple[str, int, int]]:
    """Logs whose file has less than half of the rows that an earlier one had, with both counts; the most lost first.

    Of the versions that are kept: those of the same file say nothing, nor do those without rows for being withdrawn.
    """
    most: dict[str, tuple[int, Stored]] = {}
    for version in store.versions("raw_sessions"):
        name, rows = str(version.stored.node.partition), _number(version.stored, "rows_in")
        if not version.current and rows > most.get(name, (0,))[0]:
            most[name] = rows, version.stored
    found = []
    for log in logs:
        name, now = str(log.node.partition), _number(log, "rows_in")
        before, earlier = most.get(name, (0, log))
        if now < before / 2 and landed_hash(log.lineage) != landed_hash(earlier.lineage):
            found.append((name, before, now))
    return sorted(found, key=lambda one: (one[2] - one[1], one[0]))


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _alike(settings: Settings, logs: Sequence[Stored]) -> list[tuple[str, str, float]]:
    """Pairs of logs with more than half of the smaller one's events in common, and the share; the most alike first.

    An event is a session's and its time, and where session ids start anew in each log its item, too. Of many events
    those of some sessions are compared.
    """
    event = "session, time" + (", item" if settings.logs.session_scope == "log" else "")
    every = 1 + sum(log.node.rows or 0 for log in logs) // MOST_COMPARED
    with DuckDBEngine(settings) as engine:
        engine.register("raw", [log.verified().path for log in logs])
        return engine.connection.execute(
            f"""
            WITH compared AS (SELECT DISTINCT log, {event} FROM raw WHERE hash(session) % $every = 0),
            sizes AS (SELECT log, COUNT(*) AS events FROM compared GROUP BY log),
            common AS (SELECT LIST(log) AS logs FROM compared GROUP BY {event} HAVING COUNT(*) > 1),
            pairs AS (
                SELECT one, other, COUNT(*) AS events
                FROM (SELECT one, UNNEST(logs) AS other FROM (SELECT logs, UNNEST(logs) AS one FROM common))
                WHERE one < other GROUP BY one, other
            )
            SELECT one, other, pairs.events / LEAST(a.events, b.events) AS share
            FROM pairs JOIN sizes AS a ON a.log = one JOIN sizes AS b ON b.log = other
            WHERE share > 0.5 ORDER BY share DESC, one, other
            """,
            {"every": every},
        ).fetchall()


DRIFT_CHECKS = {
    "new_items": ("Items that the weeks before do not know have their usual share.", ["new_item_share"]),
    "popularity_shift": ("Events spread over the known items as they did in the weeks before.", ["psi", "js_distance"]),
    "session_length": (
        "Sessions are as long as in the weeks before, and as many have one event alone.",
        ["mean_session_length", "single_event_sessions"],
    ),
    "volume": ("As many events and sessions as on the same weekdays before.", ["events", "sessions"]),
}
"""Name, description and measures."""


@dg.multi_asset_check(
    name="drift_checks",
    specs=_specs("drift", {name: text for name, (text, _) in DRIFT_CHECKS.items()}, blocking=False),
)
@told
def drift_checks(store: dg.ResourceParam[Store], settings: dg.ResourceParam[Settings]) -> Iterator[dg.AssetCheckResult]:
    """Of the last judged day; the table has the days before."""
    rows = [Row(**row) for row in store.find("drift").arrow().to_pylist()]
    for name, (_, measures) in DRIFT_CHECKS.items():
        passed, text = seen(rows, measures, settings.drift.check_days)
        plots = {m: dg.MarkdownMetadataValue(spark) for m in measures if (spark := over_time(rows, m))}
        yield _result("drift", name, passed, severity=WARN, seen=text, **plots)


@dg.multi_asset_check(
    name="sessions_checks",
    specs=_specs(
        "sessions",
        {
            "nothing_lost": "Events of all logs = events of the sessions + events dropped, by named reason.",
            "in_order": "Times never go back inside a session, and positions count from 0.",
        },
    ),
)
@told
def sessions_checks(
    context: dg.AssetCheckExecutionContext, store: dg.ResourceParam[Store]
) -> Iterator[dg.AssetCheckResult]:
    """The rows that came in are counted from the ingested files, not taken from the step that dropped some."""
    sessions = store.find("sessions")
    parents = {n.id: n for n in sessions.lineage.ancestors}
    rows_in = sum(parents[p].rows or 0 for p in sessions.node.parents if parents[p].asset == "raw_sessions")
    dropped: dict[str, Any] = {k: int(v) for k, v in sessions.stats.items() if k.startswith("dropped: ")}
    (rows,) = _ask("SELECT COUNT(*) FROM s", s=sessions)
    yield _result(
        "sessions", "nothing_lost", rows_in == rows + sum(dropped.values()), rows_in=rows_in, rows=rows, **dropped
    )
    (wrong,) = _ask(
        "SELECT COUNT(*) FILTER (time < before OR position <> nth) FROM (SELECT time, position, "
        "LAG(time) OVER w AS before, ROW_NUMBER() OVER w - 1 AS nth FROM s "
        "WINDOW w AS (PARTITION BY session ORDER BY position))",
        s=sessions,
    )
    yield _result("sessions", "in_order", wrong == 0, events_out_of_order=wrong)


def split_checks(prefix: str, source: str) -> dg.AssetChecksDefinition:
    """The checks that a split is one."""
    train_name, test_name = f"{prefix}train_split", f"{prefix}test_split"

    @dg.multi_asset_check(
        name=f"{prefix}split_checks",
        specs=_specs(
            test_name,
            {
                "no_session_in_both": "No session trains and tests.",
                "items_seen_in_training": "Every test item occurs in train, unless the settings keep the others.",
                "nothing_lost": "Events in = train + test + events dropped, by named reason.",
            },
        ),
    )
    @told
    def checks(store: dg.ResourceParam[Store], settings: dg.ResourceParam[Settings]) -> Iterator[dg.AssetCheckResult]:
        test = store.find(test_name)
        train, whole = (input_of(store, test, name) for name in (train_name, source))
        tables = {"train": train, "test": test, "whole": whole}
        (both,) = _ask("SELECT COUNT(*) FROM (SELECT session FROM train INTERSECT SELECT session FROM test)", **tables)
        yield _result(test_name, "no_session_in_both", both == 0, sessions=both)
        (unseen,) = _ask("SELECT COUNT(*) FROM test WHERE item NOT IN (SELECT item FROM train)", **tables)
        kept = _made_with(test, "split", "keep_unseen_items", settings.split.keep_unseen_items)
        yield _result(
            test_name,
            "items_seen_in_training",
            kept or unseen == 0,
            events_on_unseen_items=unseen,
            kept_by_setting=kept,
        )
        rows_in, trains, tests = _ask(
            "SELECT (SELECT COUNT(*) FROM whole), (SELECT COUNT(*) FROM train), (SELECT COUNT(*) FROM test)", **tables
        )
        dropped: dict[str, Any] = {
            f"{part.node.asset}: {k}": int(v)
            for part in (train, test)
            for k, v in part.stats.items()
            if k.startswith("dropped: ")
        }
        yield _result(
            test_name,
            "nothing_lost",
            rows_in == trains + tests + sum(dropped.values()),
            rows_in=rows_in,
            train=trains,
            test=tests,
            **dropped,
        )

    return checks


def training_checks(card: Card[Any]) -> dg.AssetChecksDefinition:
    """The check of a model that is trained: one that did not learn must not be ranked as if it had."""

    @dg.multi_asset_check(
        name=f"{card.name}_training_checks",
        specs=_specs(
            card.checkpoint,
            {"loss_finite_and_falling": "Every epoch's loss is a number; the last is lower than the first."},
        ),
    )
    @told
    def checks(store: dg.ResourceParam[Store]) -> Iterator[dg.AssetCheckResult]:
        losses = json.loads(str(store.find(card.checkpoint).stats["losses"]))
        finite = bool(losses) and bool(np.isfinite(losses).all())
        falling = len(losses) < 2 or losses[-1] < losses[0]
        yield _result(card.checkpoint, "loss_finite_and_falling", finite and falling, losses=str(losses))

    return checks


def result_checks(settings: Settings) -> list[dg.AssetChecksDefinition]:
    """The checks of rankings, metrics and leaderboard."""
    models = [card.name for card in cards_of(settings)]
    kind = settings.synthetic.kind if settings.synthetic else None
    evaluation, shards = settings.evaluation, settings.evaluation.shards

    @dg.multi_asset_check(
        name="metrics_checks",
        specs=_specs(
            "metrics",
            {
                "same_predictions": "All models ranked the same predictions.",
                "values_make_sense": "Every value lies in [0, 1], inside its interval, and recall rises with K.",
                "catalogue_beyond_cutoffs": "There are more items than the largest K: else every recall there is 1.",
            },
        ),
    )
    @told
    def metrics_checks(store: dg.ResourceParam[Store]) -> Iterator[dg.AssetCheckResult]:
        metrics = store.find("metrics")
        rankings = _rankings_behind(store, metrics, models)
        first, *others = rankings
        differing = {
            model: _ask(
                "SELECT COUNT(*) FROM (FROM (SELECT session, position, target FROM a EXCEPT ALL "
                "SELECT session, position, target FROM b) UNION ALL FROM (SELECT session, position, target FROM b "
                "EXCEPT ALL SELECT session, position, target FROM a))",
                a=rankings[first],
                b=rankings[model],
            )[0]
            for model in others
        }
        same = not any(differing.values())
        yield _result("metrics", "same_predictions", same, predictions_that_differ=_listed(differing))
        made_of = [node for node in metrics.lineage.ancestors if node.asset == "popularity"]
        items = (made_of[0] if made_of else store.find("popularity").node).rows or 0
        largest = max(_made_with(metrics, "evaluation", "cutoffs", evaluation.cutoffs))
        yield _result(
            "metrics", "catalogue_beyond_cutoffs", items > largest, severity=WARN, items=items, largest_cutoff=largest
        )
        outside, falling = _ask(
            "SELECT COUNT(*) FILTER (NOT (value BETWEEN 0 AND 1 AND value BETWEEN low - 1e-9 AND high + 1e-9)), "
            "COUNT(*) FILTER (metric = 'recall' AND value < smaller) FROM (SELECT *, "
            "LAG(value) OVER (PARTITION BY model, metric, tie_rule ORDER BY k) AS smaller FROM m)",
            m=metrics,
        )
        yield _result("metrics", "values_make_sense", outside == 0 and falling == 0, outside=outside, falling=falling)

    @dg.asset_check(asset="metrics", blocking=True)
    @told
    def shards_add_up(store: dg.ResourceParam[Store]) -> dg.AssetCheckResult:
        """The shards' counts of ranks are those of the merged rankings, and give the values of the metrics table."""
        metrics = store.find("metrics")
        values = metrics.arrow().to_pylist()
        cutoffs = _made_with(metrics, "evaluation", "cutoffs", evaluation.cutoffs)
        differing, apart = [], 0.0
        for model, rankings in _rankings_behind(store, metrics, models).items():
            parts = [store.find(f"{model}_rank_counts", key) for key in shard_partitions(shards).get_partition_keys()]
            if any(not set(part.node.parents) <= {n.id for n in rankings.lineage.ancestors} for part in parts):
                continue  # ranked again since: what is merged next is held against them
            counts = summed([part.arrow() for part in parts])
            if counts != summed([rank_counts(rankings.arrow(["greater", "equal"]))]):
                differing.append(model)
            own = metrics_of(counts, cutoffs)
            rows = {(row["metric"], row["tie_rule"], row["k"]): row["value"] for row in values if row["model"] == model}
            apart = max(apart, *(abs(own[cell] - rows[cell]) for cell in own))
        right = not differing and apart < 1e-12
        return _result("metrics", "shards_add_up", right, models_that_differ=", ".join(differing), values_apart=apart)

    always = [metrics_checks, *([shards_add_up] if shards > 1 else [])]
    names = {
        "demo": {"expected_order": "On the demo logs: oracle >= best trained model > Markov > Popularity in recall."},
        "null": {"nothing_beats_the_oracle": "On independent draws no model is above the ceiling beyond noise."},
    }
    if kind is None:
        return always

    @dg.multi_asset_check(name="leaderboard_checks", specs=_specs("leaderboard", names[kind], blocking=False))
    @told
    def leaderboard_checks(store: dg.ResourceParam[Store]) -> Iterator[dg.AssetCheckResult]:
        leaderboard = store.find("leaderboard")
        column = f"recall_at_{max(_made_with(leaderboard, 'evaluation', 'cutoffs', evaluation.cutoffs))}"
        rows = {row["model"]: row for row in leaderboard.arrow().to_pylist()}
        recall = {model: row[column] for model, row in rows.items()}
        if kind == "demo":
            trained = [recall[card.name] for card in cards_of(settings) if card.training and card.name in recall]
            counted = [recall[name] for name in ("markov", "popularity") if name in recall]
            falling = [*([max(trained)] if trained else []), *counted]
            ordered = recall["oracle"] >= max([*trained, *counted]) and all(a > b for a, b in pairwise(falling))
            yield _result("leaderboard", "expected_order", ordered, **recall)
        else:
            above = [m for m, row in rows.items() if row[f"{column}_low"] > rows["oracle"][f"{column}_high"]]
            yield _result("leaderboard", "nothing_beats_the_oracle", not above, above=", ".join(above), **recall)

    return [*always, leaderboard_checks]


def analysis_checks(settings: Settings) -> list[dg.AssetChecksDefinition]:
    """The checks of what stands beside metrics and leaderboard; each is of one asset, which can be made on its own."""
    models = [card.name for card in cards_of(settings)]
    evaluation = settings.evaluation

    @dg.asset_check(asset="comparisons", blocking=True)
    @told
    def every_pair(store: dg.ResourceParam[Store]) -> dg.AssetCheckResult:
        """Every two models are compared, and no correction makes a p-value smaller."""
        comparisons = store.find("comparisons")
        compared = len(list(rankings_of(comparisons.lineage)))
        cutoffs = _made_with(comparisons, "evaluation", "cutoffs", evaluation.cutoffs)
        expected = compared * (compared - 1) // 2 * len(GAINS) * len(cutoffs)
        rows, wrong = _ask(
            "SELECT COUNT(*), COUNT(*) FILTER (NOT (p > 0 AND p <= p_holm AND p_holm <= 1)) FROM c", c=comparisons
        )
        right = rows == expected and not wrong
        return _result("comparisons", "every_pair", right, rows=rows, rows_expected=expected, wrong_p_values=wrong)

    @dg.asset_check(asset="slices", blocking=True)
    @told
    def bands_add_up(store: dg.ResourceParam[Store]) -> dg.AssetCheckResult:
        """The bands of each slice hold every prediction once, and their mean recall is the same in all slices."""
        slices = store.find("slices")
        lost, apart = _ask(
            "SELECT MAX(ABS(predictions - (SELECT COUNT(*) FROM r))), MAX(recall - least) FROM (SELECT *, "
            "MIN(recall) OVER (PARTITION BY model, k) AS least FROM (SELECT model, k, SUM(predictions) AS predictions, "
            "SUM(recall * predictions) / SUM(predictions) AS recall FROM s GROUP BY model, k, slice))",
            s=slices,
            r=input_of(store, slices, f"{models[0]}_rankings"),
        )
        whole = lost == 0 and apart < 1e-9
        return _result("slices", "bands_add_up", whole, predictions_lost=int(lost), recall_apart=apart)

    @dg.asset_check(asset="protocols", blocking=True)
    @told
    def predictions_add_up(store: dg.ResourceParam[Store]) -> dg.AssetCheckResult:
        """Each protocol counts every prediction of the rankings, or every session."""
        protocols = store.find("protocols")
        wrong, predictions, sessions = _ask(
            "SELECT COUNT(*) FILTER (p.predictions <> IF(protocol = 'last_item', r.sessions, r.predictions)), "
            "ANY_VALUE(r.predictions), ANY_VALUE(r.sessions) "
            "FROM p, (SELECT COUNT(*) AS predictions, COUNT(DISTINCT session) AS sessions FROM r) AS r",
            p=protocols,
            r=input_of(store, protocols, f"{models[0]}_rankings"),
        )
        seen = {"rows_wrong": wrong, "predictions": predictions, "sessions": sessions}
        return _result("protocols", "predictions_add_up", wrong == 0, **seen)

    @dg.asset_check(asset="beyond_accuracy", blocking=True)
    @told
    def values_in_range(store: dg.ResourceParam[Store]) -> dg.AssetCheckResult:
        """Shares lie in [0, 1], novelty is not below 0, popularity lift not below -1."""
        (outside,) = _ask(
            "SELECT COUNT(*) FILTER (NOT (ISFINITE(value) AND value >= IF(metric = 'popularity_lift', -1, 0) "
            "AND (metric IN ('popularity_lift', 'novelty') OR value <= 1 + 1e-9))) FROM b",
            b=store.find("beyond_accuracy"),
        )
        return _result("beyond_accuracy", "values_in_range", outside == 0, rows_outside=outside)

    @dg.asset_check(asset="costs", blocking=False)
    @told
    def timed(store: dg.ResourceParam[Store]) -> dg.AssetCheckResult:
        """The fitting and the ranking of every model were timed."""
        rows = store.find("costs").arrow().to_pylist()
        without = [row["model"] for row in rows if not (row["fit_seconds"] and row["predict_microseconds"])]
        return _result("costs", "timed", not without, severity=WARN, without_times=", ".join(without) or "none")

    return [every_pair, bands_add_up, predictions_add_up, values_in_range, timed]


def asset_checks(settings: Settings) -> list[dg.AssetChecksDefinition]:
    """All checks of a feed."""
    return [
        ingestion_checks,
        drift_checks,
        sessions_checks,
        split_checks("", "sessions"),
        *([split_checks("tuning_", "train_split")] if settings.training.tunes else []),
        *quality_checks(settings),
        *[training_checks(card) for card in cards_of(settings) if card.training],
        *result_checks(settings),
        *analysis_checks(settings),
    ]
