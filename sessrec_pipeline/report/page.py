"""The report: one HTML file that says who is best, on what evidence, and where every row of the logs went.

It says all in every language (``translation.py``), one after the other; ``report.html#es`` shows the Spanish one. The
page holds no script and asks the network for nothing. Every number in it is computed here from the data that are given,
and all names are treated as hostile text. The same data give the same bytes.
"""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from sessrec_pipeline.evaluation.comparisons import VERDICT_SESSIONS
from sessrec_pipeline.quality.splits import LEAST_SESSIONS
from sessrec_pipeline.report import figures
from sessrec_pipeline.report.ageing import ageing_figure, ageing_note
from sessrec_pipeline.report.beyond_accuracy import (
    LIST_COLUMNS,
    PROTOCOL_COLUMNS,
    list_rows,
    lists_note,
    protocol_notes,
    protocol_rows,
)
from sessrec_pipeline.report.costs import cost_figure, cost_rows
from sessrec_pipeline.report.data import ReportData, TrainedModel, count
from sessrec_pipeline.report.drift import drift_figure, last_judged
from sessrec_pipeline.report.funnel import Funnel, make_funnel
from sessrec_pipeline.report.looks import METRIC_NAMES, model_name
from sessrec_pipeline.report.protocol import protocol, training
from sessrec_pipeline.report.provenance import all_nodes, artefacts, landed_logs
from sessrec_pipeline.report.published import as_printed, column_names, published_rows
from sessrec_pipeline.report.recommendation import (
    broken_rules,
    cheaper_models,
    how_surely,
    margin_text,
    metric_text,
    next_steps,
    turned_over,
    which_model,
)
from sessrec_pipeline.report.slices import reference, slice_figures, slice_notes, whole_slices
from sessrec_pipeline.report.standings import (
    TIE_TEXTS,
    ceiling,
    leaderboard_rows,
    ranked,
    smallest_p,
    tie_notes,
    tie_rows,
)
from sessrec_pipeline.report.translation import (
    LANGUAGES,
    current_language,
    gettext,
    join_names,
    ngettext,
    using_language,
)
from sessrec_pipeline.storage.lineage import Node
from sessrec_pipeline.storage.pages import Page
from sessrec_pipeline.text import printable


def render(data: ReportData) -> Page:
    """The whole page. ValueError where the leaderboard is empty."""
    if data.leaderboard.empty:
        raise ValueError("the leaderboard is empty; materialize the rankings of a model first")
    mains = []
    for code in LANGUAGES:
        with using_language(code):
            mains.append((code, Markup(_main(data))))  # noqa: S704 - rendered by the template, which escapes
    return Page(_template("frame.html.j2").render(feed=data.feed, mains=mains).rstrip())


def _main(data: ReportData) -> str:
    """All that the page says, in the current language."""
    funnel = make_funnel(data)
    nodes = all_nodes(data)
    ties = tie_rows(data)
    drift_day, drift = last_judged(data.drift)
    return _template("report.html.j2").render(
        gettext=gettext,
        ngettext=ngettext,
        languages=LANGUAGES,
        language=current_language(),
        data=data,
        which=which_model(data),
        turned_over=turned_over(data),
        surely=how_surely(data),
        ceiling=ceiling(data),
        next_steps=next_steps(data),
        cheaper_models=cheaper_models(data),
        primary=metric_text(data),
        smallest_p=smallest_p(data),
        all_filled=len(data.competing) <= figures.FILLED,
        least_sessions=LEAST_SESSIONS,
        verdict_sessions=VERDICT_SESSIONS,
        margin=margin_text(data),
        ageing_note=ageing_note(data),
        what_data=_what_data(data),
        warnings=[*broken_rules(data), *_warnings(data, funnel, nodes)],
        key_numbers=_key_numbers(data),
        tie_text=gettext(TIE_TEXTS[data.tie_rule]),
        metrics=list(METRIC_NAMES.values()),
        cutoffs=data.cutoffs,
        rows=leaderboard_rows(data),
        published=published_rows(data),
        published_columns=column_names(data),
        as_printed=as_printed,
        ties=ties,
        tie_notes=tie_notes(ties, data.tie_rule),
        ties_matter=any(f"{row.gap:.4f}" != "0.0000" for row in ties),
        compared_with=model_name(reference(data)) if data.competing else "",
        main_column=list(METRIC_NAMES).index(data.primary[0]) * len(data.cutoffs) + data.cutoffs.index(data.k),
        slice_notes=slice_notes(data),
        whole_slices=whole_slices(data),
        protocol_columns=PROTOCOL_COLUMNS,
        protocol_headings=Counter(heading for heading, *_ in PROTOCOL_COLUMNS).items(),
        protocol_rows=protocol_rows(data),
        protocol_notes=protocol_notes(data),
        list_columns=[gettext(heading) for _, heading, _ in LIST_COLUMNS],
        list_rows=list_rows(data),
        lists_note=lists_note(data),
        costs=(costs := cost_rows(data)),
        times=defaultdict(lambda: "–", {row.name: row.predict for row in costs}),  # noqa: RUF001 - a dash for nothing
        funnel=funnel,
        drift_day=drift_day,
        drift=drift,
        drawings=_drawings(data),
        protocol=protocol(data),
        trained=[
            {"title": model_name(m.name), "place": _training_place(m), "settings": training(m)} for m in data.trained
        ],
        logs=landed_logs(nodes),
        artefacts=artefacts(nodes),
    )


@cache
def _template(name: str) -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["unbroken"] = _unbroken
    return environment.get_template(name)


def _finalize(value: Any) -> Any:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


WHOLE = re.compile("\\([-\u2212\\d.]+(\u2013| \u2026 )[-\u2212\\d.]+\\)|--[a-z]+(-[a-z]+)*")
"""Intervals and options of commands: browsers break lines at their dashes."""


def _unbroken(sentence: str) -> Markup:
    """A sentence in whose lines what is WHOLE stays so."""
    text = str(escape(printable(sentence)))
    return Markup(WHOLE.sub(r'<span class="whole">\g<0></span>', text))  # noqa: S704 - escaped


def _warnings(data: ReportData, funnel: Funnel, nodes: list[Node]) -> list[str]:
    """What makes the numbers of this page doubtful; empty when all is well."""
    models, oracle = ranked(data)
    found = [
        gettext(
            "{name} is above the oracle by more than chance ({value} against {oracle}): it sees something that it "
            "should not.",
            name=name,
            value=value.with_interval,
            oracle=oracle.with_interval,
        )
        for name, value in models
        if oracle is not None and value.low > oracle.high
    ]
    predictions = sorted({int(n) for n in data.leaderboard["predictions"]})
    expected = count(data.test, "predictions")
    if len(predictions) > 1:
        numbers = ", ".join(f"{n:,}" for n in predictions)
        found.append(
            gettext(
                "The models were measured on different numbers of predictions ({numbers}); rank them again.",
                numbers=numbers,
            )
        )
    elif predictions != [expected]:
        found.append(
            gettext(
                "The models were measured on {n} predictions, but the test split now has {expected}; rank them again.",
                n=f"{predictions[0]:,}",
                expected=f"{expected:,}",
            )
        )
    if funnel.unaccounted:
        found.append(
            gettext(
                "Some rows are not accounted for below: most likely the tables come from different versions of the "
                "logs. Materialize all of them again."
            )
        )
    versions = Counter(n.asset if n.partition is None else f"{n.asset} [{n.partition}]" for n in nodes)
    several = sorted(name for name, n in versions.items() if n > 1)
    if several:
        more = [gettext("{n} more", n=len(several) - 5)] if len(several) > 5 else []
        found.append(
            gettext("The results rest on more than one version of {names}.", names=join_names([*several[:5], *more]))
        )
    return found


def _key_numbers(data: ReportData) -> list[tuple[str, str]]:
    """Number and what it counts."""
    first = data.leaderboard.iloc[0]
    return [
        (f"{int(first['predictions']):,}", gettext("predictions")),
        (f"{int(first['sessions']):,}", gettext("test sessions")),
        (f"{count(data.train, 'sessions'):,}", gettext("training sessions")),
        (f"{count(data.train, 'events'):,}", gettext("training events")),
        (f"{count(data.train, 'items'):,}", gettext("items in training")),
    ]


def _what_data(data: ReportData) -> str:
    """Size and time span of what was evaluated."""
    values = {
        "events": f"{len(data.times_us):,}",
        "items": f"{len(data.item_events):,}",
        "sessions": f"{count(data.sessions, 'sessions'):,}",
    }
    if data.settings.logs.time_unit == "order" or not len(data.times_us):
        return gettext("{events} events of {sessions} sessions on {items} items.", **values)
    first, last = (
        f"{datetime.fromtimestamp(int(us) / 1e6, UTC):%Y-%m-%d}" for us in (data.times_us.min(), data.times_us.max())
    )
    return gettext(
        "{events} events of {sessions} sessions on {items} items, from {first} to {last}.",
        first=first,
        last=last,
        **values,
    )


@dataclass(frozen=True)
class Drawing:
    """A figure and what it shows."""

    place: str
    """Section of the page."""
    title: str
    svg: Markup


def _training_place(model: TrainedModel) -> str:
    """The place of the drawings of a model's training."""
    return f"training of {model.name}"


def _drawings(data: ReportData) -> list[Drawing]:
    found = [
        (
            "main",
            gettext("{metric}, best on top", metric=metric_text(data)),
            figures.model_comparison(data.leaderboard, *data.primary),
        )
    ]
    found += [
        ("models", gettext("{metric} over K", metric=name), figures.metric_curves(data.metrics, metric, data.tie_rule))
        for metric, name in METRIC_NAMES.items()
    ]
    but = {"day"} if ageing_note(data) else set()
    found += [("slices", title, svg) for title, svg in slice_figures(data, but)]
    if but:
        found.append(("ageing", gettext("Recall@{k} over the days since training", k=data.k), ageing_figure(data)))
    found.append(
        ("costs", gettext("{metric} beside the time of a prediction", metric=metric_text(data)), cost_figure(data))
    )
    found += [
        ("data", gettext("Events over time"), figures.events_over_time(data.times_us, data.boundary_us)),
        ("data", gettext("Session lengths"), figures.session_lengths(data.train_lengths, data.test_lengths)),
        ("data", gettext("Item popularity"), figures.popularity(data.item_events)),
    ]
    if last_judged(data.drift)[1]:
        found.append(("data", gettext("Drift from the weeks before"), drift_figure(data.drift)))
    found += [(_training_place(m), gettext("Training loss"), figures.loss_curve(m.losses)) for m in data.trained]
    # Safe: drawn by figures.py alone, which escapes every name.
    return [Drawing(place, title, Markup(svg)) for place, title, svg in found]  # noqa: S704
