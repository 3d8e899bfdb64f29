"""Each study on data with a known answer."""

from dataclasses import replace
from math import comb

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_feed import Feed

from sessrec_pipeline.clock import DAY
from sessrec_pipeline.evaluation.ranking import MISS, rank
from sessrec_pipeline.evaluation.ranks import TIE_RULES
from sessrec_pipeline.feed import cards_of
from sessrec_pipeline.models.counts.popularity import Popularity
from sessrec_pipeline.quality.splits import LEAST_SESSIONS
from sessrec_pipeline.report.figures import as_markdown
from sessrec_pipeline.settings import StudySettings
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.store import Store
from sessrec_pipeline.studies import (
    catalogue_size,
    markov_alpha,
    null_feed,
    sampled_negatives,
    session_length,
    shuffled_sessions,
    sliding_windows,
    tie_rules,
    train_ratio,
    training_sessions,
    unseen_items,
)
from sessrec_pipeline.studies.study import COLUMNS, Study, cells, variations

LIMIT = 45_000


def looked_at(study: Study, frame: pd.DataFrame) -> str:
    """The finding, once table and figure are what every study's must be."""
    assert list(frame.columns) == list(COLUMNS)
    sure = frame[frame["low"].notna()]
    assert ((sure["low"] <= sure["value"] + 1e-12) & (sure["value"] <= sure["high"] + 1e-12)).all()
    assert (frame.loc[frame["low"].isna(), "sessions"] < LEAST_SESSIONS).all(), "few sessions have no interval"
    assert frame["value"].between(0, 1).all()
    assert frame["x"].notna().all()
    svg = study.figure(frame)
    assert len(as_markdown(svg, study.title)) < LIMIT and svg == study.figure(frame)
    finding = study.finding(frame)
    assert finding.endswith(".") and "nan" not in finding
    return finding


def value(frame: pd.DataFrame, variation: str, model: str, metric: str = "recall") -> float:
    return cells(frame, variation, metric)[model].value


# --- sampled negatives ------------------------------------------------------------------------------------------------


@given(st.integers(2, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
@settings(max_examples=40, deadline=None)
def test_expected_recall_is_hypergeometric(case: tuple[int, int, int]) -> None:
    n, others, m = case
    k = 5
    chances = [comb(others, j) * comb(n - others, m - j) / comb(n, m) for j in range(min(k, m + 1))]
    recall, mrr = sampled_negatives.expected(np.array([others]), n, m, k)[:, 0]
    assert recall == pytest.approx(sum(chances))
    assert mrr == pytest.approx(sum(chance / (j + 1) for j, chance in enumerate(chances)))


def test_expected_values_are_what_sampling_gives() -> None:
    n, m, k, rng = 59, 20, 5, np.random.default_rng(0)
    others = np.array([0, 3, 10, 25, 59])
    drawn = np.stack([rng.hypergeometric(own, n - own, m, size=20_000) for own in others])
    simulated = np.stack([(drawn < k).mean(axis=1), ((drawn < k) / (drawn + 1)).mean(axis=1)])
    assert np.abs(sampled_negatives.expected(others, n, m, k) - simulated).max() < 0.015


def test_negatives_are_drawn_by_weight_without_the_target() -> None:
    weights = np.array([8.0, 4.0, 2.0, 1.0, 1.0])
    drawn = sampled_negatives.draw(np.zeros(20_000, np.int64), weights, 1, np.random.default_rng(0))
    shares = np.bincount(drawn[:, 0], minlength=5) / len(drawn)
    assert shares[0] == 0 and np.abs(shares[1:] - np.array([0.5, 0.25, 0.125, 0.125])).max() < 0.015
    four = sampled_negatives.draw(np.full(9, 2), weights, 4, np.random.default_rng(0))
    assert (np.sort(four, axis=1) == [0, 1, 3, 4]).all()


def test_negatives_skip_what_training_never_saw(small: Feed) -> None:
    items = ["a", "b", "new", "c", "d", "new", "new", "e", "a"]
    test = pa.table(
        {
            "session": list("ssssttuuv"),
            "session_number": pa.array([0, 0, 0, 0, 1, 1, 2, 2, 3], pa.int64()),
            "position": pa.array([0, 1, 2, 3, 0, 1, 0, 1, 0], pa.int64()),
            "item": items,
        }
    )
    model, vocabulary = Popularity(5), ["c", "b", "a", "d", "e"]
    counts = rank(model, vocabulary, test, batch_size=4, top=1)
    known = counts["greater"].to_numpy() < MISS
    with small.laboratory() as lab:
        found = sampled_negatives.not_below(model, vocabulary, test, np.ones(5), 4, lab)
    assert counts["target"].filter(pa.array(known)).to_pylist() == ["b", "c"]
    assert found.tolist() == counts["greater"].to_numpy()[known].tolist() == [1, 0]


def test_sampling_inflates(small: Feed) -> None:
    frame = small.table(sampled_negatives.STUDY)
    finding = looked_at(sampled_negatives.STUDY, frame)
    full, uniform, popular = variations(frame)
    assert uniform == "20 uniform negatives" and set(cells(frame, full)) == {
        card.name for card in cards_of(small.settings)
    }
    for model, cell in cells(frame, uniform).items():
        assert cell.value >= value(frame, full, model), model
        assert cell.moved == 1 or model not in ("popularity", "markov", "oracle"), model
    assert value(frame, popular, "popularity") < value(frame, uniform, "popularity")
    assert "Against 20 uniform negatives Recall@5 is" in finding and "times that of the full ranking" in finding
    assert frame.equals(small.table(sampled_negatives.STUDY)), "the seed is fixed"


def test_all_other_items_as_negatives_are_the_full_ranking(small: Feed) -> None:
    frame = small.table(sampled_negatives.STUDY, studies=StudySettings(negatives=500))
    full, *others = variations(frame)
    for name in others:
        for metric in ("recall", "mrr"):
            for model in cells(frame, full):
                assert value(frame, name, model, metric) == pytest.approx(value(frame, full, model, metric))
    finding = sampled_negatives.STUDY.finding(frame)
    assert finding.count("shows no difference beyond the intervals") == 2
    assert "becomes" not in finding and "change places" not in finding


# --- the others -------------------------------------------------------------------------------------------------------


def test_shuffling_takes_from_markov_and_not_from_popularity(small: Feed) -> None:
    frame = small.table(shuffled_sessions.STUDY)
    finding = looked_at(shuffled_sessions.STUDY, frame)
    for name in (shuffled_sessions.TRAIN, shuffled_sessions.HISTORY):
        own = frame[(frame["variation"] == name) & (frame["model"] == "popularity")]
        assert (own["difference"] == 0).all()
        assert cells(frame, name, "mrr")["markov"].moved == -1
    assert set(frame["predictions"]) == {small.stored["test_split"].stats["predictions"]}
    assert "no difference beyond the intervals for" in finding and "Popularity" in finding


def test_shuffled_histories_keep_the_target_and_the_company() -> None:
    test = pa.table(
        {
            "session": ["a"] * 4 + ["b"] * 2,
            "session_number": pa.array([0, 0, 0, 0, 1, 1], pa.int64()),
            "position": pa.array([0, 1, 2, 3, 0, 1], pa.int64()),
            "item": list("wxyzuv"),
        }
    )
    found = shuffled_sessions.shuffled_histories(test, np.random.default_rng(3)).to_pandas()
    groups = [own for _, own in found.groupby("session_number")]
    assert [("".join(sorted(g["item"][:-1])), g["item"].iloc[-1]) for g in groups] == [
        ("w", "x"), ("wx", "y"), ("wxy", "z"), ("u", "v")
    ]  # fmt: skip
    assert [g["position"].tolist() for g in groups] == [[-1, 1], [-1, -1, 2], [-1, -1, -1, 3], [-1, 1]]
    orders = {
        "".join(shuffled_sessions.shuffled_histories(test, np.random.default_rng(seed)).to_pandas()["item"])
        for seed in range(20)
    }
    assert len(orders) > 5


def test_shuffled_training_keeps_sessions_together(small: Feed) -> None:
    train = small.stored["train_split"].arrow()
    mixed = shuffled_sessions.shuffled(train, np.random.default_rng(1))
    before, after = train.to_pandas(), mixed.to_pandas()
    assert not before["item"].equals(after["item"])
    assert before.drop(columns="item").equals(after.drop(columns="item"))
    by_session = [frame.groupby("session")["item"].apply(sorted) for frame in (before, after)]
    assert by_session[0].equals(by_session[1])


def test_more_sessions_are_the_most_recent_ones(small: Feed) -> None:
    frame = small.table(training_sessions.STUDY)
    finding = looked_at(training_sessions.STUDY, frame)
    assert frame["train_sessions"].unique().tolist() == [15, 30, 60, 120, 240]
    assert frame["train_sessions"].tolist() == frame["x"].astype(int).tolist()
    counts = small.stored["popularity_rankings"].arrow()
    hits = (counts["greater"].to_numpy() + counts["equal"].to_numpy()) <= 5
    assert value(frame, "240 sessions", "popularity") == pytest.approx(hits.mean())
    train = small.stored["train_split"].arrow().to_pandas()
    recent = train[train["session_number"] >= 225]
    assert frame["items"].iloc[0] == recent["item"].nunique()
    assert set(frame["predictions"]) == {small.stored["test_split"].stats["predictions"]}
    assert finding.startswith("From the most recent 15 sessions to all 240 sessions, Recall@5 rises for Markov")


def test_ratios_part_the_sessions(small: Feed) -> None:
    frame = small.table(train_ratio.STUDY)
    looked_at(train_ratio.STUDY, frame)
    assert variations(frame) == ["50% train", "60% train", "70% train", "80% train", "90% train"]
    assert frame["train_sessions"].unique().tolist() == [150, 180, 210, 240, 270]
    assert frame["predictions"].is_monotonic_decreasing


def days_of_a_cycle(days: int, items: int) -> pa.Table:
    """Each day a session (i, i + 1) of every item i in turn, but on the last day (i, i - 1)."""
    rows = []
    for day in range(days):
        for i in range(items):
            step = -1 if day == days - 1 else 1
            start = day * DAY + i * 1_000_000_000
            for position, item in enumerate((i, (i + step) % items)):
                number = day * items + i
                rows.append((f"s{number}", number, position, str(item), start + position * 10_000_000, start))
    names = ["session", "session_number", "position", "item", "time", "session_start"]
    return pa.table(dict(zip(names, (list(column) for column in zip(*rows, strict=True)), strict=True)))


def test_windows_slide_along_the_log(small: Feed) -> None:
    studies = StudySettings(models=["popularity", "markov"], windows=5, window_train_days=4, window_test_days=1)
    with small.laboratory(studies=studies) as lab:
        sessions = lab.put("sessions", days_of_a_cycle(10, 30))
        frame = sliding_windows.STUDY.measure(lab, {"sessions": sessions}).to_pandas()
    finding = looked_at(sliding_windows.STUDY, frame)
    windows = [f"window {i}" for i in range(1, 6)]
    assert variations(frame) == [*windows, sliding_windows.MEAN]
    own = frame[frame["variation"] != sliding_windows.MEAN]
    assert set(own["train_sessions"]) == {120} and set(own["predictions"]) == {30} and set(own["left_out"]) == {0}
    # Popularity lists the five items first seen; Markov the successor and four of them, which the last day turns.
    for name in windows:
        assert value(frame, name, "popularity") == pytest.approx(5 / 30)
        assert value(frame, name, "markov") == pytest.approx(4 / 30 if name == "window 5" else 1)
    mean = cells(frame, sliding_windows.MEAN)
    values = [1, 1, 1, 1, 4 / 30]
    assert mean["markov"].value == pytest.approx(np.mean(values))
    assert mean["markov"].high - mean["markov"].value == pytest.approx(np.std(values, ddof=1))
    assert mean["popularity"].low == pytest.approx(mean["popularity"].high) == pytest.approx(5 / 30)
    whole = frame[frame["variation"] == sliding_windows.MEAN]
    assert set(whole["predictions"]) == {150} and whole["difference"].isna().all()
    assert finding == (
        "Over 5 windows Markov has the highest mean Recall@5, 0.8267 (standard deviation 0.3876, from 0.1333 to "
        "1.0000). First is Markov in 4 and Popularity in 1. The order of the models is not the same in every window: 2 "
        "different orders, the most frequent one in 4 of 5 windows."
    )
    same = sliding_windows.finding(frame[frame["variation"] != "window 5"])
    assert same.endswith(
        "Markov is first in every window. The order of the models is the same in every window: Markov and Popularity."
    )


def test_windows_train_on_what_lies_before_their_test(small: Feed) -> None:
    sessions, day = days_of_a_cycle(10, 30), DAY
    # A session that is still going on at the cut trains with what came before it, and at the end tests likewise.
    late = sessions.to_pandas()
    late.loc[(late["session_number"] == 4 * 30 + 29) & (late["position"] == 1), "time"] = 5 * day
    late.loc[(late["session_number"] == 5 * 30 + 29) & (late["position"] == 1), "time"] = 6 * day
    with small.laboratory() as lab:
        train, test = (part.arrow() for part in sliding_windows.window(lab, sessions, 2 * day, 5 * day, 6 * day))
        cut = [part.arrow() for part in sliding_windows.window(lab, pa.table(late), 2 * day, 5 * day, 6 * day)]
        with pytest.raises(ValueError, match="no session starts in it"):
            sliding_windows.window(lab, sessions, 20 * day, 21 * day, 22 * day)
        with pytest.raises(ValueError, match="no event lies in its test period"):
            sliding_windows.window(lab, sessions, 8 * day, 11 * day, 12 * day)
    for part, days in ((train, {2, 3, 4}), (test, {5})):
        assert {time // day for time in part["time"].to_pylist()} == days
    assert (train.num_rows, test.num_rows) == (180, 60)
    assert [part.num_rows for part in cut] == [178, 58], "one event is no session"


def test_windows_fill_the_log_or_are_refused() -> None:
    day = DAY
    for lengths, expected in (
        ({}, (4, 1)),
        ({"window_test_days": 0.5}, (2, 0.5)),
        ({"window_train_days": 2}, (2, 0.5)),
        ({"windows": 2, "window_train_days": 5, "window_test_days": 2}, (5, 2)),
    ):
        found = sliding_windows.lengths(StudySettings.model_validate(lengths), 9 * day)
        assert found == tuple(int(days * day) for days in expected), lengths
    with pytest.raises(ValueError, match=r"5 windows of 2 days of test.* and 8 days of training .* the 9 days of this"):
        sliding_windows.lengths(StudySettings(window_test_days=2), 9 * day)


def test_windows_work_on_a_feed(small: Feed) -> None:
    frame = small.table(sliding_windows.STUDY)
    looked_at(sliding_windows.STUDY, frame)
    assert frame.equals(small.table(sliding_windows.STUDY))


def test_smaller_catalogues_are_counted_right(small: Feed) -> None:
    frame = small.table(catalogue_size.STUDY)
    finding = looked_at(catalogue_size.STUDY, frame)
    assert frame["items"].unique().tolist() == [7, 15, 30, 60]
    test = small.stored["test_split"].arrow().to_pandas()
    top = small.stored["popularity"].arrow()["item"].to_pylist()[:30]
    inside = test[test["item"].isin(top)]
    lengths = inside.groupby("session").size()
    own = frame[frame["items"] == 30].iloc[0]
    assert own["left_out"] == len(test) - lengths[lengths >= 2].sum()
    assert own["predictions"] == (lengths[lengths >= 2] - 1).sum()
    assert own["sessions"] == (lengths >= 2).sum()
    assert "Recall@5 falls for" in finding and "leaves out" in finding


def test_unseen_items_are_counted_and_cost(small: Feed) -> None:
    frame = small.table(unseen_items.STUDY)
    assert "filtering changes nothing" in looked_at(unseen_items.STUDY, frame)
    sessions = small.stored["sessions"].arrow()
    names = np.array(sessions["item"].to_pylist(), dtype=object)
    late = (sessions["session_number"].to_numpy() >= 260) & (sessions["position"].to_numpy() == 1)
    names[late] = "new"
    table = sessions.set_column(sessions.schema.get_field_index("item"), "item", pa.array(names, pa.string()))
    with small.laboratory() as lab:
        stored = Store(lab.settings).publish("other", Table(table))
        frame = unseen_items.measure(lab, {"sessions": stored}).to_pandas()
    dropped = frame[frame["variation"] == unseen_items.DROPPED]
    kept = frame[frame["variation"] == unseen_items.KEPT]
    assert set(dropped["left_out"]) == {40} and set(kept["left_out"]) == {0}
    # Where only the unseen item and one more event are left, the session goes with it.
    assert kept["predictions"].iloc[0] - dropped["predictions"].iloc[0] >= 40
    finding = looked_at(unseen_items.STUDY, frame)
    assert (
        finding.startswith("40 test events are on items that training never saw.") and "Recall@5 falls for" in finding
    )


def test_alpha_1_is_popularity(small: Feed) -> None:
    frame = small.table(markov_alpha.STUDY)
    finding = looked_at(markov_alpha.STUDY, frame)
    for metric in ("recall", "mrr"):
        assert value(frame, "alpha 1", "markov", metric) == value(frame, "alpha 1", "popularity", metric)
    assert value(frame, "alpha 0", "markov") > value(frame, "alpha 1", "markov")
    assert finding.endswith("Alpha 1 is Popularity.")
    counts = small.stored["markov_rankings"].arrow()
    hits = (counts["greater"].to_numpy() + counts["equal"].to_numpy()) <= 5
    assert value(frame, "alpha 0", "markov") == pytest.approx(hits.mean())


def test_lengths_part_the_predictions(small: Feed) -> None:
    frame = small.table(session_length.STUDY)
    looked_at(session_length.STUDY, frame)
    own = frame[(frame["model"] == "markov") & (frame["metric"] == "recall")]
    assert own["predictions"].sum() == small.stored["test_split"].stats["predictions"]
    assert own["sessions"].sum() == small.stored["test_split"].stats["sessions"]
    assert len(own) == session_length.GROUPS and own["x"].is_monotonic_increasing


def test_lengths_are_grouped_by_predictions() -> None:
    lengths = pd.Series([2] * 30 + [3] * 15 + [7] * 5 + [31])
    assert session_length.groups(lengths).groupby(lengths).first().to_dict() == {2: 0, 3: 1, 7: 2, 31: 3}
    assert set(session_length.groups(pd.Series([4, 4, 4]))) == {2}


def test_only_what_ties_depends_on_the_rule(small: Feed) -> None:
    frame = small.table(tie_rules.STUDY)
    finding = looked_at(tie_rules.STUDY, frame)
    for model in ("popularity", "markov"):
        assert value(frame, "standard", model) == value(frame, "conservative", model)
    assert value(frame, "standard", "markov_unpadded") > value(frame, "conservative", "markov_unpadded")
    assert set(frame["tie_rule"]) == set(TIE_RULES)
    assert "decides nothing for" in finding and "Markov unpadded" in finding


def test_the_other_markov_is_the_one_that_the_feed_has_not(small: Feed) -> None:
    """Whatever settings say by now: what counts is the padding that the model was fitted with."""
    markov = small.stored["markov_checkpoint"].checkpoint()
    with small.laboratory() as lab:
        unpadded = replace(markov, config=markov.config | {"padding": False})
        stored = small.stored | {"markov_checkpoint": lab.store.publish("markov_checkpoint", unpadded)}
        assert "markov_padded" in set(tie_rules.STUDY.measure(lab, stored).to_pandas()["model"])


def test_nothing_beats_the_oracle(small: Feed) -> None:
    frame = small.table(null_feed.STUDY)
    finding = looked_at(null_feed.STUDY, frame)
    for name in variations(frame):
        found = cells(frame, name)
        assert all(cell.moved <= 0 for cell in found.values()), name
    assert cells(frame, "demo feed")["markov"].moved == -1
    assert cells(frame, "null feed")["popularity"].value >= cells(frame, "null feed")["markov"].value
    assert "leak" not in finding and "On the null feed Popularity is best" in finding
