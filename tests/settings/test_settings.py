import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sessrec_pipeline.feed import FeedSettings, load_settings
from sessrec_pipeline.settings import LogSettings, RowRule, SettingsError, SplitSettings, default_home, log_presets
from sessrec_pipeline.settings.base import in_words


def home_with(folder: Path, toml: str | bytes) -> Path:
    (folder / "sessrec.toml").write_bytes(toml.encode() if isinstance(toml, str) else toml)
    return folder


def refusal(home: Path) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(home)
    return str(caught.value)


def test_defaults_are_the_format_of_the_study(tmp_path: Path) -> None:
    settings = load_settings(tmp_path)
    logs, split = settings.logs, settings.split
    assert (logs.format, logs.separator, logs.session, logs.item, logs.time) == (
        "tsv",
        "\t",
        "SessionId",
        "ItemId",
        "Time",
    )
    assert (logs.time_unit, logs.columns, logs.keep, logs.session_scope) == ("s", None, [], "feed")
    assert (settings.sessions.min_session_length, settings.sessions.min_item_support) == (2, 1)
    assert (split.rule, split.ratio, split.keep_unseen_items) == ("ratio", 0.8, False)
    assert settings.evaluation.cutoffs == [5, 10, 20]
    assert settings.synthetic is None
    assert settings.landing == tmp_path / "landing"


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ('[logs]\nformt = "csv"', "logs.formt"),
        ("[splt]\ndays = 2", "splt"),
        ('[logs]\nformat = "xml"', "logs.format"),
        ("[split]\nratio = 1", "split.ratio"),
        ("[sessions]\nmin_session_length = 0", "sessions.min_session_length"),
        ('memory_limit = "much"', "memory_limit"),
        ("models = ['vsknn', 'vsan']", "models: there is no model 'vsan', but popularity, "),
        ("models = ['vsan']", "; did you mean 'vstan'?"),
        ("models = ['oracle']", "models: there is no model 'oracle'"),
        ('[engine]\nkind = "flink"', "engine.kind"),
        ('[engine]\nkind = "spark"', 'kind = "spark" needs url = "sc://host:port"'),
        ('[engine]\nkind = "spark"\nurl = "spark://host:7077"', "engine.url"),
        ('[engine]\nkind = "spark"\nurl = "sc://host:port"', "engine.url"),
        ('[engine]\nkind = "spark"\nurl = "sc://host:1/path"', "engine.url"),
        ('[engine]\nkind = "spark"\nurl = "sc://host"\nlake = "near"', "near must be an absolute path"),
        ('[engine]\nkind = "spark"\nurl = "sc://host"\nlake = "/a{b}"', "which Spark takes for a pattern"),
        ('[engine]\nurl = "sc://host"', 'url is for kind = "spark"'),
        ('[engine]\nlake = "/shared"', 'lake is for kind = "spark"'),
        ("[[logs.keep]]\ncolumn = 'a'", "exactly one of one_of, not_one_of, not_prefix, minimum"),
        (
            "[[logs.keep]]\ncolumn = 'a'\nminimum = 1\nnot_prefix = 'C'",
            "exactly one of one_of, not_one_of, not_prefix, minimum",
        ),
        ('[split]\nrule = "given"', "needs either column or test_logs"),
        ("[split]\nrule = 'given'\ncolumn = 'x'\ntest_logs = ['a.tsv']", "needs either column or test_logs"),
        ('[split]\nrule = "given"\ncolumn = "part"', "must also stand in [logs] extra_columns"),
    ],
)
def test_unusable_field_is_refused_by_file_and_name(tmp_path: Path, toml: str, words: str) -> None:
    text = refusal(home_with(tmp_path, toml))
    assert str(tmp_path / "sessrec.toml") in text
    assert words in text


@pytest.mark.parametrize("name", ["time", "Time", "LOG", "line", "session", "item", "reason"])
def test_extra_column_named_like_one_of_ours_is_refused(tmp_path: Path, name: str) -> None:
    assert "is a column of our own" in refusal(home_with(tmp_path, f"[logs]\nextra_columns = ['{name}']"))


def test_extra_columns_that_differ_in_capitals_alone_are_refused(tmp_path: Path) -> None:
    assert "'price' stands twice" in refusal(home_with(tmp_path, "[logs]\nextra_columns = ['Price', 'price']"))


@pytest.mark.parametrize("toml", ["[split\ndays = 1", b'[split]\ncolumn = "\xff"'])
def test_text_that_is_not_toml_is_refused(tmp_path: Path, toml: str | bytes) -> None:
    assert f"{tmp_path / 'sessrec.toml'} is not valid TOML" in refusal(home_with(tmp_path, toml))


def test_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    assert load_settings(home_with(tmp_path, b"\xef\xbb\xbf[split]\r\nratio = 0.7\r\n")).split.ratio == 0.7


def test_environment_outranks_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = home_with(tmp_path, "[split]\nrule = 'days'\ndays = 3")
    assert load_settings(home).split.days == 3
    monkeypatch.setenv("SESSREC_SPLIT__DAYS", "7")
    split = load_settings(home).split
    assert (split.rule, split.days) == ("days", 7)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("SESSREC_SPLIT__DYAS", "2", "split.dyas"),
        ("SESSREC_SPLIT__DAYS", "two", "split.days"),
        ("SESSREC_LOGS__KEEP", "no json", "a SESSREC_* variable cannot be used"),
    ],
)
def test_unusable_variable_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    text = refusal(tmp_path)
    assert words in text
    assert "TOML" not in text


def test_file_cannot_move_the_home(tmp_path: Path) -> None:
    assert load_settings(home_with(tmp_path, 'home = "/elsewhere"')).home == tmp_path


@pytest.mark.parametrize("name", ["st*r", "what?", "we[ir]d"])
def test_home_that_duckdb_takes_for_a_pattern_is_refused(tmp_path: Path, name: str) -> None:
    assert "takes for a pattern" in refusal(tmp_path / name)


@pytest.mark.parametrize(
    ("files", "home"),
    [
        ([], "data/demo"),
        (["landing/.gitkeep", "README.md"], "data/demo"),
        (["demo/sessrec.toml"], "data/demo"),
        (["sessrec.toml"], "data"),
        (["landing/monday.tsv"], "data"),
    ],
)
def test_default_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: list[str], home: str) -> None:
    monkeypatch.chdir(tmp_path)
    for name in files:
        path = Path("data") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert default_home() == Path(home)
    assert load_settings().home == tmp_path / home
    monkeypatch.setenv("SESSREC_HOME", str(tmp_path / "shop"))
    assert default_home() == tmp_path / "shop"


@pytest.mark.parametrize("url", ["sc://host", "sc://10.0.0.1:15002", "sc://[::1]:1/;use_ssl=true;token=a.b-c="])
def test_urls_of_spark_connect(feed: Callable[..., FeedSettings], url: str) -> None:
    assert feed(engine={"kind": "spark", "url": url}).engine.url == url


def test_tuning_split_follows_the_split_unless_told_otherwise(feed: Callable[..., FeedSettings]) -> None:
    assert feed(split={"rule": "days", "days": 3}).split.tuning.rule == "days"
    assert feed(split={"rule": "given", "test_logs": ["a"]}).split.tuning.rule == "ratio"
    tuning = feed(split={"rule": "ratio", "tuning_rule": "days", "days": 3}).split.tuning
    assert (tuning.rule, tuning.days) == ("days", 3)


def test_row_rules_name_what_they_leave_out() -> None:
    given: list[dict[str, Any]] = [{"one_of": ["x"]}, {"not_one_of": ["x"]}, {"not_prefix": "C"}, {"minimum": 0}]
    reasons = [RowRule.model_validate({"column": "a", **rule}).reason for rule in given]
    assert reasons == ["a_not_in_list", "a_in_list", "a_has_prefix", "a_below_minimum"]


def test_separator_follows_format_unless_named() -> None:
    assert LogSettings(format="csv").separator == ","
    assert LogSettings(format="csv", delimiter=";").separator == ";"


def test_preset_stands_for_what_is_not_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = home_with(tmp_path, '[logs]\npreset = "rees46"\nitem = "category_id"\n')
    logs = load_settings(home).logs
    assert (logs.preset, logs.format, logs.session, logs.item) == ("rees46", "csv", "user_session", "category_id")
    assert [rule.column for rule in logs.keep] == ["event_type"]
    monkeypatch.setenv("SESSREC_LOGS__KEEP", "[]")
    assert load_settings(home).logs.keep == []
    monkeypatch.setenv("SESSREC_LOGS__PRESET", "study")
    assert load_settings(home).logs.session == "SessionId"


@pytest.mark.parametrize("name", log_presets())
def test_presets_are_settings_and_name_their_source(name: str) -> None:
    assert log_presets()[name]["source"]
    logs = LogSettings(preset=name)
    assert LogSettings.model_validate(logs.model_dump()) == logs
    if name == "study":
        assert logs.model_copy(update={"preset": None}) == LogSettings()


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ('preset = "yoochose"', "no preset 'yoochose'; there are study, yoochoose, diginetica"),
        ("preset = 7", "logs.preset"),
        ('events = "events"', 'events is for format = "jsonl" alone'),
        ('preset = "yoochoose"\nformat = "jsonl"', "columns is for tsv and csv, not for jsonl"),
        ('format = "parquet"\ndelimiter = ";"', "delimiter is for tsv and csv, not for parquet"),
        ("delimiter = '\"'", "cannot part fields"),
        ('delimiter = "\\n"', "cannot part fields"),
        ('delimiter = "||"', "logs.delimiter"),
        ("earliest_year = 1900", "logs.earliest_year"),
    ],
)
def test_logs_that_contradict_themselves_are_refused(tmp_path: Path, toml: str, words: str) -> None:
    assert words in refusal(home_with(tmp_path, f"[logs]\n{toml}"))


def test_needed_columns_stand_once() -> None:
    rules = [RowRule(column="k", one_of=["x"]), RowRule(column="i", not_prefix="C")]
    logs = LogSettings(session="s", item="i", time="t", time_offset="o", extra_columns=["k", "x"], keep=rules)
    assert logs.needed_columns == ("s", "i", "t", "o", "k", "x")


def test_cutoffs_beyond_the_kept_items_are_refused(tmp_path: Path) -> None:
    text = refusal(home_with(tmp_path, "[evaluation]\ncutoffs = [10, 50]\n"))
    assert "evaluation: cutoffs go up to 50, but only top_items = 20" in text and "set top_items = 50" in text
    home = home_with(tmp_path, "[evaluation]\ncutoffs = [10, 50]\ntop_items = 50\n")
    assert load_settings(home).evaluation.cutoffs == [10, 50]


def test_windows_in_days_need_a_clock(tmp_path: Path) -> None:
    order = '[logs]\ntime_unit = "order"\n'
    text = refusal(home_with(tmp_path, f"{order}[studies]\nwindow_test_days = 2\n"))
    assert 'time_unit = "order" knows no minutes and days, which studies.window_test_days counts' in text
    assert load_settings(home_with(tmp_path, f"{order}[studies]\nwindows = 3\n")).studies.windows == 3


@pytest.mark.parametrize(
    ("logs", "sentence"),
    [
        ({"time_zone": "Europe/Berln", "time_unit": "iso8601"}, "did you mean 'Europe/Berlin'"),
        ({"time_zone": "berlin", "time_unit": "iso8601"}, "did you mean 'Europe/Berlin'"),
        ({"time_zone": "new york", "time_unit": "iso8601"}, "did you mean 'America/New_York'"),
        ({"time_zone": "xyz", "time_unit": "iso8601"}, "give the name of a place, such as Europe/Berlin"),
        ({"time_zone": "Europe/Berlin"}, 'time_unit is "s": numbers count from 1970'),
        ({"time_format": "%d/%m/%Y", "time_unit": "ms"}, "leave time_unit away"),
        ({"time_format": "%d/%m %H:%M"}, "must say year, month and day"),
        ({"time_format": "%d/%m/%Y %Q"}, "%Q is not read"),
        ({"time_format": "%d/%m/%Y %"}, "% is not read"),
        ({"time_format": "%d/%m/%Y %H:%M %Z"}, "write UTC as it stands, others as time_zone"),
        ({"time_format": "%d/%m/%Y %I:%M"}, "goes with %p"),
    ],
)
def test_zones_and_formats_that_cannot_be_used(logs: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(sentence)):
        LogSettings.model_validate(logs)


def test_a_format_stands_for_the_unit_of_a_preset() -> None:
    logs = LogSettings(preset="online_retail", time_format="%m/%d/%Y %H:%M")
    assert (logs.time_format, logs.time_unit, logs.item) == ("%m/%d/%Y %H:%M", "s", "StockCode")
    assert LogSettings(preset="online_retail", time_zone="Europe/London").time_unit == "iso8601"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"ratio": 2}, "must be less than 1"),
        ({"ratio": "x"}, "must be a number"),
        ({"rule": "x"}, "must be 'ratio', 'days' or 'given'"),
        ({"keep_unseen_items": 3}, "must be true or false"),
        ({"test_logs": 3}, "must be a list"),
    ],
)
def test_what_is_wrong_is_said_in_words_of_ours(values: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        SplitSettings.model_validate(values)
    assert in_words(caught.value.errors()[0]) == words
