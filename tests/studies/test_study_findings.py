"""Findings follow the numbers, whichever way they turn out; tables, page and register."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from sessrec_pipeline.storage.lineage import Lineage, Node
from sessrec_pipeline.storage.store import EVENTS
from sessrec_pipeline.studies import (
    figures,
    markov_alpha,
    null_feed,
    sampled_negatives,
    shuffled_sessions,
    tie_rules,
    unseen_items,
)
from sessrec_pipeline.studies.page import render
from sessrec_pipeline.studies.register import STUDIES
from sessrec_pipeline.studies.study import COLUMNS, changes, order
from sessrec_pipeline.studies.tables import as_markdown, as_text

Case = tuple[str, str, float, float | None]
"""Variation, model, value, and the difference, whose interval is 0.02 wide to either side."""


def frame(cases: Sequence[Case]) -> pd.DataFrame:
    rows = []
    names = list(dict.fromkeys(name for name, *_ in cases))
    for variation, model, value, gap in cases:
        for metric in ("recall", "mrr"):
            row = dict.fromkeys(COLUMNS)
            row |= {"variation": variation, "x": float(names.index(variation)), "model": model, "metric": metric}
            row |= {"k": 20, "tie_rule": "conservative", "value": value, "low": value - 0.03, "high": value + 0.03}
            row |= {"predictions": 1000, "sessions": 100}
            if gap is not None:
                row |= {"difference": gap, "difference_low": gap - 0.02, "difference_high": gap + 0.02}
            rows.append(row)
    table = pd.DataFrame(rows)
    numbers = [c for c, (kind, _) in COLUMNS.items() if kind != "string"]
    return table.astype(dict.fromkeys(numbers, "float64"))


UP = frame([("a", "markov", 0.3, None), ("a", "popularity", 0.2, None), ("b", "markov", 0.1, -0.2),
            ("b", "popularity", 0.4, 0.2)])  # fmt: skip
LEVEL = frame([("a", "markov", 0.3, None), ("a", "popularity", 0.2, None), ("b", "markov", 0.31, 0.01),
               ("b", "popularity", 0.2, 0.0)])  # fmt: skip


def test_changes_say_what_rises_and_falls() -> None:
    assert changes(UP, "b") == (
        "Recall@20 rises for Popularity (0.2000 to 0.4000); Recall@20 falls for Markov (0.3000 to 0.1000)"
    )
    assert order(UP, "b") == " The order of the models becomes Popularity and Markov."


def test_changes_say_that_there_are_none() -> None:
    assert changes(LEVEL, "b") == "Recall@20 shows no difference beyond the intervals for Markov and Popularity"
    assert order(LEVEL, "b") == " The order of the models stays Markov and Popularity."
    mixed = pd.concat([UP[UP["model"] == "markov"], LEVEL[LEVEL["model"] == "popularity"]])
    assert changes(mixed, "b").endswith("; there is no difference beyond the intervals for Popularity")


def test_of_many_models_some_are_named() -> None:
    cases = [("a", f"model_{i}", 0.3 - i / 100, None) for i in range(6)]
    turned = frame([*cases, *[("b", f"model_{i}", 0.1 + i / 100, -0.1) for i in range(6)]])
    assert changes(turned, "b").count(" to ") == 3 and changes(turned, "b").endswith(" and 3 others")
    assert order(turned, "b") == " Model 5 becomes first, and 6 of the 6 models change places."
    level = frame([*cases, *[("b", f"model_{i}", 0.3 - i / 100, 0.0) for i in range(6)]])
    assert changes(level, "b").endswith("for Model 0, Model 1, Model 2 and 3 others")
    assert order(level, "b") == " Model 0 stays first, and the order of the models stays."


def test_sampling_that_turns_the_order_is_told() -> None:
    assert "The order of the models becomes Popularity and Markov." in sampled_negatives.finding(UP)
    assert sampled_negatives.finding(LEVEL).startswith("Against b Recall@20 shows no difference beyond the intervals.")


@pytest.mark.parametrize(
    ("best", "gap", "words"),
    [
        (0.4, 0.1, "more than the interval explains (the best of 3, picked on"),
        (0.31, 0.01, "no difference beyond the intervals"),
        (0.2, -0.1, "No blend beats the pure chain"),
    ],
)
def test_alpha_names_the_best(best: float, gap: float, words: str) -> None:
    cases = [("alpha 0", "markov", 0.3, None), ("alpha 0.5", "markov", best, gap), ("alpha 1", "markov", 0.1, -0.2)]
    table = frame([*cases, *[(name, "popularity", 0.1, 0.0) for name, *_ in cases]])
    assert words in markov_alpha.finding(table)
    assert markov_alpha.finding(table).endswith("Alpha 1 is Popularity.")
    other = frame([*cases, *[(name, "popularity", 0.15, 0.0) for name, *_ in cases]])
    assert "Alpha 1 is not Popularity" in markov_alpha.finding(other)


def test_a_model_above_the_oracle_is_a_leak() -> None:
    feeds = [("demo feed", "oracle", 0.7, None), ("demo feed", "markov", 0.4, -0.3), ("null feed", "oracle", 0.3, None)]
    good = null_feed.finding(frame([*feeds, ("null feed", "markov", 0.3, 0.0)]))
    assert "57% of the oracle's 0.7000" in good
    assert good.endswith("there is no difference beyond the intervals between it and Markov.")
    assert "Markov is above it beyond the intervals: a leak" in null_feed.finding(
        frame([*feeds, ("null feed", "markov", 0.4, 0.1)])
    )


def test_shuffling_that_only_mrr_sees_is_told() -> None:
    names = ("in order", "training shuffled", "histories shuffled")
    table = frame([(name, "markov", 0.3 - i / 100, -i / 100 if i else None) for i, name in enumerate(names)])
    assert "MRR" not in shuffled_sessions.finding(table)
    gone = (table["metric"] == "mrr") & (table["variation"] == names[2])
    table.loc[gone, "difference_high"] = -0.001
    finding = shuffled_sessions.finding(table)
    assert finding.count("no difference beyond the intervals") == 2
    assert finding.endswith("for Markov, but MRR@20 moves for Markov (0.3000 to 0.2800).")


def test_ties_name_whom_they_move() -> None:
    cases = [("standard", "popularity", 0.2, None), ("standard", "markov_unpadded", 0.6, None),
             ("standard", "markov", 0.31, None), ("conservative", "popularity", 0.2, 0.0),
             ("conservative", "markov_unpadded", 0.2, -0.4), ("conservative", "markov", 0.3, -0.01)]  # fmt: skip
    assert tie_rules.finding(frame(cases)) == (
        "The tie rule decides nothing for Popularity. Recall@20 moves for Markov unpadded (0.6000 under the standard "
        "rule, 0.2000 under the conservative one). Recall@20 shows no difference beyond the intervals for Markov "
        "(0.3100 under the standard rule, 0.3000 under the conservative one)."
    )


def test_one_unseen_event_is_in_the_singular() -> None:
    table = frame([(unseen_items.DROPPED, "markov", 0.3, None), (unseen_items.KEPT, "markov", 0.29, -0.01)])
    table["left_out"] = 1.0
    assert unseen_items.finding(table).startswith("1 test event is on an item that training never saw.")


def test_tables_show_differences_and_counts() -> None:
    header, lines = as_text(UP.assign(items=[500.0] * 4 + [float("nan")] * 4))
    assert header == ["variation", "model", "Recall@20", "difference", "MRR@20", "predictions", "items"]
    assert lines[0] == ["a", "Markov", "0.3000 [0.270 0.330]", "", "0.3000 [0.270 0.330]", "1,000", "500"]
    assert lines[2][:4] == ["b", "Popularity", "0.4000 [0.370 0.430]", "+0.2000 [+0.180 +0.220]"] and lines[2][-1] == ""
    text = as_markdown([(STUDIES[0], UP)])
    assert text.splitlines()[2] == f"| {STUDIES[0].title} | {STUDIES[0].finding(UP)} |"


@pytest.mark.parametrize("draw", [lambda f: figures.points(f, "t"), lambda f: figures.lines(f, "t", "x", log=False)])
def test_figures_are_svg_with_every_model(draw: Callable[[pd.DataFrame], str]) -> None:
    hostile = UP.replace({"popularity": "<b>&\x00"})
    svg = draw(hostile)
    texts = "".join("".join(e.itertext()) for e in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"))
    assert "Markov" in texts and "<b>&" in texts and "\x00" not in svg
    many = pd.concat([UP.replace({"markov": f"model_{i}"}) for i in range(10)])
    assert len(draw(many)) < 45_000
    assert "no data" in draw(UP.iloc[:0])


NODE = Node("study_x", None, "d" * 64, "code-1", {}, "python", "run-id-of-it", "2026-11-01T00:00:00+00:00")


def test_page_shows_what_is_there_and_where_it_is_from() -> None:
    name = '<script>alert("x")</script>'
    page = render(name, [(STUDIES[0], UP, Lineage(NODE))], STUDIES[1:])
    html = page.html
    assert "<script" not in html and "https://" not in html.replace("http://www.w3.org", "")
    for part in (STUDIES[0].question[:40], "run <code>run-id-o</code>", "code-1", "d" * 12, "<svg", "Not made yet"):
        assert part in html, part
    assert all(f"sessrec studies {study.name}" in html for study in STUDIES[1:])
    assert page == render(name, [(STUDIES[0], UP, Lineage(NODE))], STUDIES[1:])
    assert page.origins == (Lineage(NODE),)
    both = render("f", [(s, UP, Lineage(replace(NODE, asset=s.asset))) for s in STUDIES[:1]], [])
    assert "Not made yet" not in both.html and html.count("<section") == 1


def test_every_study_has_a_table_of_its_own() -> None:
    assert len({study.name for study in STUDIES}) == len(STUDIES)
    for study in STUDIES:
        assert not EVENTS.fullmatch(study.asset), "its rows are in the warehouse"
        assert re.fullmatch(r"[a-z_]+", study.name) and study.question.endswith("?")


def test_documented_findings_are_of_these_studies() -> None:
    text = (Path(__file__).parents[2] / "docs" / "studies.md").read_text(encoding="utf-8")
    for study in STUDIES:
        assert f"\n| {study.title} | " in text, "made anew with the command that stands above the table"
        assert f"\n| `{study.name}` | " in text
