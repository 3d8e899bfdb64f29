"""When a simpler model is enough, how long a training lasts, and both in Spanish."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_page import CUTOFFS, Reader, comparisons, full, main_of, plain, text_of

from sessrec_pipeline.report import page
from sessrec_pipeline.report.ageing import ageing_figure, ageing_note, slope
from sessrec_pipeline.report.ageing import test_days as days_of
from sessrec_pipeline.report.data import ReportData
from sessrec_pipeline.report.page import render
from sessrec_pipeline.report.recommendation import cheaper_models, which_model
from sessrec_pipeline.report.translation import using_language

__all__ = ["full"]
DAYS = ["2014-05-13", "2014-05-14", "2014-05-15"]


@pytest.fixture(autouse=True)
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "_drawings", lambda data: [])


def timed(data: ReportData, models: dict[str, tuple[float, float, float]]) -> ReportData:
    """``models``: Recall, microseconds per prediction and seconds to fit of each."""
    recall = {model: values[0] for model, values in models.items()}
    costs = [(model, fit, predict, 1, 1) for model, (_, predict, fit) in models.items()]
    columns = ["model", "fit_seconds", "predict_microseconds", "bytes_in_memory", "bytes_on_disk"]
    return replace(plain(data, recall), comparisons=comparisons(recall), costs=pd.DataFrame(costs, columns=columns))


def test_what_much_faster_models_give_up(full: ReportData) -> None:
    models = {"oracle": (0.9, 1, 1), "a": (0.50, 900, 10), "b": (0.40, 850, 1), "c": (0.30, 300, 1), "d": (0.2, 290, 1)}
    data = timed(full, models)
    assert cheaper_models(data) == [
        "c reaches 60.0\u00a0% of a's Recall@20; a prediction takes 300 µs instead of 900 µs."
    ], "b and d save less than times differ by, and the oracle is no one's to run"
    with using_language("es"):
        assert cheaper_models(data)[0].startswith("c alcanza el 60.0\u00a0% del Recall@20 de a")


def test_microseconds_of_noise_are_no_reason(full: ReportData) -> None:
    data = timed(full, {"a": (0.50, 8, 10), "b": (0.499, 3, 1)})
    assert which_model(data).startswith("Take a: it has the highest Recall@20")
    (said,) = cheaper_models(data)
    assert said == "No other model answers at least 2 times as fast as a and saves at least 100 µs a prediction."
    slow = timed(full, {"a": (0.50, 800, 10), "b": (0.499, 300, 1)})
    assert which_model(slow).startswith("Take b: a prediction takes 300 µs, not 800 µs, and its Recall@20, 0.4990")


@pytest.mark.parametrize(
    "models", [{"a": (0.5, 1, 1)}, {"a": (0.5, np.nan, 1), "b": (0.4, 1, 1)}, {"a": (0.0, 1, 1), "b": (0.0, 1, 1)}, {}]
)
def test_without_a_choice_nothing_is_said(full: ReportData, models: dict[str, tuple[float, float, float]]) -> None:
    data = timed(full, models or {"oracle": (0.5, 1, 1)})
    assert not any("reaches" in text for text in cheaper_models(data))
    render(data)


def with_days(data: ReportData, recalls: list[float], half: float = 0.02) -> ReportData:
    rows = [
        (model, "day", place, day, k, r, r - half, r + half, 100, 100)
        for model in ("gru4rec", "markov")
        for k in CUTOFFS
        for place, (day, r) in enumerate(zip(DAYS, recalls, strict=False))
    ]
    own = data.slices[data.slices["slice"] != "day"]
    return replace(data, slices=pd.concat([own, pd.DataFrame(rows, columns=own.columns)], ignore_index=True))


def test_quality_is_told_by_days_since_training(full: ReportData) -> None:
    data = with_days(full, [0.6, 0.5, 0.4])  # the boundary is on the first of the days
    assert days_of(data)["days"].unique().tolist() == [0, 1, 2]
    note = ageing_note(data)
    assert note.startswith("GRU4Rec: Recall@20 0.6000 (0.5800\u20130.6200) on day 0 after training, 0.4000 ")
    assert "\u22120.1000 a day" in note
    assert note.endswith("the study of sliding windows tells them apart.")
    assert "How long a training lasts" in text_of(data)
    assert "do not show whether a training ages" in ageing_note(with_days(full, [0.6, 0.5, 0.59]))
    assert "in more than age" in ageing_note(with_days(full, [0.4, 0.5, 0.6]))
    few = data.slices.assign(sessions=data.slices["sessions"].where(data.slices["band"] != DAYS[2], 49))
    assert days_of(replace(data, slices=few))["days"].unique().tolist() == [0, 1], "too few sessions for a verdict"
    with using_language("es"):
        svg = ageing_figure(data)
    assert "días desde el fin del entrenamiento" in svg
    assert "+2" in svg


def test_one_day_or_no_boundary_tells_nothing_of_age(full: ReportData) -> None:
    assert ageing_note(with_days(full, [0.6])) == ""
    assert ageing_note(replace(with_days(full, [0.6, 0.5]), boundary_us=None)) == ""
    assert "How long a training lasts" not in text_of(with_days(full, [0.6]))


def test_the_slope_is_that_of_the_weighted_line() -> None:
    days, n = np.array([0.0, 1.0, 3.0]), np.array([5.0, 1.0, 2.0])
    recall = np.array([0.5, 0.2, 0.4])
    own = pd.DataFrame({"days": days, "recall": recall, "predictions": n})
    assert slope(own) == pytest.approx(np.polyfit(days, recall, 1, w=np.sqrt(n))[0])


def test_both_languages_say_the_same_numbers(full: ReportData) -> None:
    html = render(with_days(full, [0.6, 0.5])).html
    english, spanish = (Reader(main_of(html, language) + "</main>") for language in ("en", "es"))
    assert sorted(tag for tag, _ in english.elements) == sorted(tag for tag, _ in spanish.elements)
    for board in ("recall_at_20", "mrr_at_5"):
        for value in full.leaderboard[board]:
            assert english.text.count(f"{value:.4f}") == spanish.text.count(f"{value:.4f}") > 0
    assert "6,000 filas de entrada" in spanish.text
    assert "prueba pareada" in spanish.text


def test_spanish_text_is_without_english_leftovers(full: ReportData) -> None:
    text = text_of(with_days(full, [0.6, 0.5]), "es")
    prose = text[: text.index("Cómo se entrenó GRU4Rec")]  # below stand names of settings and assets
    for english in (" the ", " of ", " is ", "sessions", "training", "events ", "rows"):
        assert english not in prose


def test_links_between_the_languages_need_no_script(full: ReportData, tmp_path: Path) -> None:
    html = render(full).html
    for here, there in (("en", "es"), ("es", "en")):
        main = main_of(html, here)
        assert f'href="#{there}"' in main
        assert f'href="#{here}"' not in main
    assert "<script" not in html
