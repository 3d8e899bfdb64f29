"""How the numbers came about, from the settings that were in force."""

import json
from datetime import UTC, datetime

from sessrec_pipeline.report.data import ReportData, TrainedModel, count
from sessrec_pipeline.report.standings import TIE_TEXTS
from sessrec_pipeline.report.translation import gettext, join_names, ngettext


def protocol(data: ReportData) -> list[tuple[str, str]]:
    """How the models were measured: headings and their sentences."""
    split, sessions, evaluation = data.settings.split, data.settings.sessions, data.settings.evaluation
    first = data.leaderboard.iloc[0]

    shortest, longest = sessions.min_session_length, f"{sessions.max_session_length:,}"
    made = [gettext("Sessions have {shortest} to {longest} events", shortest=shortest, longest=longest)]
    if sessions.min_item_support > 1:
        made.append(gettext("items have at least {n} events", n=sessions.min_item_support))
    if sessions.inactivity_gap_minutes is not None:
        minutes = f"{sessions.inactivity_gap_minutes:g}"
        made.append(gettext("a pause of {minutes} minutes starts a new session", minutes=minutes))
    made.append(
        gettext("exact duplicates are dropped") if sessions.drop_duplicates else gettext("exact duplicates are kept")
    )
    made.append(
        gettext("consecutive repeats of an item are dropped")
        if sessions.drop_consecutive_repeats
        else gettext("consecutive repeats of an item are kept")
    )

    unseen = count(data.test, "unseen items")
    fate = (
        gettext("A test event on an item that training never saw is kept and counts as a miss")
        if split.keep_unseen_items
        else gettext("A test event on an item that training never saw is dropped before any model sees it")
    )
    found = ngettext("there was {n}", "there were {n}", unseen) if unseen else gettext("there was none")
    return [
        (gettext("Sessions"), "; ".join(made) + "."),
        (gettext("Split"), _split(data)),
        (gettext("Unseen items"), f"{fate}; {found}."),
        (
            gettext("Ranking"),
            gettext(
                "After every event of a test session but its last, the whole catalogue of {items} items is ranked, and "
                "the next event's item is looked up in that ranking: {predictions} predictions in {sessions} sessions. "
                "No candidates are sampled.",
                items=f"{count(data.train, 'items'):,}",
                predictions=f"{int(first['predictions']):,}",
                sessions=f"{int(first['sessions']):,}",
            ),
        ),
        (
            gettext("Ties"),
            gettext(
                "The leaderboard uses the {rule} rule: {meaning}.",
                rule=gettext(data.tie_rule),
                meaning=gettext(TIE_TEXTS[data.tie_rule]),
            ),
        ),
        (
            gettext("Metrics"),
            gettext(
                "Recall@K is the share of predictions with the target among the first K, MRR@K the mean of 1/rank and "
                "NDCG@K the mean of 1/log2(rank + 1), both 0 beyond K; K is {cutoffs}. Every prediction weighs the "
                "same.",
                cutoffs=join_names([str(k) for k in data.cutoffs]),
            ),
        ),
        (
            gettext("Intervals"),
            gettext(
                "95 % bootstrap intervals from {n} resamples of the test sessions (seed {seed}); all models see the "
                "same resamples.",
                n=f"{evaluation.bootstrap_samples:,}",
                seed=evaluation.seed,
            ),
        ),
        (
            gettext("Differences"),
            gettext(
                "Paired randomization tests with {n} random swaps of the two models' results, session by session; "
                "p-values are corrected by Holm over all pairs, and a difference is significant below {alpha}.",
                n=f"{evaluation.permutations:,}",
                alpha=f"{evaluation.alpha:g}",
            ),
        ),
    ]


def _split(data: ReportData) -> str:
    """How train and test were split."""
    split = data.settings.split
    if split.rule == "ratio":
        share = f"{100 * split.ratio:g}\u00a0%"
        return gettext("The first {share} of the sessions in time order train, the others test.", share=share)
    if split.rule == "days":
        days = f"{split.days:g}"
        start = (
            gettext("Sessions that start in the last day{since} test.", since=_since(data))
            if days == "1"
            else gettext("Sessions that start in the last {days} days{since} test.", days=days, since=_since(data))
        )
        end = gettext("Training ends at that moment: what a training session did later belongs to neither.")
        return f"{start} {end}"
    own = gettext("The log brings its own split:")
    if split.column is not None:
        return f"{own} " + gettext("the column “{column}” says train or test.", column=split.column)
    names = join_names(split.test_logs)
    if len(split.test_logs) == 1:
        return f"{own} " + gettext("{names} is the test set, all other logs train.", names=names)
    return f"{own} " + gettext("{names} are the test set, all other logs train.", names=names)


def _since(data: ReportData) -> str:
    if "cutoff" not in data.train:
        return ""
    cutoff = datetime.fromtimestamp(count(data.train, "cutoff") / 1e6, UTC)
    return gettext(" (from {moment} UTC on)", moment=f"{cutoff:%Y-%m-%d %H:%M:%S}")


def training(model: TrainedModel) -> list[tuple[str, str]]:
    """How a model was trained: names and values."""
    settings = [
        (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for name, value in model.settings.items()
    ]
    return [(gettext("device"), model.device), (gettext("last loss"), f"{model.losses[-1]:.6g}"), *settings]
