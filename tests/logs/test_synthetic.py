from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sessrec_pipeline.logs.synthetic import DAY, FIRST_DAY, Draw, Law, law, write_logs, zipf
from sessrec_pipeline.settings import SyntheticSettings

Kind = Literal["demo", "null"]
KINDS: list[Kind] = ["demo", "null"]

any_settings = st.builds(
    SyntheticSettings,
    kind=st.sampled_from(KINDS),
    sessions=st.integers(10, 120),
    items=st.integers(50, 200),
    days=st.integers(1, 4),
    seed=st.integers(0, 2**32),
)


def rows_of(source: Law, draw: Draw) -> list[str]:
    """The draw as rows of a log, session by session."""
    lengths = np.diff(draw.offsets)
    sessions = np.repeat(np.array(draw.session_ids), lengths)
    return [f"{s}\t{source.items[i]}\t{t}" for s, i, t in zip(sessions, draw.items, draw.times, strict=True)]


@given(any_settings)
@hypothesis_settings(max_examples=30, deadline=None)
def test_a_draw_keeps_its_promises(settings: SyntheticSettings) -> None:
    draw = law(settings).draw()
    lengths = np.diff(draw.offsets)
    starts = draw.times[draw.offsets[:-1]]
    within = np.ones(len(draw.items) - 1, dtype=bool)
    within[draw.offsets[1:-1] - 1] = False

    assert len(draw) == len(lengths) == settings.sessions
    assert lengths.min() >= 2
    assert lengths.max() <= 20
    assert draw.offsets[-1] == len(draw.items) == len(draw.times)
    assert draw.items.min() >= 0
    assert draw.items.max() < settings.items
    assert (np.diff(starts) >= 0).all(), "sessions come in the order of their first event"
    assert (np.diff(draw.times)[within] > 0).all(), "time goes on within a session"
    assert draw.times.min() >= FIRST_DAY
    assert draw.times.max() < FIRST_DAY + settings.days * DAY
    assert draw.session_ids == sorted(draw.session_ids)


@given(any_settings)
@hypothesis_settings(max_examples=15, deadline=None)
def test_the_same_settings_give_the_same_draw_and_another_seed_another(settings: SyntheticSettings) -> None:
    source, again = law(settings), law(settings)
    other = law(settings.model_copy(update={"seed": settings.seed + 1}))
    rows = rows_of(source, source.draw())
    assert rows == rows_of(source, source.draw()) == rows_of(again, again.draw())
    assert rows != rows_of(other, other.draw())


@pytest.mark.parametrize("kind", KINDS)
def test_all_lengths_from_2_to_20_are_equally_likely(kind: Kind) -> None:
    draw = law(SyntheticSettings(kind=kind, sessions=19_000)).draw()
    counts = np.bincount(np.diff(draw.offsets))
    assert counts.nonzero()[0].tolist() == list(range(2, 21))
    assert abs(counts[2:] - 1000).max() < 5 * np.sqrt(1000)


@pytest.mark.parametrize(("kind", "slope"), [("demo", -0.6), ("null", -0.8)])
def test_item_popularity_is_a_power_law(kind: Kind, slope: float) -> None:
    """On logarithmic axes support falls off along a line; the demo's sequence makes it flatter than its hub items."""
    draw = law(SyntheticSettings(kind=kind, sessions=20_000)).draw()
    support = np.sort(np.bincount(draw.items, minlength=500))[::-1][:400]  # the end of a finite tail bends down
    fit = np.polyfit(np.log(np.arange(1, 401)), np.log(support), 1)
    assert fit[0] == pytest.approx(slope, abs=0.1)
    assert np.corrcoef(np.log(np.arange(1, 401)), np.log(support))[0, 1] < -0.98


def test_the_null_law_draws_items_by_their_popularity() -> None:
    settings = SyntheticSettings(kind="null", sessions=20_000)
    draw = law(settings).draw()
    share = np.bincount(draw.items, minlength=500) / len(draw.items)
    expected = zipf(500, 0.8)
    assert (abs(share - expected) < 5 * np.sqrt(expected / len(draw.items))).all()


@pytest.mark.parametrize("kind", KINDS)
def test_ids_do_not_tell_popularity(kind: Kind) -> None:
    source = law(SyntheticSettings(kind=kind))
    support = np.bincount(source.draw().items, minlength=500)
    numbers = np.array([int(item) for item in source.items])
    assert sorted(numbers) == list(range(1, 501))
    assert abs(np.corrcoef(numbers, np.log1p(support))[0, 1]) < 0.15


def test_evenings_are_busy_and_nights_are_quiet() -> None:
    draw = law(SyntheticSettings(sessions=5000)).draw()
    hours = np.bincount([datetime.fromtimestamp(t, UTC).hour for t in draw.times.tolist()], minlength=24)
    assert hours[18:23].min() > 4 * hours[1:6].max()


@pytest.mark.parametrize("kind", KINDS)
def test_the_logs_hold_the_draw_and_each_event_lies_on_its_day(kind: Kind, tmp_path: Path) -> None:
    settings = SyntheticSettings(kind=kind)
    paths = write_logs(settings, tmp_path / "landing")

    assert [path.name for path in paths] == [f"{kind}-2026-01-{day:02}.tsv" for day in range(5, 15)]
    assert sorted((tmp_path / "landing").iterdir()) == paths, "nothing temporary is left"
    rows = []
    for path in paths:
        header, *events = path.read_text().splitlines()
        assert header == "SessionId\tItemId\tTime"
        times = [int(event.split("\t")[2]) for event in events]
        assert times == sorted(times)
        assert {datetime.fromtimestamp(time, UTC).date().isoformat() for time in times} == {path.stem[-10:]}
        rows += events
    source = law(settings)
    assert Counter(rows) == Counter(rows_of(source, source.draw()))


def test_some_session_goes_on_past_midnight(tmp_path: Path) -> None:
    paths = write_logs(SyntheticSettings(), tmp_path)
    sessions = [{row.split("\t")[0] for row in path.read_text().splitlines()[1:]} for path in paths]
    assert any(today & tomorrow for today, tomorrow in pairwise(sessions))


@pytest.mark.parametrize("kind", KINDS)
def test_writing_again_changes_no_byte(kind: Kind, tmp_path: Path) -> None:
    settings = SyntheticSettings(kind=kind, sessions=50)
    first = {path: path.read_bytes() for path in write_logs(settings, tmp_path)}
    assert {path: path.read_bytes() for path in write_logs(settings, tmp_path)} == first
    assert sorted(tmp_path.iterdir()) == sorted(first)
