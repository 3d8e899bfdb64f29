import base64
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.textpath import TextPath

from sessrec_pipeline.models.registry import cards
from sessrec_pipeline.report import figures
from sessrec_pipeline.report.costs import quality_beside_cost
from sessrec_pipeline.report.drawing import apart
from sessrec_pipeline.report.looks import SPARE_LOOKS, looks, model_name, swatch
from sessrec_pipeline.report.slices import slice_figure

LIMIT = 45_000
NOW = 1_400_000_000_000_000
DAY = 86_400_000_000
NOTHING = np.array([], dtype=np.int64)
MODELS = {"oracle": 0.62, "gru4rec": 0.55, "markov": 0.54, "popularity": 0.1, "<b>&$x_1$\x00": 0.3}
CUTOFFS = [5, 10, 20]


def metrics(models: dict[str, float] = MODELS, cutoffs: list[int] = CUTOFFS) -> pd.DataFrame:
    rows = []
    for model, value in models.items():
        for metric, share in (("recall", 1.0), ("mrr", 0.4), ("ndcg", 0.5)):
            for k in cutoffs:
                at_k = value * share * (k / max(cutoffs)) ** 0.3
                for rule in ("standard", "median", "conservative"):
                    rows.append((model, metric, k, rule, at_k, at_k * 0.96, at_k * 1.03))
    return pd.DataFrame(rows, columns=["model", "metric", "k", "tie_rule", "value", "low", "high"])


def leaderboard(models: dict[str, float] = MODELS) -> pd.DataFrame:
    table = metrics(models)
    rows = []
    for model in models:
        row: dict[str, object] = {"model": model}
        for _, cell in table[(table["model"] == model) & (table["tie_rule"] == "median")].iterrows():
            name = f"{cell['metric']}_at_{cell['k']}"
            row |= {name: cell["value"], f"{name}_low": cell["low"], f"{name}_high": cell["high"]}
        rows.append(row)
    return pd.DataFrame(rows)


def sliced(name: str, bands: int, models: dict[str, float] = MODELS) -> pd.DataFrame:
    """One slice of which the second band is too small for an interval."""
    names = [f"2026-{n // 28:02d}-{n % 28:02d}" if name == "day" else f"band {n}" for n in range(bands)]
    rows = [
        (model, name, 2 * place, names[place], value * 0.97**place,
         np.nan if place == 1 else value * 0.9**place, np.nan if place == 1 else value, 1234 + place,
         9 if place == 1 else 400)
        for model, value in models.items()
        for place in range(bands)
    ]  # fmt: skip
    columns = ["model", "slice", "place", "band", "recall", "low", "high", "predictions", "sessions"]
    return pd.DataFrame(rows, columns=columns)


def priced(models: dict[str, float] = MODELS) -> pd.DataFrame:
    rows = [(m, v, v * 0.96, v * 1.03, 1.5 * 7**n) for n, (m, v) in enumerate(models.items())]
    columns = ["model", "recall_at_20", "recall_at_20_low", "recall_at_20_high", "predict_microseconds"]
    return pd.DataFrame(rows, columns=columns)


EVERY = {name: 0.5 - 0.001 * n for n, name in enumerate(sorted(cards()))} | {"another": 0.31}
"""All models and one more, nearly level: their labels have to move apart."""
TEN = {f"model {n}": 0.1 * n for n in range(10)}


def words(svg: str) -> str:
    return " | ".join(
        "".join(element.itertext()) for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    )


DRAW: dict[str, Callable[[], str]] = {
    "popularity": lambda: figures.popularity((1e6 / np.arange(1, 100_001) ** 1.1).astype(np.int64) + 1),
    "popularity of one item": lambda: figures.popularity(np.array([3])),
    "popularity of nothing": lambda: figures.popularity(NOTHING),
    "lengths": lambda: figures.session_lengths(
        np.random.default_rng(1).geometric(0.05, 1_000_000), np.random.default_rng(2).geometric(0.2, 100_000)
    ),
    "lengths of train alone": lambda: figures.session_lengths(np.array([2, 2, 3]), NOTHING),
    "lengths of nothing": lambda: figures.session_lengths(NOTHING, NOTHING),
    "losses": lambda: figures.loss_curve([5.1, 4.2, 3.9]),
    "one loss": lambda: figures.loss_curve([5.1]),
    "many losses": lambda: figures.loss_curve(list(5 / np.arange(1, 5000))),
    "a loss that is none": lambda: figures.loss_curve([5.1, float("nan"), float("inf")]),
    "no losses": lambda: figures.loss_curve([]),
    "models": lambda: figures.model_comparison(leaderboard(), "recall", 20),
    "oracle alone": lambda: figures.model_comparison(leaderboard({"oracle": 0.5}), "mrr", 5),
    "no oracle": lambda: figures.model_comparison(leaderboard({"markov": 0.5}), "ndcg", 10),
    "curves": lambda: figures.metric_curves(metrics(), "recall", "conservative"),
    "curves with one cutoff": lambda: figures.metric_curves(metrics(cutoffs=[20]), "mrr", "standard"),
    "curves over far cutoffs": lambda: figures.metric_curves(metrics(cutoffs=[1, 20, 1000]), "mrr", "standard"),
    "curves of zeros": lambda: figures.metric_curves(metrics({"markov": 0.0}), "mrr", "standard"),
    "no curves": lambda: figures.metric_curves(metrics({}), "recall", "median"),
    "a year": lambda: figures.events_over_time(
        NOW + np.random.default_rng(3).integers(0, 399 * DAY, 1_000_000), NOW + 200 * DAY
    ),
    "a year of test": lambda: figures.events_over_time(NOW + np.arange(0, 399 * DAY, DAY // 3), NOW - DAY),
    "ten years": lambda: figures.events_over_time(NOW + np.arange(0, 3650 * DAY, DAY), None),
    "thirty years": lambda: figures.events_over_time(np.arange(0, 11_000 * DAY, DAY), None),
    "two days": lambda: figures.events_over_time(NOW + np.arange(0, 2 * DAY, DAY // 100), NOW + DAY),
    "one event": lambda: figures.events_over_time(np.array([NOW]), None),
    "a slice": lambda: slice_figure(sliced("position", 7), 20),
    "a slice of one band": lambda: slice_figure(sliced("repeat", 1), 20),
    "a slice of many days and models": lambda: slice_figure(sliced("day", 400, TEN), 20),
    "costs": lambda: quality_beside_cost(priced(), "recall", 20),
    "costs of one model": lambda: quality_beside_cost(priced({"markov": 0.0}), "recall", 20),
    "costs of many models": lambda: quality_beside_cost(priced(TEN), "recall", 20),
    "no costs": lambda: quality_beside_cost(priced({}), "recall", 20),
    "no event": lambda: figures.events_over_time(NOTHING, NOW),
}


@pytest.mark.parametrize("name", DRAW)
def test_figures_are_small_and_well_formed_and_the_same_every_time(name: str) -> None:
    svg = DRAW[name]()
    root = ET.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(svg.encode()) < LIMIT
    assert svg == DRAW[name]()
    assert not list(root.iter("{http://www.w3.org/2000/svg}style")), "it would reach the whole page"
    assert not re.search(r"\d{4}-\d\d-\d\dT", svg), "no date of drawing"
    ids = re.findall(r' id="([^"]+)"', svg)
    used = set(re.findall(r"#([\w-]+)[)\"]", svg)) - set(re.findall(r"#([0-9a-fA-F]{6})\b", svg))
    assert len(ids) == len(set(ids))
    assert used <= set(ids), "every reference has its target"


def test_figures_that_stand_on_one_page_share_no_id() -> None:
    found: list[str] = []
    for metric in ("recall", "mrr", "ndcg"):
        found += re.findall(r' id="([^"]+)"', figures.metric_curves(metrics(), metric, "conservative"))
    assert len(found) == len(set(found))


def test_matplotlibs_global_settings_stay_as_they_are() -> None:
    before = dict(mpl.rcParams)
    mpl.rcParams["lines.linewidth"] = 9
    try:
        drawn = figures.loss_curve([3.0, 2.0])
    finally:
        mpl.rcParams["lines.linewidth"] = before["lines.linewidth"]
    assert drawn == figures.loss_curve([3.0, 2.0]), "nor do they change the drawing"
    assert dict(mpl.rcParams) == before


def test_the_ground_shows_through() -> None:
    for name in ("models", "a year", "lengths"):
        assert not re.search(r"fill: ?#(fff|ffffff)\b", DRAW[name]())


def test_popularity_says_what_the_top_tenth_holds() -> None:
    text = words(figures.popularity(np.array([1] * 18 + [41, 41, 0])))
    assert "top 2 of 20 items" in text
    assert "82 % of 100 events" in text


def test_session_lengths_are_shares_of_each_part() -> None:
    text = words(figures.session_lengths(np.array([2, 2, 3, 200]), np.array([2, 8])))
    assert "train: 4 sessions, mean 51.8" in text
    assert "test: 2 sessions, mean 5.0" in text
    assert "51+" in text
    assert "8\u201310" in text


@pytest.mark.parametrize("longest", [1, 5, 6, 7, 8, 15, 16, 100, 101, 2000])
def test_every_length_has_a_bin(longest: int) -> None:
    figures.session_lengths(np.array([1, longest]), np.array([longest]))


def test_model_comparison_shows_the_numbers() -> None:
    table = leaderboard({"oracle": 0.62, "gru4rec": 0.5512, "markov": 0.5}).assign()
    text = words(figures.model_comparison(table, "recall", 20))
    assert "0.5512" in text
    assert "0.5000" in text
    assert "Oracle, the ceiling: 0.6200" in text
    assert text.index("Markov") < text.index("GRU4Rec"), "the axis counts from below: the best is on top"


def test_names_are_text_and_nothing_else() -> None:
    for svg in (DRAW["models"](), DRAW["curves"]()):
        assert "<b>&$x_1$" in words(svg)
        assert "<b>" not in svg


def test_labels_of_level_models_do_not_touch() -> None:
    places = apart([0.5, 0.5, 0.49, 0.1], 0.1)
    assert np.diff(sorted(places)).min() >= 0.1 - 1e-12
    assert places[3] == 0.1, "a label with room stays where it belongs"
    assert apart([], 0.1) == []


def labels_of(svg: str) -> list[tuple[str, float, float, str]]:
    """Text, x, y and colour of what is written in colour."""
    found = []
    for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"):
        style, text = element.get("style", ""), "".join(element.itertext())
        colour = re.search(r"fill: (#\w{6})", style)
        moved = re.search(r"translate\(([-\d.]+) ([-\d.]+)\)", element.get("transform", ""))
        x, y = (float(v) for v in moved.groups()) if moved else (float(element.get(n, "nan")) for n in "xy")
        found.append((text, x, y, colour[1] if colour else ""))
    return found


@pytest.mark.parametrize(
    "draw",
    [
        lambda: figures.metric_curves(metrics(EVERY), "recall", "conservative"),
        lambda: slice_figure(sliced("position", 7, EVERY), 20),
        lambda: slice_figure(sliced("item_age", 2, dict.fromkeys(EVERY, 0.0)), 20),
    ],
)
def test_every_line_has_its_label_apart_in_its_colour_and_inside(draw: Callable[[], str]) -> None:
    svg = draw()
    _, _, width, height = (float(v) for v in ET.fromstring(svg).attrib["viewBox"].split())
    look_of = looks(list(EVERY))
    labels = [label for label in labels_of(svg) if label[0].split(" 0.")[0] in {model_name(m) for m in EVERY}]
    assert len(labels) == len(EVERY) >= 14
    wanted = {model_name(model): look_of[model].colour.lower() for model in EVERY}
    assert all(colour.lower() == wanted[text.split(" 0.")[0]] for text, _, _, colour in labels)
    assert np.diff(sorted(y for _, _, y, _ in labels)).min() > 9 * 1.2, "no two labels touch: they are set in 9 points"
    assert all(0 < y < height for _, _, y, _ in labels)
    assert all(x + TextPath((0, 0), text, size=9).get_extents().width < width for text, x, _, _ in labels), "clipped"
    assert svg.count("<title>") >= len(EVERY)


def test_labels_stand_in_the_order_of_their_lines() -> None:
    svg = figures.metric_curves(metrics(EVERY), "recall", "conservative")
    order = [text.split(" 0.")[0] for text, _, _, _ in sorted(labels_of(svg), key=lambda at: at[2]) if " 0." in text]
    assert order == [model_name(model) for model in sorted(EVERY, key=lambda m: -EVERY[m])]


def contrast(colour: str, ground: str) -> float:
    """Of WCAG 2."""

    def luminance(code: str) -> float:
        parts = np.array([int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    low, high = sorted((luminance(colour), luminance(ground)))
    return (high + 0.05) / (low + 0.05)


def test_every_card_has_a_look_of_its_own_that_reads_on_both_grounds() -> None:
    own = [card.look for card in cards().values() if card.look is not None]
    assert len(own) == len(cards()) == len(set(own))
    for a, b in combinations(own, 2):
        assert a.marker != b.marker
        assert a.colour != b.colour or a.line != b.line, "the colour never carries the difference alone"
    for look in [*own, *SPARE_LOOKS]:
        assert contrast(look.colour, "#ffffff") >= 3 and contrast(look.colour, "#1a1d20") >= 3


def test_hovering_shows_the_numbers() -> None:
    svg = figures.model_comparison(leaderboard({"markov": 0.5}), "recall", 20)
    assert "<title>Markov: Recall@20 0.5000 (0.4800\u20130.5150)</title>" in svg
    assert "<title>Markov: Recall@20 0.5" in quality_beside_cost(priced({"markov": 0.5}), "recall", 20)


def test_events_over_time_picks_the_unit() -> None:
    assert "events per hour" in words(DRAW["two days"]())
    assert "events per day" in words(DRAW["a year"]())
    assert "events per week" in words(figures.events_over_time(np.array([NOW, NOW + 900 * DAY]), None))
    assert "events per 4 weeks" in words(DRAW["thirty years"]())
    assert "test" in words(DRAW["a year"]())
    assert "test" not in words(DRAW["one event"]())


@pytest.mark.parametrize("days", [0.04, 0.5, 1, 3, 7, 9, 30, 399, 11_000])
def test_dates_leave_each_other_room(days: float) -> None:
    ticks = figures._days(16_000.3, 16_000.3 + days)
    assert 0 < len(ticks) <= 5
    assert 16_000.3 <= ticks.min() <= ticks.max() <= 16_000.3 + days


def test_markdown_holds_the_figure() -> None:
    svg = DRAW["losses"]()
    text = figures.as_markdown(svg, "a](javascript:x)\n[b")
    alt, data = re.fullmatch(r"!\[(.*)\]\(data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)\)", text).groups()  # type: ignore[union-attr]
    assert base64.b64decode(data).decode() == svg
    assert alt == r"a\](javascript:x) \[b"


def test_slices_name_their_bands_and_how_many_predictions_they_hold() -> None:
    text = words(DRAW["a slice"]())
    for place in range(7):
        assert f"band {place}" in text and f"1,{234 + place}" in text
    assert "GRU4Rec" in text and "events before the target" in text
    days = words(DRAW["a slice of many days and models"]())
    assert "00-00" in days and "2026" not in days, "days are short"


@pytest.mark.parametrize(("name", "bands"), [("day", 400), ("day", 9), ("position", 7), ("repeat", 2)])
def test_bands_that_are_named_do_not_touch(name: str, bands: int) -> None:
    labels = labels_of(slice_figure(sliced(name, bands, EVERY), 20))
    below = sorted((x, text) for text, x, _, _ in labels if re.fullmatch(r"1,\d{3}", text))
    named = sorted((x, text) for text, x, _, _ in labels if re.fullmatch(r"band \d|\d\d-\d\d", text))
    assert len(below) == len(named) > 1 and len(named) <= bands
    for found in (below, named):
        room = np.diff([x for x, _ in found])
        widest = max(TextPath((0, 0), text, size=8).get_extents().width for _, text in found)
        assert room.min() > widest and room.min() == pytest.approx(room.max(), abs=0.1)


def test_bands_of_few_sessions_are_faint() -> None:
    assert "opacity: 0.35" in slice_figure(sliced("position", 3), 20), "the second band has 9 sessions"
    assert "opacity: 0.35" not in slice_figure(sliced("position", 3).assign(sessions=50), 20)


@pytest.mark.parametrize("values", [{"a": 1.0, "b": 0.9}, {"a": 0.02, "b": 0.0}, {"oracle": 1.0, "a": 0.5}])
def test_axes_show_no_value_that_cannot_be(values: dict[str, float]) -> None:
    text = words(figures.model_comparison(leaderboard(values), "recall", 20)).replace("\u2212", "-")
    numbers = [float(word) for word in re.findall(r"(?<![\d.@])-?\d\.\d+", text)]
    assert len(numbers) > 3 and all(0 <= number <= 1 for number in numbers)


def test_a_swatch_has_the_look_of_the_figures() -> None:
    drawn = {look: swatch(look) for look in looks(list(EVERY)).values()}
    assert len(set(drawn.values())) == len(drawn)
    for look, svg in drawn.items():
        ET.fromstring(svg)
        assert look.colour in svg and ("stroke-dasharray" in svg) == (look.line != "-")


def test_costs_name_every_model_at_its_price() -> None:
    text = words(DRAW["costs"]())
    assert all(name in text for name in ("GRU4Rec", "Markov", "Popularity"))
    assert "µs per prediction" in text
    assert "no data" in words(DRAW["no costs"]())
