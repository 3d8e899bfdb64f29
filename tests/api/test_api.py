"""The Python API: what it takes and gives, and that it computes what the asset graph computes."""

import copy
import inspect
import os
import pickle
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sessrec_pipeline
from assets.runs import materialize_all
from sessrec_pipeline import api
from sessrec_pipeline.api import Events, FrameError, Model, compare, evaluate, load, model, temporal_split
from sessrec_pipeline.api.evaluation import _ranked, _settings
from sessrec_pipeline.api.frames import Columns, read_frame, text_of
from sessrec_pipeline.api.models import NotFittedError, class_of, classes
from sessrec_pipeline.api.stub import STUB, stub
from sessrec_pipeline.feed import FeedSettings
from sessrec_pipeline.logs.synthetic import write_logs
from sessrec_pipeline.models.base import best_of
from sessrec_pipeline.models.registry import CARDS, ModelNameError, cards
from sessrec_pipeline.settings import (
    SessionSettings,
    Settings,
    SettingsError,
    SplitSettings,
    SyntheticSettings,
    TrainingSettings,
)
from sessrec_pipeline.storage.files import DamagedFileError
from sessrec_pipeline.storage.store import Store
from sessrec_pipeline.training.device import DeviceError

COLUMNS: dict[str, Any] = {"session": "SessionId", "item": "ItemId", "time": "Time", "time_unit": "s"}
TINY = {"layers": [8], "n_epochs": 2, "n_sample": 16, "batch_size": 16, "device": "cpu"}
SPLIT: dict[str, Any] = {"days": 1, "min_item_support": 3, "inactivity_gap_minutes": 5}
FEED = {"popularity": {}, "markov": {"alpha": 0.2}, "sknn": {"k": 50}, "gru4rec": TINY}


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("feed") / "landing"
    write_logs(SyntheticSettings(sessions=300, items=60, days=3), folder)
    return folder


@pytest.fixture(scope="module")
def log(landing: Path) -> pd.DataFrame:
    return pd.concat([pd.read_csv(path, sep="\t") for path in sorted(landing.iterdir())])


class Split(NamedTuple):
    train: Events
    test: Events


@pytest.fixture(scope="module")
def split(log: pd.DataFrame) -> Split:
    return Split(*temporal_split(log, **SPLIT, **COLUMNS))


@pytest.fixture(scope="module")
def fitted(split: Split) -> dict[str, Model]:
    return {name: model(name, **settings).fit(split.train) for name, settings in FEED.items()}


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary folders are made; after each test there is none left."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert [path.name for path in folder.iterdir() if path.name.startswith("sessrec-")] == []


def small(**columns: Any) -> pd.DataFrame:
    """Four sessions of two events; ``columns`` stand for the frame's own."""
    own = {"session": [1, 1, 2, 2, 3, 3, 4, 4], "item": list("abacabab"), "time": range(8)}
    return pd.DataFrame({**own, **columns})


# --- the same as the graph -------------------------------------------------------------------------------------------


class Graph(NamedTuple):
    settings: Settings
    store: Store


@pytest.fixture(scope="module")
def graph(landing: Path) -> Graph:
    """The feed of the same logs, materialized by Dagster."""
    network = {name: value for name, value in TINY.items() if name != "device"}
    settings = FeedSettings(
        home=landing.parent,
        models=list(FEED),
        sessions=SessionSettings(min_item_support=3, inactivity_gap_minutes=5),
        split=SplitSettings(rule="days", days=1),
        markov=FEED["markov"],
        sknn=FEED["sknn"],
        gru4rec=network,
    )
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    with dg.DagsterInstance.ephemeral() as instance:
        outcome = materialize_all(settings, instance, up_to=["leaderboard"])
        assert outcome.success, outcome
        tuned = settings.model_copy(update={"training": TrainingSettings(tuning_trials=1)})
        assert materialize_all(tuned, instance, up_to=["tuning_test_split"]).success
    return Graph(settings, Store(settings))


def test_splits_are_those_of_the_graph(graph: Graph, split: Split) -> None:
    for name, events in zip(("train_split", "test_split"), split, strict=True):
        assert graph.store.find(name).arrow().equals(events.table)
        assert len(events) > 200
    for name, events in zip(
        ("tuning_train_split", "tuning_test_split"), temporal_split(split.train, days=1), strict=True
    ):
        assert graph.store.find(name).arrow().equals(events.table)


def test_a_split_says_what_is_wrong_with_it() -> None:
    """The rules of the pipeline's checks, in the words of the arguments."""
    users = pd.DataFrame(
        [(f"u{n}", f"i{(n + k) % 5}", 86_400 * (n + 40 * k)) for n in range(40) for k in range(4)],
        columns=["session", "item", "time"],
    )
    with pytest.warns(UserWarning) as told:
        temporal_split(users, time_unit="s")
    (sentence,) = {str(warning.message) for warning in told}
    assert sentence.startswith("96 of 128 training events (75.0 %) are not before the first test event")
    assert "; days=... ends training when the test begins, and inactivity_gap_minutes cuts" in sentence
    new = users.assign(item=[f"i{n}" for n in range(len(users))])
    with pytest.raises(ValueError, match=r"32 of 32 test events were dropped .* set keep_unseen_items=True"):
        temporal_split(new, time_unit="s")


def test_checkpoints_are_those_of_the_graph(graph: Graph, fitted: dict[str, Model], tmp_path: Path) -> None:
    for name, own in fitted.items():
        theirs = graph.store.find(f"{name}_checkpoint")
        saved = own.save(tmp_path / name)
        assert own._state.checkpoint.content_hash() == theirs.node.data_version
        assert load(theirs.path)._state.checkpoint.content_hash() == theirs.node.data_version
        assert load(theirs.path).losses == pytest.approx(own.losses)
        pd.testing.assert_frame_equal(load(theirs.path).recommend(own.items[:2]), own.recommend(own.items[:2]))
        theirs.path.write_bytes(saved.read_bytes())  # what the API saved is a checkpoint of the feed
        assert graph.store.find(f"{name}_checkpoint").checkpoint().items == own.items


def test_results_are_those_of_the_graph(graph: Graph, split: Split, fitted: dict[str, Model]) -> None:
    asked = _settings(None, (5, 10, 20), "conservative", 1000, 10_000, 0.05, None, 0.05, 42, 256)
    with _ranked(list(fitted.values()), split.test, Columns(), asked, False) as (rankings, _):
        for name, path in rankings.items():
            assert pq.read_table(path).equals(graph.store.find(f"{name}_rankings").arrow())
    board = graph.store.find("leaderboard").arrow().to_pandas()
    own = evaluate(list(fitted.values()), split.test)
    pd.testing.assert_frame_equal(own, board[own.columns])
    assert set(board.columns) - set(own.columns) >= {"rankings"}
    pairs = graph.store.find("comparisons").arrow().to_pandas()
    pd.testing.assert_frame_equal(compare(list(fitted.values()), split.test), pairs)


def test_the_environment_of_a_feed_changes_nothing(
    split: Split, log: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSREC_SESSIONS__MIN_SESSION_LENGTH", "9")
    monkeypatch.setenv("SESSREC_MARKOV__ALPHA", "1")
    monkeypatch.setenv("SESSREC_NO_SUCH_THING", "1")
    again = temporal_split(log, **SPLIT, **COLUMNS)
    assert again[0].table.equals(split.train.table)
    assert model("markov").fit(again[0]).settings.alpha == 0


# --- frames ----------------------------------------------------------------------------------------------------------


class Stream:
    """Nothing but a stream of Arrow, as polars and DuckDB have it."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)


def test_any_frame_gives_the_same_events(log: pd.DataFrame, split: Split, tmp_path: Path) -> None:
    table = pa.Table.from_pandas(log, preserve_index=False)
    views = table.set_column(1, "ItemId", table["ItemId"].cast(pa.string()).cast(pa.string_view()))
    path, folder = tmp_path / "log.parquet", tmp_path / "folder"
    folder.mkdir()
    pq.write_table(table, path)
    pq.write_table(table.slice(0, 500), folder / "a.parquet")
    pq.write_table(table.slice(500), folder / "b.parquet")
    moment = pd.to_datetime(log["Time"], unit="s")
    others: list[tuple[Any, str | None]] = [
        (table, "s"),
        (Stream(views), "s"),
        (path, "s"),
        (str(folder), "s"),
        (log.set_index(log["Time"].to_numpy()), "s"),
        (log.assign(Time=log["Time"] * 1000), "ms"),
        (log.assign(Time=log["Time"] * 1.0), "s"),
        (log.assign(Time=moment), None),
        (log.assign(Time=moment.dt.tz_localize("UTC").dt.tz_convert("Europe/Madrid")), None),
        (log.assign(Time=moment.dt.strftime("%Y-%m-%dT%H:%M:%SZ")), None),
        (log.assign(Time=moment.astype(object)), None),
        (log.assign(ItemId=log["ItemId"].astype(str), SessionId=log["SessionId"].astype("Int64")), "s"),
        (log.assign(ItemId=(" " + log["ItemId"].astype(str) + "\n").astype("category")), "s"),
        (log.assign(ItemId=log["ItemId"].astype("uint16"), SessionId=log["SessionId"].astype(object)), "s"),
    ]
    for frame, unit in others:
        train, test = temporal_split(frame, **SPLIT, **{**COLUMNS, "time_unit": unit})
        assert train.table.equals(split.train.table)
        assert test.table.equals(split.test.table)


REFUSED: list[tuple[Any, str]] = [
    (small().rename(columns={"item": "Item_ID"}), "no column 'item'.*item='Item_ID'"),
    (small().rename(columns={"session": "Invoice"}).assign(Description="x"), "no column 'session'.*session='Invoice'"),
    (small().rename(columns={"session": "Description"}), r"no column 'session'.*session='\.\.\.'"),
    (small().set_index("session"), "'session' is in the frame's index.*reset_index"),
    (pd.concat([small(), small()[["item"]]], axis=1), "2 columns called 'item'"),
    (small().iloc[:0], "no rows"),
    (small(item=[*"abc", None, *"efgh"]), "'item' has no value in row 3: drop"),
    (small(session=[1, 2, None, 4, 5, 6, 7, None]), r"'session' has no value in row 2 \(and 1 others have none\)"),
    (small(item=[1.0, 2, 3, 4.5, 5, 6, 7, 8]), "'item' holds the number 4.5 in row 3: ids are whole numbers or text"),
    (
        small(item=[1.0, 2, 2.0**53, 4, 5, 6, 7, 8]),
        "'item' holds the number 9007199254740992.0 in row 2, which has more",
    ),
    (small(item=np.array([2**24] * 8, np.float32)), "'item' holds the number 16777216.0 in row 0, which has more"),
    (small(item=[float("inf"), 2, 3, 4, 5, 6, 7, 8]), "'item' holds the number inf in row 0"),
    (small(item=[Decimal("1.5")] * 8), "'item' holds the number 1.5 in row 0"),
    (small(item=[b"\xff"] * 8), "'item' holds binary that is no UTF-8"),
    (small(item=[[1]] * 8), "'item' holds list"),
    (small(item=[*"ab", "c\x00d", *"efgh1"]), "'item' has a control character in row 2"),
    (small(item=["4.46E+07"] * 8), "'item' holds ids that have lost digits, 8 of 8"),
    (small(item=[*"ab", " ", *"defgh"]), "'item' has an empty text in row 2"),
    (small(item=[*"ab", True, *"defgh"]), r"'item' has True, but ids are whole numbers or text \(row 2\).*astype"),
    (small(time=[*range(7), "x"]), "'time' mixes values of several types.*row 7: str 'x'.*astype"),
    (small(time=["2026-01-01 10:00:00 IST"] * 8), "'time' has a time in row 0 whose zone could be several"),
    (small(time=pd.to_datetime([1_700_000_000] * 8)), "'time' holds datetimes of January 1970.*unit=\"s\""),
    (small(time=pd.to_datetime([1_700_000_000_000] * 8)), "'time' holds datetimes of January 1970.*unit=\"ms\""),
    (small(item=[True] * 8), "'item' holds bool"),
    (small(item=pd.to_datetime(range(8))), "'item' holds timestamp"),
    (small(time=[0, 1, 2, -3, 4, 5, 6, 7]), "'time' has a time before 1970 in row 3: -3"),
    (small(time=pd.to_datetime(["1969-12-31", *["2026-01-01"] * 7])), "'time' has a time before 1970 in row 0: 1969"),
    (
        small(time=[*["2026-01-01"] * 5, "soon", *["2026-01-01"] * 2]),
        "'time' has a text in row 5 that is no time: 'soo",
    ),
    (small(time=[0, 1, 2, 3, 4, float("inf"), 6, 7]), "'time' has inf in row 5"),
    (small(time=[0, 1, 2, None, 4, 5, 6, 7]), "'time' has no value in row 3"),
    (small(time=[1_700_000_000_000] * 8), "'time' has 1700000000000 in row 0, after the year 9999 if that is in s"),
    (small(time=pd.to_timedelta(range(8))), "'time' holds duration"),
    ([["a", "b"]], "list is no frame: give"),
]


@pytest.mark.parametrize(("frame", "sentence"), REFUSED)
def test_a_bad_frame_is_refused_by_column_and_row(frame: Any, sentence: str) -> None:
    with pytest.raises(FrameError, match=sentence):
        temporal_split(frame, time_unit="s")


def test_numbers_of_time_need_a_unit(tmp_path: Path) -> None:
    mixed = small(time=[1_700_000_000_000] * 5 + [1_700_000_000] * 3)
    with pytest.raises(FrameError, match=r"several units: 1700000000 in row 5 is likely \"s\", not \"ms\""):
        temporal_split(mixed, time_unit="ms")
    with pytest.raises(FrameError, match=r"'time' holds numbers \(row 0: 1700000000000\): .*likely \"ms\""):
        temporal_split(small(time=[1_700_000_000_000] * 8))
    with pytest.raises(FrameError, match='time_unit is "s", "ms", "us" or "ns", not \'h\''):
        temporal_split(small(), time_unit="h")  # type: ignore[arg-type]
    with pytest.raises(FrameError, match="three columns"):
        temporal_split(small(), item="session")
    with pytest.raises(FileNotFoundError, match=r"there is no .*nothing\.parquet"):
        temporal_split(tmp_path / "nothing.parquet")
    (tmp_path / "log.csv").write_text("session,item,time\n")
    with pytest.raises(FrameError, match="cannot be read as Parquet"):
        temporal_split(tmp_path / "log.csv")


def test_fractions_of_a_second_are_kept() -> None:
    frame = small(time=[1396860669.277, 1.5, 2, 3, 4, 5, 6, 7])
    times = read_frame(frame, Columns(time_unit="s"))["time"].to_pylist()
    assert times[:2] == [1_396_860_669_277_000, 1_500_000]
    assert text_of(np.int64(3), "x") == text_of(" 3", "x") == "3"
    assert text_of("u\u0308", "x") == "\u00fc"


def test_events_of_one_time_stay_in_the_order_of_the_frame() -> None:
    frame = small(session=[1] * 8, item=list("hgfedcba"), time=[5] * 8)
    (recommended,) = [model("markov").fit(frame, time_unit="s").recommend([item], 1).item[0] for item in "g"]
    assert recommended == "f"


# --- splits ----------------------------------------------------------------------------------------------------------


def test_what_is_split_can_be_looked_at_and_given_back(split: Split, fitted: dict[str, Model]) -> None:
    frame = split.train.to_pandas()
    assert list(frame.columns) == ["session", "item", "time"]
    assert str(frame["time"].dt.tz) == "UTC"
    assert len(frame) == len(split.train)
    assert set(split.train.items) == set(fitted["popularity"].items)
    assert split.train.sessions == list(dict.fromkeys(frame["session"]))
    assert repr(split.train).startswith(f"Events({len(frame):,} events, {len(split.train.sessions)} sessions, ")
    assert pa.table(split.train).equals(split.train.to_arrow())
    for part in split:
        again = api.events.events_of(part.to_pandas(), Columns())
        assert again.table.equals(part.table)


def test_arguments_are_those_of_the_settings() -> None:
    given = inspect.signature(temporal_split).parameters
    for name, field in SessionSettings.model_fields.items():
        assert name == "window_days" or given[name].default == field.default
    assert given["keep_unseen_items"].default == SplitSettings().keep_unseen_items
    assert inspect.signature(compare).parameters == inspect.signature(evaluate).parameters


def test_a_split_without_a_part_says_so() -> None:
    frame = small(time=range(0, 80, 10))
    train, test = temporal_split(frame, ratio=0.5, time_unit="s")
    assert (train.sessions, test.sessions) == (["1", "2"], ["3", "4"])
    with pytest.raises(ValueError, match=r"no training session is left with days=3: the 4 sessions begin within 0\.0"):
        temporal_split(frame, days=3, time_unit="s")
    with pytest.raises(ValueError, match=r"no event is left after dropping rare items: loosen .* temporal_split"):
        temporal_split(frame, min_item_support=99, time_unit="s")
    with pytest.raises(SettingsError, match=r"temporal_split: ratio = 2.*less than 1"):
        temporal_split(frame, ratio=2, time_unit="s")
    with pytest.raises(TypeError, match="days or ratio"):
        temporal_split(frame, ratio=0.5, days=1, time_unit="s")
    with pytest.raises(ValueError, match="prepared already"):
        temporal_split(train, min_item_support=2)


# --- models ----------------------------------------------------------------------------------------------------------


def test_there_is_a_class_for_every_card() -> None:
    assert set(classes()) == {class_of(name).__name__ for name in cards()}
    names = [class_of(card.name).__name__ for card in CARDS]
    assert {"Popularity", "RecentPopularity", "AR", "ItemKNN", "VSTAN", "GRU4Rec", "Oracle"} < set(names)
    for name in names:
        kind = getattr(sessrec_pipeline, name)
        assert name in dir(sessrec_pipeline)
        for field in kind.card.settings.model_fields:
            assert f"\n{field} : " in kind.__doc__
            assert field in inspect.signature(kind).parameters
        assert repr(kind()) == f"{name}()"
    assert tuple(api.__all__) == sessrec_pipeline.API
    assert {n for n in dir(sessrec_pipeline) if not n.startswith("__")} == {*sessrec_pipeline.API, *classes()}
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = sessrec_pipeline.Nothing  # type: ignore[attr-defined]


def test_the_stub_is_current() -> None:
    assert STUB.read_text(encoding="utf-8") == stub(), "run python -m sessrec_pipeline.api.stub"


def test_importing_loads_nothing_heavy() -> None:
    code = """
import sys
import sessrec_pipeline
assert not {"dagster", "torch", "pandas", "pyarrow", "numpy", "pydantic"} & set(sys.modules)
from sessrec_pipeline import GRU4Rec, evaluate
GRU4Rec(n_epochs=1)
assert not {"dagster", "torch", "numba", "assets"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "SESSREC_HOME": "/nowhere"})


def test_settings_are_checked_where_they_are_given() -> None:
    kind: Any = class_of("vstan")
    assert repr(kind(k=np.int64(3), device="cpu")) == "VSTAN(k=3, device='cpu')"
    assert kind(k=3).settings.k == 3
    assert kind.card.title == "VSTAN"
    with pytest.raises(SettingsError, match="VSTAN has no setting 'samplesize'; did you mean 'sample_size'"):
        kind(samplesize=3)
    with pytest.raises(SettingsError, match="VSTAN has no setting 'zzz'; it has k, sample_size"):
        kind(zzz=3)
    with pytest.raises(SettingsError, match=r"VSTAN: k = 0: .*greater"):
        kind(k=0)
    with pytest.raises(SettingsError, match='device is "auto", "cpu" or "cuda"'):
        kind(device="gpu")
    with pytest.raises(ModelNameError, match="no model 'vstn'"):
        model("vstn")
    with pytest.raises(TypeError, match="take a class such as VSTAN"):
        Model()


def test_models_can_be_cloned_as_scikit_learn_does_it(split: Split) -> None:
    original = model("gru4rec", **TINY)
    given = {name: copy.deepcopy(value) for name, value in original.get_params(deep=False).items()}
    clone = type(original)(**given)
    assert all(clone.get_params()[name] is value for name, value in given.items())
    assert repr(clone) == repr(original)
    markov = model("markov").fit(split.train)
    before = markov.recommend(markov.items[:1])
    with pytest.raises(SettingsError):
        markov.set_params(alpha=7)
    assert markov.set_params(alpha=0.9).settings.alpha == 0.9
    pd.testing.assert_frame_equal(markov.recommend(markov.items[:1]), before)  # until it is fitted again
    assert not markov.fit(split.train).recommend(markov.items[:1]).equals(before)
    pd.testing.assert_frame_equal(
        pickle.loads(pickle.dumps(markov)).recommend(markov.items[:1]), markov.recommend(markov.items[:1])
    )


def test_a_fit_that_fails_changes_nothing(split: Split) -> None:
    fitted = model("gru4rec", **TINY).fit(split.train)
    before = fitted.recommend(fitted.items[:1])

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted.set_params(seed=1).fit(split.train, progress=stop)
    pd.testing.assert_frame_equal(fitted.recommend(fitted.items[:1]), before)
    with pytest.raises(FrameError):
        fitted.fit(split.train.to_pandas().drop(columns="time"))


def test_progress_is_shown_or_told(split: Split, capsys: pytest.CaptureFixture[str]) -> None:
    told: list[tuple[int, int]] = []
    model("gru4rec", **TINY).fit(split.train, progress=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] > 0
    model("gru4rec", **TINY).fit(split.train)
    assert capsys.readouterr().err == ""
    model("gru4rec", **TINY).fit(split.train, progress=True)
    assert "fitting GRU4Rec" in capsys.readouterr().err


def test_torch_keeps_the_threads_of_its_user(split: Split) -> None:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        model("gru4rec", **TINY).fit(split.train).recommend(split.train.items[:1])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_gpu_that_is_missing_is_missed(fitted: dict[str, Model], split: Split) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(DeviceError, match='device="cuda", but torch sees no GPU'):
        model("gru4rec", device="cuda").fit(split.train)
    assert not model("markov", device="cuda").fit(split.train).recommend(fitted["markov"].items[:1]).empty


# --- asking ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(FEED))
def test_recommendations_are_the_best_scores(fitted: dict[str, Model], name: str) -> None:
    asked = fitted[name]
    session = asked.items[3:6]
    every = asked.recommend(session, 1000)
    assert sorted(every.item) == sorted(asked.items)
    assert every.score.is_monotonic_decreasing
    codes = [asked.items.index(item) for item in session]
    best, scores = asked.recommender("cpu").top(codes, 1000)
    assert every.item.tolist() == [asked.items[i] for i in best]
    assert every.score.tolist() == scores.tolist()
    pd.testing.assert_frame_equal(asked.recommend(tuple(session), 5), every.head(5))
    pd.testing.assert_frame_equal(asked.recommend(np.array([int(i) for i in session]), 5), every.head(5))

    only = set(every.item[2:30])
    found = asked.recommend(session, 7, exclude_seen=True, exclude={every.item[4], "unknown"}, only={*only, "unknown"})
    wanted = every[every.item.isin(only - {*session, every.item[4]})].head(7)
    assert found.item.tolist() == wanted.item.tolist()
    assert found.score.to_numpy() == pytest.approx(wanted.score.to_numpy(), rel=1e-5)
    with pytest.raises(ValueError, match="none of the items of only, such as 'unknown', is among the"):
        asked.recommend(session, 3, only=["unknown"])
    assert asked.recommend(session, 3, only=[]).empty, "nothing is in stock"
    assert list(asked.recommend(session, 3, only=[]).columns) == ["item", "score"]
    assert asked.recommend(session, 3, exclude=asked.items).empty


@pytest.mark.parametrize("name", list(FEED))
def test_many_sessions_get_what_each_one_gets(fitted: dict[str, Model], split: Split, name: str) -> None:
    asked = fitted[name]
    options: dict[str, Any] = {"k": 4, "exclude_seen": True, "exclude": asked.items[:2]}
    many = asked.recommend_many(split.test, **options)
    assert list(many.columns) == ["session", "rank", "item", "score"]
    assert many.session.unique().tolist() == split.test.sessions
    sessions = {str(s): own.tolist() for s, own in split.test.to_pandas().groupby("session", sort=False)["item"]}
    pd.testing.assert_frame_equal(asked.recommend_many(sessions, **options), many)
    pd.testing.assert_frame_equal(asked.recommend_many(split.test.to_pandas(), **options), many)
    numbered = asked.recommend_many(list(sessions.values()), **options)
    assert numbered.session.unique().tolist() == list(range(len(sessions)))
    for session in list(sessions)[:10]:
        one = asked.recommend(sessions[session], **options)
        own = many[many.session == session]
        assert own["rank"].tolist() == [1, 2, 3, 4]
        assert own.item.tolist() == one.item.tolist()
        assert own.score.to_numpy() == pytest.approx(one.score.to_numpy(), rel=1e-5)


def test_unknown_items_are_left_out_with_a_warning(fitted: dict[str, Model]) -> None:
    asked = fitted["sknn"]
    with pytest.warns(UserWarning, match="left out of the session: 'new', 'newer'") as seen:
        found = asked.recommend(["new", *asked.items[:2], "newer", "new"])
    assert len(seen) == 1
    assert seen[0].filename == __file__
    pd.testing.assert_frame_equal(found, asked.recommend(asked.items[:2]))
    with pytest.warns(UserWarning), pytest.raises(ValueError, match='fallback="popularity"'):
        asked.recommend(["new"])
    with pytest.raises(ValueError, match="session is empty"):
        asked.recommend([])
    answered = asked.recommend([], 3, fallback="popularity", exclude=asked.items[:1], only=asked.items[:3])
    assert answered.item.tolist() == asked.items[1:3]
    assert answered.score.isna().all()
    sessions = {"a": ["new"], "b": [*asked.items[:2], "new"], "c": []}
    with pytest.warns(UserWarning, match="2 events on items .* 2 of 3 sessions have no other and have no list"):
        assert asked.recommend_many(sessions, 2).session.tolist() == ["b", "b"]
    with pytest.warns(UserWarning, match="2 of 3 sessions have no other$"):
        many = asked.recommend_many(sessions, 2, fallback="popularity")
    assert many.session.tolist() == ["a", "a", "b", "b", "c", "c"]
    assert many.item[:2].tolist() == asked.items[:2]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert asked.recommend_many([]).empty


def test_questions_without_sense_are_refused(fitted: dict[str, Model]) -> None:
    asked = fitted["markov"]
    for wrong, sentence in [
        ("ab", "list of ids, not 'ab' alone"),
        (118, r"not 118 alone; write \[118\]"),
        ([1.5], "has 1.5, but ids are whole"),
    ]:
        with pytest.raises(TypeError, match=sentence):
            asked.recommend(wrong)  # type: ignore[arg-type]
    for k in (0, -1, 2.5, True):
        with pytest.raises(ValueError, match="k must be a whole number from 1 on"):
            asked.recommend(asked.items[:1], k)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="exclude must be a list"):
        asked.recommend(asked.items[:1], exclude="ab")
    with pytest.raises(ValueError, match="fallback is"):
        asked.recommend(asked.items[:1], fallback="random")  # type: ignore[arg-type]
    with pytest.raises(NotFittedError, match=r"Markov\(\) is not fitted yet: call fit"):
        model("markov").recommend(["1"])
    with pytest.raises(NotFittedError):
        evaluate([asked, model("markov")], pd.DataFrame())


def test_similar_items_where_a_model_knows_them(fitted: dict[str, Model], split: Split) -> None:
    network, item = fitted["gru4rec"], fitted["gru4rec"].items[4]
    found = network.similar_items(int(item), 3)
    vectors = network.recommender("cpu").item_vectors()
    assert vectors is not None
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit[4]
    cosines[4] = -2
    assert found.item.tolist() == [network.items[i] for i in best_of(cosines, 3)]
    assert found.score.to_numpy() == pytest.approx(np.sort(cosines)[::-1][:3], abs=1e-6)
    neighbours = model("item_knn", regularisation=0).fit(split.train).similar_items(item)
    assert item not in set(neighbours.item)
    assert neighbours.score.between(0, 1).all()  # similarities, not places
    assert neighbours.score.is_monotonic_decreasing
    with pytest.raises(NotImplementedError, match="SKNN has neither vectors nor neighbours of items"):
        fitted["sknn"].similar_items(item)
    with pytest.raises(ValueError, match="'new' is not among"):
        network.similar_items("new")


# --- evaluation ------------------------------------------------------------------------------------------------------


def test_models_are_named_apart(fitted: dict[str, Model], split: Split) -> None:
    other = model("sknn", k=5).fit(split.train)
    board = evaluate([fitted["sknn"], other, other, fitted["markov"]], split.test, k=5, permutations=1000)
    assert set(board.model) == {"sknn(k=50)", "sknn(k=5)", "sknn(k=5) #2", "markov"}
    assert {c for c in board if c.startswith("recall")} == {"recall_at_5", "recall_at_5_low", "recall_at_5_high"}
    same = board[board.model.str.startswith("sknn(k=5)")]
    assert same.recall_at_5.nunique() == 1
    named = compare({"mine": other, "the other": fitted["sknn"]}, split.test, cutoffs=[3], permutations=1000)
    assert {*named.model_a, *named.model_b} == {"mine", "the other"}
    cased = evaluate({"A": other, "a": fitted["sknn"], "model_0": other}, split.test, permutations=1000)
    assert cased.set_index("model").recall_at_20["A"] == cased.set_index("model").recall_at_20["model_0"]
    assert cased.set_index("model").recall_at_20["A"] != cased.set_index("model").recall_at_20["a"]
    alone = evaluate(other, split.test, cutoffs=[3, 7], permutations=1000)
    assert alone.model.tolist() == ["sknn"]
    assert {"ndcg_at_3", "mrr_at_7"} <= set(alone.columns)
    assert alone.p_best.isna().all()


def test_the_ceiling_does_not_compete(fitted: dict[str, Model], split: Split) -> None:
    oracle = model("oracle", sessions=300, items=60, days=3).fit(split.train)
    board = evaluate({"above": oracle, "b": fitted["sknn"], "c": fitted["markov"]}, split.test)
    assert board.model.tolist()[0] == "above"
    assert board.p_best[:2].isna().all()
    assert board.p_best[2] > 0


def test_models_of_other_catalogues_miss_what_they_do_not_know(split: Split, fitted: dict[str, Model]) -> None:
    frame = split.test.to_pandas()
    few = model("popularity").fit(split.train.to_pandas().head(30))
    lone = pd.DataFrame({"session": ["lone", "odd", "odd"], "item": ["x", "x", "y"], "time": frame.time.min()})
    test = pd.concat([lone, frame])  # a session of one event, and one of unknown items alone
    board = evaluate([few, *fitted.values()], test, permutations=1000).set_index("model")
    assert set(board.predictions) == {len(frame) - len(split.test.sessions) + 1}
    assert board.recall_at_20["popularity"] > 0
    with pytest.raises(ValueError, match="two events or more"):
        evaluate(few, lone.head(1))
    with pytest.raises(SettingsError, match="evaluate: tie_rule = 'nice'"):
        evaluate(few, test, tie_rule="nice")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="evaluate: cutoffs"):
        evaluate(few, test, k=0)
    with pytest.raises(TypeError, match="'few' is no model"):
        evaluate(["few"], test)  # type: ignore[list-item]


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(FEED))
def test_a_saved_model_is_the_same_one(fitted: dict[str, Model], tmp_path: Path, name: str) -> None:
    original = fitted[name]
    path = original.save(str(tmp_path / "new folder" / "m"))
    again = load(path, device="cpu")
    assert type(again) is type(original)
    assert again.settings == original.settings
    assert (again.items, again.losses) == (original.items, original.losses)
    pd.testing.assert_frame_equal(again.recommend(again.items[:3]), original.recommend(again.items[:3]))
    assert [p.name for p in path.parent.iterdir()] == ["m"]


def test_a_damaged_or_foreign_file_is_refused(fitted: dict[str, Model], tmp_path: Path) -> None:
    path = fitted["markov"].save(tmp_path / "m")
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match=r"is damaged.*copy it again from where it is whole, or save it again$"):
        load(path)
    for foreign in (b"", b"PK", pickle.dumps({"a": 1}), bytes(content[:200])):
        path.write_bytes(foreign)
        with pytest.raises(DamagedFileError, match=r"cannot be read.*; copy it again") as told:
            load(path)
        assert "materialize" not in str(told.value)
    for missing, sentence in ((tmp_path / "nothing", "is not there"), (tmp_path, "is a folder")):
        with pytest.raises(FileNotFoundError, match=sentence):
            load(missing)
    with pytest.raises(NotFittedError):
        model("markov").save(path)


def test_dates_of_a_saved_model_are_now(fitted: dict[str, Model], tmp_path: Path) -> None:
    from sessrec_pipeline.storage.checkpoints import read_lineage

    lineage = read_lineage(fitted["gru4rec"].save(tmp_path / "m"))
    assert lineage is not None
    assert abs(datetime.fromisoformat(lineage.node.created_at) - datetime.now(UTC)).total_seconds() < 600
    assert lineage.node.stats["title"] == "GRU4Rec"
