"""The three answers on top of the page: which model, how surely, what to do next."""

from collections.abc import Sequence
from math import ceil

from sessrec_pipeline.evaluation.comparisons import VERDICT_SESSIONS, between, difference_in, verdict
from sessrec_pipeline.evaluation.estimates import Estimate
from sessrec_pipeline.evaluation.evidence import GAINS
from sessrec_pipeline.evaluation.recommendation import MICROSECONDS, TIMES, Price, Recommendation, prices, recommended
from sessrec_pipeline.quality.splits import LEAST_SESSIONS
from sessrec_pipeline.report import figures
from sessrec_pipeline.report.costs import in_bytes, in_microseconds
from sessrec_pipeline.report.data import ReportData, count, percent
from sessrec_pipeline.report.drift import last_judged
from sessrec_pipeline.report.looks import metric_name, model_name
from sessrec_pipeline.report.translation import gettext, join_names, ngettext, translated
from sessrec_pipeline.text import N_, printable

UNSEEN, GUESSED = 0.1, 0.1
"""Shares from which something is said: of test events whose item training never saw, and of the catalogue that a list
takes in."""


def metric_text(data: ReportData) -> str:
    """The metric that decides, as in Recall@20."""
    metric, k = data.primary
    return f"{metric_name(metric)}@{k}"


def value_of(data: ReportData, model: str, column: str = "") -> Estimate:
    """A model's value on the leaderboard, by default of the metric that decides."""
    return Estimate.from_row(data.of_model[model], column or data.column)


def recommendation(data: ReportData) -> Recommendation | None:
    """The model to take; None where there is nothing to choose: no model, no hit, or lists that hold everything."""
    if not data.competing or whole_catalogue(data) or not value_of(data, data.competing[0]).value:
        return None
    return recommended(data.leaderboard, data.comparisons, data.costs, data.settings.evaluation)


def whole_catalogue(data: ReportData) -> bool:
    """Whether the lists that decide hold every item, so that Recall is 1 whatever the model."""
    return data.primary[0] == "recall" and 0 < count(data.train, "items") <= data.k


def sessions(data: ReportData) -> int:
    """How many sessions tested."""
    return int(data.leaderboard["sessions"].iloc[0])


# --- which model -----------------------------------------------------------------------------------------------------


def headline(data: ReportData) -> str:
    """Which model to take and why; and where another metric would choose another one."""
    return " ".join([which_model(data), *turned_over(data)])


def which_model(data: ReportData) -> str:
    """One sentence: the model to take and why, or why none can be named."""
    found = recommendation(data)
    if found is None:
        return _no_choice(data)
    metric, best, value = metric_text(data), model_name(found.best), value_of(data, found.best)
    if found.reason == "too few sessions":
        highest = [model_name(model) for model in data.competing if value_of(data, model).value == value.value]
        return ngettext(
            "{n} test session is too few to choose a model: the highest {metric}, {value} of {names}, may well be "
            "chance.",
            "{n} test sessions are too few to choose a model: the highest {metric}, {value} of {names}, may well be "
            "chance.",
            sessions(data),
            metric=metric,
            value=value.with_interval,
            names=join_names(highest),
        )
    if found.reason == "cheaper":
        return gettext(
            "Take {name}: {reason}, and its {metric}, {value}, is equivalent to the highest one, {best}'s {highest}.",
            name=model_name(found.model),
            reason=why_cheaper(data, found),
            metric=metric,
            value=value_of(data, found.model).with_interval,
            best=best,
            highest=value,
        )
    said = {
        "only": N_("{name} is the only model: {metric} {value}."),
        "best": N_("Take {name}: it has the highest {metric}, {value}, and no cheaper model is equivalent to it."),
        "cheapest": N_("Take {name}: it has the highest {metric}, {value}, and no model is cheaper."),
    }
    return gettext(said[found.reason], name=best, metric=metric, value=value.with_interval)


def _no_choice(data: ReportData) -> str:
    """Why no model can be named."""
    if not data.competing:
        return gettext("No model has been ranked yet.")
    if whole_catalogue(data):
        return gettext(
            "No model can be chosen by {metric}: a list of {k} holds the whole catalogue of {items} items, whatever "
            "the model. Set [evaluation] primary to a smaller K.",
            metric=metric_text(data),
            k=data.k,
            items=f"{count(data.train, 'items'):,}",
        )
    return gettext(
        "No model can be chosen by {metric}: none of them ever has the next item in its list.", metric=metric_text(data)
    )


def why_cheaper(data: ReportData, found: Recommendation) -> str:
    """In what the model to take is cheaper than the best one, as a clause."""
    price = prices(data.costs, data.competing)
    own, best = price[found.model], price[found.best]
    if found.saving == "training":
        return gettext("it needs no training")
    if found.saving == "time":
        return gettext(
            "a prediction takes {own}, not {other}",
            own=in_microseconds(own.microseconds),
            other=in_microseconds(best.microseconds),
        )
    if found.saving == "tables":
        return gettext("it is made from fewer fitted tables ({own}, not {other})", own=own.tables, other=best.tables)
    return gettext(
        "it holds {own} in memory, not {other}", own=in_bytes(own.bytes_held), other=in_bytes(best.bytes_held)
    )


def turned_over(data: ReportData) -> list[str]:
    """Sentences on models that are ahead of the one to take in another metric, by more than chance and the margin."""
    found = recommendation(data)
    if found is None or found.reason in ("only", "too few sessions"):
        return []
    ahead: dict[str, list[str]] = {}
    for metric in GAINS:
        widest, leader, text = 0.0, "", ""
        for k in data.cutoffs:
            column = f"{metric}_at_{k}"
            if (metric, k) == data.primary or column not in data.leaderboard:
                continue
            values = {model: value_of(data, model, column) for model in data.competing}
            first = max(values, key=lambda model: values[model].value)
            own = values[found.model]
            if first == found.model or verdict(between(data.comparisons, first, found.model, metric, k)) != "differs":
                continue
            gap = values[first].value / own.value if own.value else float("inf")
            if gap > widest:
                widest, leader = gap, first
                text = gettext(
                    "{metric} ({value} against {other})",
                    metric=f"{metric_name(metric)}@{k}",
                    value=values[first],
                    other=own,
                )
        if leader:
            ahead.setdefault(leader, []).append(text)
    if not ahead:
        return []
    clauses = [
        gettext("{name} in {metrics}", name=model_name(leader), metrics=join_names(texts))
        for leader, texts in ahead.items()
    ]
    return [
        gettext(
            "The choice depends on the metric. Ahead of {name} by more than chance: {others}.",
            name=model_name(found.model),
            others="; ".join(clauses),
        )
    ]


def broken_rules(data: ReportData) -> list[str]:
    """What is wrong with the data, a sentence for each rule that they break.

    Not that too few sessions test for a verdict: the answer itself says it.
    """
    said = {"enough_test_sessions"} if sessions(data) < VERDICT_SESSIONS else set()
    return [f"{translated(finding.sentence)}." for rule, finding in data.broken if rule.name not in said]


# --- how surely ------------------------------------------------------------------------------------------------------

SAID = {
    "differs": N_("more than chance"),
    "differs within margin": N_(
        "more than chance, but certainly within {margin} of the better value, where models count as equivalent"
    ),
    "equivalent": N_("the two are equivalent: the whole interval lies within {margin} of the better value"),
    "not told apart": N_(
        "these sessions do not tell the two apart: it may be chance, and it may be more than the {margin} of the "
        "better value up to which models count as equivalent"
    ),
}
"""What follows from a comparison."""


def how_surely(data: ReportData) -> list[str]:
    """Sentences: how sure the answer is, and what limits it."""
    found = recommendation(data)
    said = [few_sessions(data)] if sessions(data) < VERDICT_SESSIONS else []
    if found is not None and found.reason not in ("only", "too few sessions"):
        second = found.model if found.model != found.best else data.competing[1]
        said.append(compared(data, found.best, second))
    items = count(data.train, "items")
    if items and not whole_catalogue(data) and data.k / items >= GUESSED:
        said.append(
            gettext(
                "A list of {k} is {share} of the catalogue of {items} items: lists drawn at random would reach that "
                "Recall@{k}.",
                k=data.k,
                share=percent(data.k / items),
                items=f"{items:,}",
            )
        )
    return said


def few_sessions(data: ReportData) -> str:
    """What cannot be said of so few test sessions."""
    n = sessions(data)
    if n < LEAST_SESSIONS:
        return ngettext(
            "With {n} test session there is no interval (from {least} on) and no verdict (from {judged} on).",
            "With {n} test sessions there is no interval (from {least} on) and no verdict (from {judged} on).",
            n,
            least=LEAST_SESSIONS,
            judged=VERDICT_SESSIONS,
        )
    return ngettext(
        "With {n} test session the intervals are rough, and there is no verdict (from {judged} on).",
        "With {n} test sessions the intervals are rough, and there is no verdict (from {judged} on).",
        n,
        judged=VERDICT_SESSIONS,
    )


def compared(data: ReportData, best: str, other: str) -> str:
    """What the paired test and the interval of the difference say of the best model and another one."""
    row = between(data.comparisons, best, other, *data.primary)
    said = verdict(row)
    return gettext(
        "{best} against {other} in {metric}: {value} and {second}, a difference of {difference} (paired test, p {p}): "
        "{verdict}.",
        best=model_name(best),
        other=model_name(other),
        metric=metric_text(data),
        value=value_of(data, best),
        second=value_of(data, other),
        difference=difference_in(row).with_interval,
        p=p_text(row["p_holm"]),
        verdict=gettext(SAID[said], margin=margin_text(data)),
    )


def margin_text(data: ReportData) -> str:
    """The margin of equivalence, as in ±5 %."""
    return f"±{100 * data.settings.evaluation.equivalence_margin:g}\u00a0%"


def p_text(p: float) -> str:
    """A p-value as text, with its relation."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


# --- what to do next -------------------------------------------------------------------------------------------------


def next_steps(data: ReportData) -> list[str]:
    """What would help most, in this order."""
    found = recommendation(data)
    steps = []
    if broken_rules(data):
        steps.append(gettext("First settle what stands under “Before you believe it”: it can change the answer."))
    if sessions(data) < VERDICT_SESSIONS:
        steps.append(
            gettext(
                "Let more sessions test ([split] days, ratio): verdicts need {judged}; so far: {n}.",
                n=sessions(data),
                judged=VERDICT_SESSIONS,
            )
        )
    elif found is not None:
        steps.append(
            gettext(
                "“sessrec recommend” answers with {name}; show it beside what the site shows now before it replaces "
                "that: an offline figure is no sale.",
                name=model_name(found.model),
            )
        )
    if turned_over(data):
        steps.append(
            gettext(
                "Say which metric counts ([evaluation] primary): Recall asks whether the next item is in the list at "
                "all, MRR how far up it stands."
            )
        )
    steps += _sessions_needed(data, found)
    untuned = int((data.leaderboard["tuned"] == "settings as given").sum())
    if untuned and sessions(data) >= VERDICT_SESSIONS:
        steps.append(
            ngettext(
                "{n} model ran with its settings as given: [training] tuning_trials searches for better ones inside "
                "train.",
                "{n} models ran with their settings as given: [training] tuning_trials searches for better ones inside "
                "train.",
                untuned,
            )
        )
    steps += _seen_items(data, found)
    unseen, events = count(data.test, "unseen items"), count(data.test, "events_in")
    told = {rule.name for rule, _ in data.broken}
    if events and unseen / events >= UNSEEN and "targets_are_known" not in told:
        steps.append(
            gettext(
                "{share} of the test events were on items that training never saw, which no model here can list: train "
                "more often.",
                share=percent(unseen / events),
            )
        )
    day, drift = last_judged(data.drift)
    drifted = [row.measure for row in drift if row.drifted]
    if drifted:
        steps.append(
            gettext("On {day} the logs had drifted ({measures}): see below.", day=day, measures=", ".join(drifted))
        )
    if quarantined := count(data.raw, "quarantined"):
        steps.append(
            ngettext(
                "{n} row is in quarantine: see why below.", "{n} rows are in quarantine: see why below.", quarantined
            )
        )
    return steps


def _seen_items(data: ReportData, found: Recommendation | None) -> list[str]:
    """What lists lose where no target had been in its session before."""
    bands = set(data.slices.loc[data.slices["slice"] == "repeat", "place"])
    if (
        found is None or found.reason == "too few sessions" or bands != {0}
    ):  # the band of what is new in its session, see evaluation/slices.py
        return []
    return [
        gettext(
            "No target had been in its session before: “sessrec recommend --exclude-seen” loses nothing here, and "
            "makes room in the list."
        )
    ]


def _sessions_needed(data: ReportData, found: Recommendation | None) -> list[str]:
    """How many sessions would make the two first models equivalent, if their difference stayed what it is."""
    if found is None or found.reason in ("only", "too few sessions"):
        return []
    first, second = data.competing[:2]
    row = between(data.comparisons, first, second, *data.primary)
    if verdict(row) != "not told apart":
        return []
    apart = difference_in(row)
    room = row["margin"] - abs(apart.value)
    half = (apart.high - apart.low) / 2
    if room <= 0 or not half:
        return []
    more = (half / room) ** 2
    if not 1 < more <= 50:
        return []
    return [
        gettext(
            "About {times} times as many test sessions could show {first} and {second} to be equivalent, if their "
            "difference stays what it is.",
            times=f"{ceil(10 * more) / 10:g}" if more < 2 else f"{more:.0f}",
            first=model_name(first),
            second=model_name(second),
        )
    ]


def as_markdown(data: ReportData) -> str:
    """The three answers and the figure of the models, as Markdown for Dagster's metadata."""
    figure = figures.model_comparison(data.leaderboard, *data.primary)
    broken = broken_rules(data)
    parts = [
        f"**{gettext('Which model should you use?')}** {printable(headline(data))}",
        *([f"**{gettext('Before you believe it:')}**\n\n{_bullets(broken)}"] if broken else []),
        f"**{gettext('How certain is the answer?')}** {printable(' '.join(how_surely(data)))}",
        f"**{gettext('What should you do next?')}**\n\n{_bullets(next_steps(data))}",
        figures.as_markdown(figure, gettext("{metric}, best on top", metric=metric_text(data))),
    ]
    return "\n\n".join(parts)


def _bullets(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {printable(sentence)}" for sentence in sentences)


# --- what cheaper models give up -------------------------------------------------------------------------------------


def cheaper_models(data: ReportData) -> list[str]:
    """Sentences: models whose predictions are much faster than those of the one to take, and what they reach."""
    found = recommendation(data)
    if found is None or found.reason in ("only", "too few sessions"):
        return []
    price, own = prices(data.costs, data.competing), value_of(data, found.model).value
    last: Price = price[found.model]
    said = []
    for model in data.competing:
        if not price[model].faster_than(last):
            continue
        last = price[model]
        said.append(
            gettext(
                "{name} reaches {share} of {best}'s {metric}; a prediction takes {time} instead of {other}.",
                name=model_name(model),
                share=percent(value_of(data, model).value / own),
                best=model_name(found.model),
                metric=metric_text(data),
                time=in_microseconds(last.microseconds),
                other=in_microseconds(price[found.model].microseconds),
            )
        )
    return said or [
        gettext(
            "No other model answers at least {times} times as fast as {name} and saves at least {time} a prediction.",
            times=f"{TIMES:g}",
            name=model_name(found.model),
            time=in_microseconds(MICROSECONDS),
        )
    ]
