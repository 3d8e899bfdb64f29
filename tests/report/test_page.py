import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings
from sessrec_pipeline.quality import RULES, Finding
from sessrec_pipeline.quality.rule import part
from sessrec_pipeline.report import page
from sessrec_pipeline.report.beyond_accuracy import protocol_notes
from sessrec_pipeline.report.data import ReportData, TrainedModel, summed
from sessrec_pipeline.report.funnel import make_funnel
from sessrec_pipeline.report.page import render
from sessrec_pipeline.report.protocol import protocol
from sessrec_pipeline.report.provenance import all_nodes, landed_logs
from sessrec_pipeline.report.recommendation import (
    as_markdown,
    headline,
    how_surely,
    next_steps,
    turned_over,
    which_model,
)
from sessrec_pipeline.settings import EvaluationSettings, LogSettings, RowRule, SplitSettings, SyntheticSettings
from sessrec_pipeline.storage.lineage import Lineage, Node
from sessrec_pipeline.text import N_, Said

DASH = "\u2013"
DRIFT_COLUMNS = ["day", "measure", "observed", "reference", "value", "threshold", "verdict"]
EVIL = "<script>alert(1)</script>"
CUTOFFS = [5, 10, 20]
FULL = {"oracle": 0.62, "gru4rec": 0.55, "markov": 0.40, "popularity": 0.10}
VOID = {"meta", "br", "link", "img", "hr", "input"}


def tables(models: dict[str, float], half: float = 0.02, ties: float = 0.0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Leaderboard and metrics; ``ties`` is what the standard rule adds for popularity."""
    metrics, board = [], []
    for model, top in models.items():
        row: dict[str, object] = {"model": model}
        for metric, share in (("recall", 1.0), ("mrr", 0.4), ("ndcg", 0.5)):
            for k in CUTOFFS:
                value = top * share * (k / 20) ** 0.3
                name = f"{metric}_at_{k}"
                row |= {name: value, f"{name}_low": value - half, f"{name}_high": value + half}
                for rule, more in (("standard", ties), ("median", ties / 2), ("conservative", 0.0)):
                    v = value + (more if model == "popularity" else 0.0)
                    metrics.append((model, metric, k, rule, v, v - half, v + half, 900, 200, "id"))
        searched = (
            ("nothing to tune", "") if model == "oracle" else ("50 trials, 12 min, tuning split", "k, sample_size")
        )
        row |= dict(zip(("tuned", "tuned_settings"), searched, strict=True))
        board.append(row | {"predictions": 900, "sessions": 200, "tie_rule": "conservative", "rankings": "id"})
    competing = [row for row in board if row["model"] != "oracle"]
    for row, after in zip(board, [*board[1:], None], strict=True):
        others = {"best": competing[0], "next": after} if row in competing else {}
        for name in ("best", "next"):
            other = others.get(name)
            near = other is not None and abs(float(str(row["recall_at_20"])) - float(str(other["recall_at_20"]))) < half
            row[f"p_{name}"] = None if other in (None, row) else 0.21 if near else 0.0004
            row[f"vs_{name}"] = None if other in (None, row) else "not told apart" if near else "differs"
    columns = ["model", "metric", "k", "tie_rule", "value", "low", "high", "predictions", "sessions", "rankings"]
    return pd.DataFrame(board), pd.DataFrame(metrics, columns=columns)


def comparisons(models: dict[str, float], half: float = 0.02) -> pd.DataFrame:
    """Every pair in the order of the names; a difference below ``half`` is chance."""
    rows = []
    for a, b in combinations(sorted(models), 2):
        for metric in ("recall", "mrr", "ndcg"):
            for k in CUTOFFS:
                apart = (models[a] - models[b]) * (k / 20) ** 0.3
                p = 0.21 if abs(apart) < half else 0.0004
                margin = 0.05 * max(models[a], models[b]) * (k / 20) ** 0.3
                low, high = apart - half / 2, apart + half / 2
                within = -margin <= low and high <= margin
                rows.append((a, b, metric, k, apart, low, high, p, p, p < 0.05, margin, within))
    columns = ["model_a", "model_b", "metric", "k", "difference", "low", "high", "p", "p_holm", "significant"]
    columns += ["margin", "equivalent"]
    return pd.DataFrame(rows, columns=columns)


COST_COLUMNS = ["model", "fit_seconds", "predict_microseconds", "bytes_in_memory", "bytes_on_disk"]


def analyses(models: dict[str, float]) -> dict[str, pd.DataFrame]:
    """The tables slices, protocols, beyond_accuracy and costs."""
    slices, protocols, lists, costs = [], [], [], []
    for n, (model, top) in enumerate(models.items()):
        for k in CUTOFFS:
            for name, bands in {"position": ["1", "2", "3"], "day": ["2026-01-13"], "repeat": ["new", "seen"]}.items():
                for place, band in enumerate(bands):
                    sure = place < 2
                    recall = top * (1 - 0.1 * place)
                    low, high = (recall - 0.02, recall + 0.02) if sure else (np.nan, np.nan)
                    sessions = 200 if sure else 8
                    slices.append((model, name, place, band, k, recall, low, high, 300 - 100 * place, sessions))
            for question, metrics in {
                "next_item": ("recall", "mrr", "ndcg"),
                "last_item": ("recall", "mrr", "ndcg"),
                "remaining_items": ("precision", "recall", "map"),
            }.items():
                protocols += [(question, model, m, k, top / (2 + i), top / 3, top) for i, m in enumerate(metrics)]
            for metric, value in {"coverage": 0.5, "gini": 0.25, "popularity_lift": -0.125, "novelty": 7.5}.items():
                lists.append((model, metric, k, value))
            lists.append((model, "diversity", k, np.nan))
        costs.append((model, 12.5 + n, 3.25 * 10**n, 24 * 1000**n, 1500 * 1000**n))
    columns = ["model", "slice", "place", "band", "k", "recall", "low", "high", "predictions", "sessions"]
    return {
        "slices": pd.DataFrame(slices, columns=columns),
        "protocols": pd.DataFrame(protocols, columns=["protocol", "model", "metric", "k", "value", "low", "high"]),
        "beyond_accuracy": pd.DataFrame(lists, columns=["model", "metric", "k", "value"]),
        "costs": pd.DataFrame(costs, columns=COST_COLUMNS),
    }


def node(asset: str, parents: tuple[Node, ...] = (), partition: str | None = None, version: str = "a") -> Node:
    return Node(
        asset=asset,
        partition=partition,
        data_version=version * 64,
        code_version="c0de" * 16,
        config={"rule": EVIL} if asset == "sessions" else {},
        engine="duckdb",
        run_id="run-0001-and-more",
        created_at="2026-01-01T00:00:00+00:00",
        rows=10,
        parents=tuple(p.id for p in parents),
    )


def lineage(logs: int, name: str = "log") -> Lineage:
    landed = [node("landing", partition=f"{name}{i:03d}.tsv") for i in range(logs)]
    raw = [node("raw_sessions", (log,), log.partition) for log in landed]
    return Lineage(node("sessions", tuple(raw)), (*landed, *raw))


@pytest.fixture
def full(tmp_path: Path) -> ReportData:
    board, metrics = tables(FULL)
    settings = FeedSettings(
        home=tmp_path,
        synthetic=SyntheticSettings(),
        logs=LogSettings(keep=[RowRule(column="type", one_of=["view"])]),
        split=SplitSettings(rule="days", days=2),
    )
    rng = np.random.default_rng(0)
    raw: dict[str, int | float | str] = {"rows_in": 6000, "left_out": 300, "quarantined": 70, "events": 5630}
    return ReportData(
        feed="demo",
        settings=settings,
        leaderboard=board,
        metrics=metrics,
        comparisons=comparisons(FULL),
        **analyses(FULL),
        raw=raw | {"quarantined: item_missing": 60, "quarantined: time_unreadable": 10},
        sessions={
            "events_in": 5630,
            "dropped: duplicates": 30,
            "dropped: sessions too long": 0,
            "dropped: sessions too short": 100,
            "sessions": 1210,
            "items": 480,
        },
        train={
            "events_in": 5500,
            "cutoff": 1_400_000_000_000_000,
            "events": 4333,
            "sessions": 1000,
            "items": 470,
            "dropped: sessions too short": 20,
            "dropped: after the cutoff": 7,
            "dropped: unlabelled": 0,
            "left for test": 1140,
        },
        test={
            "events_in": 1140,
            "events": 1100,
            "sessions": 200,
            "items": 300,
            "unseen items": 33,
            "dropped: unseen items": 33,
            "dropped: sessions too short": 7,
            "predictions": 900,
        },
        item_events=rng.integers(1, 90, 480),
        train_lengths=rng.geometric(0.2, 1000) + 1,
        test_lengths=rng.geometric(0.2, 200) + 1,
        times_us=1_399_000_000_000_000 + rng.integers(0, 10**12 + 10**11, 5500),
        boundary_us=1_400_000_000_000_000,
        drift=drifting(),
        trained=[TrainedModel("gru4rec", [5.0, 4.0, 3.5], GRU4RecSettings().model_dump(), "cpu")],
        quarantine=[{"log": "a.tsv", "line": 17, "reason": "item_missing"}],
        broken=[],
        lineages=[lineage(2)],
    )


def drifting() -> pd.DataFrame:
    rows = [
        ("2026-01-14", "psi", 0.2, None, 0.2, 0.3, "steady"),
        ("2026-01-14", "events", 410.0, 1000.0, 0.59, 0.5, "drift"),
        ("2026-01-15", "psi", 0.9, None, 0.9, 0.3, "under way"),
    ]
    return pd.DataFrame(rows, columns=DRIFT_COLUMNS)


@pytest.fixture
def drawn() -> None:
    """Asks for a page with its figures; they take most of the time."""


@pytest.fixture(autouse=True)
def figures_on_demand(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(page, "_drawings", lambda data: [])


def plain(data: ReportData, models: dict[str, float]) -> ReportData:
    board, metrics = tables(models)
    return replace(data, leaderboard=board, metrics=metrics, comparisons=comparisons(models), **analyses(models))


class Reader(HTMLParser):
    """Collects text and elements, and refuses tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.text += " " if tag in {"td", "th", "tr", "li", "dd", "dt"} else ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


def main_of(html: str, language: str = "en") -> str:
    """What the page says in one language."""
    start = html.index(f'<main id="{language}"')
    return html[start : html.index("</main>", start)]


def text_of(data: ReportData, language: str = "en") -> str:
    Reader(html := render(data).html)
    return " ".join(Reader(main_of(html, language) + "</main>").text.split())


@pytest.mark.usefixtures("drawn")
def test_the_page_is_one_closed_file_and_the_same_every_time(full: ReportData) -> None:
    html = render(full).html
    assert html == render(full).html
    assert html.startswith("<!doctype html>")
    assert html.endswith("</html>")
    assert len(html) < 800_000
    for tag, attributes in Reader(html).elements:
        assert tag not in {"script", "link", "img", "iframe", "object", "embed", "form", "base"}
        assert not any(name.startswith("on") for name in attributes)
        for name in ("href", "src", "xlink:href", "action"):
            assert (attributes.get(name) or "#").startswith("#")
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)
    svgs = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    swatches = [svg for svg in svgs if 'class="look"' in svg]
    assert len(swatches) == 2 * 2 * len(FULL), "of each model in both boards, in both languages"
    assert len(svgs) - len(swatches) == 2 * 12, "the slice by day has one band alone, and is no figure"
    for svg in svgs:
        ET.fromstring(svg)
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(ids) == len(set(ids))


@pytest.mark.usefixtures("drawn")
def test_names_are_only_ever_text(full: ReportData) -> None:
    data = replace(
        plain(full, {EVIL: 0.5, "markov": 0.4, "rtl\u202e\x00": 0.3}),
        feed=EVIL,
        trained=[TrainedModel(EVIL, [1.0], {EVIL: [EVIL, "\ud800"], "\ud800": "\ud800", "\u202e": '"onload="x'}, EVIL)],
        raw={**full.raw, f"quarantined: {EVIL}": 0},
        sessions={**full.sessions, f"dropped: {EVIL}": 0},
        quarantine=[{"log": EVIL, "line": EVIL, "reason": "'\"><img src=x onerror=alert(1)>"}],
        lineages=[lineage(2, EVIL)],
        settings=full.settings.model_copy(update={"split": SplitSettings(rule="given", test_logs=[EVIL, "b"])}),
    )
    html = render(data).html
    html.encode()
    assert "<script" not in html
    assert "<img" not in html
    assert "\u202e" not in html
    reader = Reader(html)
    assert all(not name.startswith("on") for _, attributes in reader.elements for name in attributes)
    assert reader.text.count(EVIL) > 8


def test_the_leaderboard_shows_the_numbers_it_was_given(full: ReportData) -> None:
    html = render(full).html
    board = html[html.rindex('<table class="board">', 0, html.index("@5</th>")) :]
    board = board[: board.index("</table>") + len("</table>")]
    for _, row in full.leaderboard.iterrows():
        for metric in ("recall", "mrr", "ndcg"):
            for k in CUTOFFS:
                name = f"{metric}_at_{k}"
                shown = f">{row[name]:.4f}</span><small>{row[f'{name}_low']:.4f}{DASH}{row[f'{name}_high']:.4f}</small>"
                assert shown in board
    text = " ".join(Reader(board).text.split())
    assert "Recall@K" in text
    assert board.count('class="v best"') == 9, "one in each column, and never the oracle"
    assert f'best">{full.leaderboard["recall_at_20"][1]:.4f}' in board


def test_cutoffs_come_from_the_columns(full: ReportData) -> None:
    at_10 = {
        name: (table := getattr(full, name))[table["k"] == 10].reset_index(drop=True)
        for name in ("metrics", "comparisons", "slices", "protocols", "beyond_accuracy")
    }
    board = full.leaderboard[[c for c in full.leaderboard.columns if "_at_5" not in c and "_at_20" not in c]]
    settings = full.settings.model_copy(update={"evaluation": EvaluationSettings(cutoffs=[10])})
    text = text_of(replace(full, settings=settings, leaderboard=board, **at_10))
    assert "highest Recall@10" in text
    assert "@20" not in text


def test_headline_says_which_model_to_take(full: ReportData) -> None:
    assert headline(full) == (
        "Take GRU4Rec: it has the highest Recall@20, 0.5500 (0.5300\u20130.5700), and no cheaper model is equivalent "
        "to it."
    )
    assert how_surely(full)[0] == (
        "GRU4Rec against Markov in Recall@20: 0.5500 and 0.4000, a difference of 0.1500 (0.1400\u20130.1600) (paired "
        "test, p < 0.001): more than chance."
    )
    near = plain(full, {"markov": 0.51, "ar": 0.50})
    assert which_model(near).startswith("Take Markov: it has the highest Recall@20, 0.5100")
    assert how_surely(near)[0].endswith(
        "(paired test, p = 0.210): the two are equivalent: the whole interval lies within \u00b15\u00a0% of the better "
        "value."
    )
    far = plain(full, {"markov": 0.11, "ar": 0.10})
    assert "do not tell the two apart" in how_surely(far)[0]
    steps = [step for n in range(6) for step in next_steps(plain(full, {"a": 0.16, "b": 0.159 - n / 5000}))]
    times = [found[1] for step in steps if (found := re.match(r"About ([\d.]+) times as many test sessions", step))]
    assert len(times) > 3 and all(re.fullmatch(r"1\.[1-9]|[2-9]|[1-4]\d|50", number) for number in times), times
    assert (
        which_model(plain(full, {"markov": 0.5})) == "Markov is the only model: Recall@20 0.5000 (0.4800\u20130.5200)."
    )
    assert headline(plain(full, {"oracle": 0.5})) == "No model has been ranked yet."
    render(plain(full, {"oracle": 0.5}))


def test_a_cheaper_model_within_the_margin_is_taken(full: ReportData) -> None:
    data = plain(full, {"gru4rec": 0.505, "markov": 0.50, "popularity": 0.1})
    assert which_model(data) == (
        "Take Markov: it needs no training, and its Recall@20, 0.5000 (0.4800\u20130.5200), is equivalent to the "
        "highest one, GRU4Rec's 0.5050."
    )


@pytest.mark.parametrize("sessions", [1, 9, 10, 49])
def test_few_sessions_give_no_verdict(full: ReportData, sessions: int) -> None:
    data = plain(full, {"markov": 1.0, "sknn": 1.0, "popularity": 0.5})
    board = data.leaderboard.assign(sessions=sessions, vs_best="too few sessions", vs_next="too few sessions")
    pairs = data.comparisons.assign(significant=None, equivalent=None)
    if sessions < 10:
        board.loc[:, [c for c in board if c.endswith(("_low", "_high")) or c.startswith("p_")]] = np.nan
        pairs = pairs.assign(low=np.nan, high=np.nan, p=np.nan, p_holm=np.nan)
    data = replace(data, leaderboard=board, comparisons=pairs)
    said = " ".join([headline(data), *how_surely(data), *next_steps(data)])
    assert re.match(
        rf"{sessions} test sessions? (is|are) too few to choose a model: the highest Recall@20, 1.0000", said
    )
    assert " of Markov and SKNN, may well be chance." in said
    assert ("there is no interval" in said) == (sessions < 10)
    for claim in ("Take ", "enough", "equivalent", "paired test"):
        assert claim not in said
    text = text_of(data)
    assert "nan" not in text
    assert "too few sessions" in text
    assert "p =" not in text and "p <" not in text, "what no verdict rests on"
    assert "the one to take" not in text
    few = next(rule for rule in RULES if rule.name == "enough_test_sessions")
    assert "Before you believe it" not in text_of(replace(data, broken=[(few, Finding(True, "few sessions"))]))


def test_where_another_metric_chooses_another_model_the_headline_says_so(full: ReportData) -> None:
    data = plain(full, {"vstan": 0.50, "item_knn": 0.49})
    assert turned_over(data) == []
    board, pairs = data.leaderboard.copy(), data.comparisons.copy()
    board.loc[board["model"] == "item_knn", ["mrr_at_20", "recall_at_5"]] = 0.45, 0.42
    flipped = (pairs["metric"] == "mrr") & (pairs["k"] == 20) | (pairs["metric"] == "recall") & (pairs["k"] == 5)
    pairs.loc[flipped, ["difference", "low", "high", "significant", "equivalent"]] = 0.2, 0.1, 0.3, True, False
    said = headline(replace(data, leaderboard=board, comparisons=pairs))
    assert said.startswith("Take VSTAN: it has the highest Recall@20")
    assert said.endswith(
        "The choice depends on the metric. Ahead of VSTAN by more than chance: Item-KNN in Recall@5 (0.4200 against "
        "0.3299) and MRR@20 (0.4500 against 0.2000)."
    )
    pairs.loc[flipped, "significant"] = False
    assert turned_over(replace(data, leaderboard=board, comparisons=pairs)) == [], "chance can do that"


def test_lists_that_hold_the_catalogue_choose_nothing(full: ReportData) -> None:
    tiny = replace(full, train={**full.train, "items": 20})
    assert which_model(tiny).startswith(
        "No model can be chosen by Recall@20: a list of 20 holds the whole catalogue of 20 items"
    )
    small = how_surely(replace(full, train={**full.train, "items": 40}))
    assert "A list of 20 is 50.0\u00a0% of the catalogue of 40 items" in small[-1]
    assert not any("drawn at random" in text for text in how_surely(full))


def test_the_primary_metric_decides(full: ReportData) -> None:
    settings = full.settings.model_copy(update={"evaluation": EvaluationSettings(primary="mrr@5")})
    data = replace(full, settings=settings)
    assert "highest MRR@5" in headline(data)
    assert "MRR@5 against" not in text_of(data) and "in MRR@5" in how_surely(data)[0]


def test_the_board_says_who_can_be_told_apart(full: ReportData) -> None:
    text = text_of(plain(full, {"oracle": 0.6, "a": 0.5, "b": 0.49, "c": 0.3}))
    board = text[text.index("best next") : text.index("What the tie rule decides")]
    tuned = "50 trials, 12 min, tuning splitk, sample_size"
    assert re.search(rf" a .*? {DASH} nop = 0\.210 {tuned} b ", board)
    assert re.search(rf" b .*? nop = 0\.210 yesp < 0\.001 {tuned} c ", board)
    assert re.search(rf" c .*? yesp < 0\.001 {DASH}", board)
    assert re.search(rf"Oracle .*? {DASH} {DASH} nothing to tune a ", board), "the oracle is compared with nobody"


def test_the_board_marks_the_one_to_take(full: ReportData) -> None:
    assert "GRU4Rec the one to take 0.5500" in text_of(full)
    cheaper = text_of(plain(full, {"gru4rec": 0.505, "markov": 0.50}))
    assert "Take Markov" in cheaper and "Markov the one to take 0.5000" in cheaper


def test_intervals_and_options_stay_in_one_line(full: ReportData) -> None:
    html = render(full).html
    assert '0.5500 <span class="whole">(0.5300\u20130.5700)</span>' in html
    assert "&lt;span" not in html
    new = full.slices[full.slices["slice"] != "repeat"]
    alone = full.slices[(full.slices["slice"] == "repeat") & (full.slices["place"] == 0)]
    repeated = replace(full, slices=pd.concat([new, alone]))
    assert 'recommend <span class="whole">--exclude-seen</span>” loses nothing' in render(repeated).html
    assert "--exclude-seen" not in html


def test_slices_where_another_model_is_ahead_are_told(full: ReportData) -> None:
    text = text_of(full)
    alone = "In no group of 50 sessions or more does the interval of another model lie wholly above that of GRU4Rec."
    assert alone in text
    assert "By day: all 300 predictions are in one group, 2026-01-13." in text
    slices = full.slices.copy()
    ahead = (slices["model"] == "markov") & (slices["band"] == "seen")
    slices.loc[ahead, ["recall", "low", "high"]] = 0.7, 0.6, 0.8
    assert "By repetition: Markov is ahead of GRU4Rec in “seen”." in text_of(replace(full, slices=slices))
    assert alone in text_of(replace(full, slices=slices.assign(sessions=49)))
    slices.loc[ahead, "low"] = 0.2
    assert "By repetition" not in text_of(replace(full, slices=slices)), "chance can do that"


def test_protocols_and_lists_stand_in_tables(full: ReportData) -> None:
    text = text_of(full)
    assert "The same model has the highest recall under all three." in text
    values = r"\S+ ".join(["0.2750", "0.1833", "0.2750", "0.1833", "0.2750", "0.1833", "0.1375"])
    assert re.search(f"GRU4Rec {values}", text)
    assert re.search(r"GRU4Rec 50\.0 % 0\.250 \u2212(12|13) % 7\.50 \u2013", text)
    protocols = full.protocols.copy()
    protocols.loc[(protocols["protocol"] == "last_item") & (protocols["model"] == "popularity"), "value"] = 0.9
    said = protocol_notes(replace(full, protocols=protocols))
    assert said == [
        "Last item only: Popularity has the highest recall, 0.9000 (0.0333\u20130.1000); GRU4Rec has 0.2750 "
        "(0.1833\u20130.5500), so it may be chance."
    ]
    protocols.loc[(protocols["protocol"] == "last_item") & (protocols["model"] == "popularity"), "low"] = 0.8
    assert protocol_notes(replace(full, protocols=protocols))[0].endswith("and the intervals are apart.")


def test_costs_are_told_but_for_the_oracle(full: ReportData) -> None:
    text = text_of(full)
    costs = text[text.index("What they cost") : text.index("From logs to train and test")]
    assert re.search(r"GRU4Rec 13\.5 s 32\.5 µs 24\.0 kB 1\.5 MB Markov 14\.5 s 325 µs 24\.0 MB 1\.5 GB", costs)
    assert "Oracle" not in costs
    unknown = dict.fromkeys(("fit_seconds", "predict_microseconds", "bytes_in_memory"), np.nan)
    untimed = full.costs.assign(**unknown)
    assert "GRU4Rec \u2013 \u2013 \u2013 1.5 MB" in text_of(replace(full, costs=untimed))


def test_the_oracle_is_the_ceiling(full: ReportData) -> None:
    text = text_of(full)
    assert "GRU4Rec is 0.0700 below this ceiling, 88.7 % of it." in text
    lucky = text_of(plain(full, {"oracle": 0.5, "markov": 0.51}))
    assert "0.0100 above this ceiling" in lucky
    assert "chance" in lucky
    leaky = text_of(plain(full, {"oracle": 0.5, "markov": 0.6}))
    assert "above the oracle by more than chance" in leaky
    null = full.settings.model_copy(update={"synthetic": SyntheticSettings(kind="null")})
    assert "independent draws" in text_of(replace(full, settings=null))


@pytest.mark.usefixtures("drawn")
def test_a_feed_without_oracle_or_gru4rec(full: ReportData) -> None:
    data = replace(plain(full, {"markov": 0.4, "popularity": 0.1}), trained=())
    text = text_of(data)
    assert "racle" not in text
    assert "GRU4Rec" not in text
    assert "Take Markov" in text
    bare = replace(data, lineages=(), quarantine=(), boundary_us=None)
    assert "What it rests on" not in text_of(bare)


def test_drift_of_the_last_judged_day_is_told(full: ReportData) -> None:
    text = text_of(full)
    assert "2026-01-14 against the weeks before" in text
    assert "1 of 2 measures above the threshold" in text
    assert re.search(r"events\s*410\s*1,000\s*0.59\s*0.5", text)
    young = full.drift.assign(verdict="not enough days")
    assert "against the weeks before" not in text_of(replace(full, drift=young))


def test_an_empty_leaderboard_is_refused(full: ReportData) -> None:
    with pytest.raises(ValueError, match="leaderboard is empty"):
        render(replace(full, leaderboard=full.leaderboard.iloc[:0]))


def test_the_funnel_adds_up(full: ReportData) -> None:
    funnel = make_funnel(full)
    assert not funnel.unaccounted
    assert funnel.rows_in == funnel.train + funnel.test + funnel.lost == 6000
    assert funnel.lost == 300 + 70 + 130 + 27 + 40
    counts = {row.label: row.count for row in funnel.rows}
    assert counts["quarantined: item missing"] == 60
    assert counts["left out by rule"] == 300
    assert counts["Events in sessions"] == 5500
    assert counts["test: unseen items"] == 33
    assert counts["train: unlabelled"] == 0
    before = None
    for row in funnel.rows[:-2]:  # each total is the one before it less what was lost in between
        if row.kind == "total":
            assert before in (None, row.count)
            before = row.count
        elif before is not None:
            before -= row.count
    assert before == funnel.train + funnel.test
    text = text_of(full)
    assert "6,000 rows in = 4,333 train + 1,100 test + 567 that left on the way." in text
    assert "type not in list" in text
    assert "not accounted" not in text


@pytest.mark.parametrize(("events", "missing"), [(5600, 30), (5660, -30)])
def test_rows_without_a_reason_are_told(full: ReportData, events: int, missing: int) -> None:
    data = replace(full, raw={**full.raw, "events": events})
    funnel = make_funnel(data)
    assert funnel.unaccounted
    assert [row.count for row in funnel.rows if row.kind == "missing"] == [missing, -missing]
    assert "not accounted for" in text_of(data)


def test_quarantine_counts_without_reasons_still_add_up(full: ReportData) -> None:
    raw: dict[str, int | float | str] = {"rows_in": 6000, "left_out": 300, "quarantined": 70, "events": 5630}
    funnel = make_funnel(replace(full, raw=raw))
    assert not funnel.unaccounted
    assert ("quarantined", 70) in [(row.label, row.count) for row in funnel.rows]
    assert make_funnel(replace(full, raw={})).rows_in == 0


def test_ties_are_told(full: ReportData) -> None:
    assert "equal scores play no part here" in text_of(full)
    board, metrics = tables(FULL, ties=0.5)
    text = text_of(replace(full, leaderboard=board, metrics=metrics))
    assert "Popularity's scores are saturated: 0.6000 under the standard rule is only 0.1000" in text
    assert "Under the standard rule Popularity would have the highest value." in text
    board, metrics = tables(FULL, ties=0.01)
    assert "The rules differ for Popularity, by at most 0.0100" in text_of(
        replace(full, leaderboard=board, metrics=metrics)
    )
    assert "conservative tie rule" in text


def test_protocol_follows_the_settings(full: ReportData) -> None:
    told = dict(protocol(full))
    assert told["Split"].startswith("Sessions that start in the last 2 days (from 2014-05-13 16:53:20 UTC on) test.")
    assert "is dropped before any model sees it; there were 33." in told["Unseen items"]
    assert "900 predictions in 200 sessions" in told["Ranking"]
    assert "whole catalogue of 470 items" in told["Ranking"]
    assert "K is 5, 10 and 20" in told["Metrics"]
    assert "1,000 resamples" in told["Intervals"]

    def split(**values: object) -> str:
        settings = full.settings.model_copy(update={"split": SplitSettings.model_validate(values)})
        return dict(protocol(replace(full, settings=settings)))["Split"]

    assert split(rule="ratio", ratio=0.75).startswith("The first 75\u00a0% of the sessions")
    assert "column “part” says" in split(rule="given", column="part")
    assert "a.tsv and b.tsv are the test set" in split(rule="given", test_logs=["a.tsv", "b.tsv"])


def test_training_and_quarantine_are_shown(full: ReportData) -> None:
    text = text_of(full)
    assert "learning_rate 0.05" in text
    assert "device cpu" in text
    assert "last loss 3.5" in text
    assert "a.tsv 17 item_missing" in text
    assert "Quarantined rows, a sample" in text


def test_lineage_is_shown_whole_for_few_logs_and_summed_up_for_many(full: ReportData) -> None:
    html = render(full).html
    assert "log000.tsv" in html
    assert "log001.tsv" in html
    assert "a" * 12 + "</code>" in html
    assert "c0dec0dec0de" in html
    assert "run-0001" not in html, "the page must not change with the run that made it"
    many = text_of(replace(full, lineages=[lineage(400)]))
    assert "400 landed logs with 4,000 rows" in many
    assert "… 390 more …" in many
    assert many.count(".tsv") == 10 + 1, "and one in the quarantine"
    assert len(render(replace(full, lineages=[lineage(400)])).html) < len(html) * 1.2


def test_the_digest_of_the_logs_depends_on_each(full: ReportData) -> None:
    digests = {landed_logs(all_nodes(replace(full, lineages=[lineage(n)]))).digest for n in (2, 3, 40)}
    assert len(digests) == 3


def test_doubtful_results_are_flagged(full: ReportData) -> None:
    assert 'class="warnings"' not in render(full).html
    other = Lineage(node("sessions", version="b"))
    assert "more than one version of sessions" in text_of(replace(full, lineages=[lineage(2), other]))
    board = full.leaderboard.assign(predictions=[900, 901, 900, 900])
    assert "different numbers of predictions (900, 901)" in text_of(replace(full, leaderboard=board))
    assert "now has 950" in text_of(replace(full, test={**full.test, "predictions": 950}))


def test_broken_rules_stand_under_the_answer_in_both_languages(full: ReportData) -> None:
    rule = next(rule for rule in RULES if rule.name == "no_catch_all")
    seen = Said(N_("{part} belong to the {n} largest sessions"), part=part(320, 799), n="2")
    advice = Said(N_("if it is no item (a start page, a placeholder), leave its rows out with [logs] keep"))
    data = replace(full, broken=[(rule, Finding(True, seen, [EVIL, "'b'"], advice))])
    english, spanish = text_of(data), text_of(data, "es")
    sentence = (
        f"320 of 799 events (40.1 %) belong to the 2 largest sessions, such as {EVIL}, 'b': if it is no item (a start "
        "page, a placeholder), leave its rows out with [logs] keep."
    )
    assert f"Before you believe it: {sentence} How certain is the answer?" in english
    assert "What should you do next? First settle what stands under “Before you believe it”" in english
    assert f"320 de 799 eventos (40.1 %) pertenecen a las 2 sesiones más grandes, por ejemplo {EVIL}, 'b':" in spanish
    assert f"**Before you believe it:**\n\n- {sentence}\n\n**How certain is the answer?**" in as_markdown(data)
    assert "Before you believe it" not in text_of(full) + as_markdown(full)


def test_counts_of_several_logs_are_summed() -> None:
    assert summed([{"rows_in": 2, "quarantined: a": 1, "x": "text"}, {"rows_in": 3}]) == {
        "rows_in": 5,
        "quarantined: a": 1,
    }
    assert summed([]) == {}
