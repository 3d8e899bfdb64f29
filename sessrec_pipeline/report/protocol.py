"""How the numbers came about, from the settings that were in force."""

import json
from datetime import UTC, datetime

from sessrec_pipeline.report.data import ReportData, count, listed
from sessrec_pipeline.report.standings import TIE_TEXTS


def protocol(data: ReportData) -> list[tuple[str, str]]:
    """How the models were measured: headings and their sentences."""
    split, sessions, evaluation = data.settings.split, data.settings.sessions, data.settings.evaluation
    first = data.leaderboard.iloc[0]

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
            else f"{listed(split.test_logs)} {'are' if len(split.test_logs) > 1 else 'is'} the test set, "
            "all other logs train."
        ),
    }
    unseen = count(data.test, "unseen items")
    found = "there was none" if not unseen else f"there {'were' if unseen > 1 else 'was'} {unseen:,}"
    fate = "is kept and counts as a miss" if split.keep_unseen_items else "is dropped before any model sees it"
    return [
        ("Sessions", "; ".join(made) + "."),
        ("Split", rules[split.rule]),
        ("Unseen items", f"A test event on an item that training never saw {fate}; {found}."),
        (
            "Ranking",
            f"After every event of a test session but its last, the whole catalogue of {count(data.train, 'items'):,} "
            f"items is ranked, and the next event's item is looked up in that ranking: {int(first['predictions']):,} "
            f"predictions in {int(first['sessions']):,} sessions. No candidates are sampled.",
        ),
        ("Ties", f"The leaderboard uses the {data.tie_rule} rule: {TIE_TEXTS[data.tie_rule]}."),
        (
            "Metrics",
            f"Recall@K is the share of predictions with the target among the first K, MRR@K the mean of 1/rank and "
            f"NDCG@K the mean of 1/log2(rank + 1), both 0 beyond K; K is {listed([str(k) for k in data.cutoffs])}. "
            "Every prediction weighs the same.",
        ),
        (
            "Intervals",
            f"95 % bootstrap intervals from {evaluation.bootstrap_samples:,} resamples of the test sessions "
            f"(seed {evaluation.seed}); all models see the same resamples.",
        ),
        (
            "Differences",
            f"Paired randomization tests with {evaluation.permutations:,} random swaps of the two models' results, "
            f"session by session; p-values are corrected by Holm over all pairs, and a difference is significant below "
            f"{evaluation.alpha:g}.",
        ),
    ]


def _since(data: ReportData) -> str:
    if "cutoff" not in data.train:
        return ""
    cutoff = datetime.fromtimestamp(count(data.train, "cutoff") / 1e6, UTC)
    return f" (from {cutoff:%Y-%m-%d %H:%M:%S} UTC on)"


def training(data: ReportData) -> list[tuple[str, str]]:
    """How GRU4Rec was trained: names and values; empty where there is no GRU4Rec."""
    if data.gru4rec is None:
        return []
    settings = [
        (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for name, value in data.gru4rec.items()
    ]
    return [("device", data.device), ("last loss", f"{data.losses[-1]:.6g}"), *settings]
