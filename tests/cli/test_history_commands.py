"""sessrec history, compare."""

import json
import shutil
from pathlib import Path

import pytest
from terminal import sessrec

from sessrec_pipeline.feed import load_settings
from sessrec_pipeline.logs.synthetic import write_logs
from sessrec_pipeline.settings import SyntheticSettings
from sessrec_pipeline.storage.store import Store

TOML = 'models = ["markov", "sr"]\n[storage]\nkeep_versions = 1\n'


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A feed of three runs: the second with another setting, the third with one log more; and how they are called."""
    home = tmp_path_factory.mktemp("history") / "shop"
    home.mkdir()
    (home / "sessrec.toml").write_text(TOML)
    write_logs(SyntheticSettings(sessions=240, items=50, days=3), load_settings(home).landing)
    late = home / "landing" / "demo-2026-01-07.tsv"
    shutil.move(late, home / late.name)
    names = []
    for step in (lambda: None, lambda: blend(home), lambda: shutil.move(home / late.name, late)):
        step()
        result = sessrec(home, "materialize", "leaderboard")
        assert result.exit_code == 0, result.output
        names.append(Store(load_settings(home)).find("metrics").node.run_id[:8])
    return home, names


def blend(home: Path) -> None:
    (home / "sessrec.toml").write_text(f"{TOML}[markov]\nalpha = 0.5\n")


def test_history_shows_every_run_and_what_changed(runs: tuple[Path, list[str]]) -> None:
    home, names = runs
    result = sessrec(home, "history", "--model", "markov")
    assert result.exit_code == 0, result.output
    table, details = result.stdout.split("\n\n")
    assert [line.split()[2] for line in table.splitlines()[2:]] == names
    assert [line.split()[-1] for line in table.splitlines()[3:]] == ["settings", "logs"]
    assert details.splitlines()[1:] == [
        f"{names[1]}: settings markov.alpha = 0.0 -> 0.5",
        f"{names[2]}: logs demo-2026-01-07.tsv came",
    ]
    assert max(map(len, result.stdout.splitlines())) <= 100
    of_sr = sessrec(home, "history", "--model", "sr", "--last", "2").stdout
    assert [line.split()[-1] for line in of_sr.split("\n\n")[0].splitlines()[2:]] == ["nothing", "logs"]


def test_history_has_the_figures_that_were_published(runs: tuple[Path, list[str]]) -> None:
    home, names = runs
    rows = [json.loads(line) for line in sessrec(home, "history", "--json").stdout.splitlines()]
    assert [(row["run"][:8], row["model"]) for row in rows] == [
        (name, model) for name in names for model in ("markov", "popularity", "sr")
    ]
    with Store(load_settings(home)).warehouse.connect() as connection:
        of_last = dict(
            connection.execute(
                "SELECT model, value FROM metrics WHERE metric = 'recall' AND k = 20 AND tie_rule = 'conservative'"
            ).fetchall()
        )
        [(evaluations,)] = connection.execute("SELECT COUNT(DISTINCT evaluation) FROM history").fetchall()
    assert evaluations == 3
    assert {row["model"]: row["recall_at_20"]["value"] for row in rows[-3:]} == of_last


def test_the_metric_that_decides_comes_first(runs: tuple[Path, list[str]], tmp_path: Path) -> None:
    home = shutil.copytree(runs[0], tmp_path / "shop")
    (home / "sessrec.toml").write_text(f'{TOML}[evaluation]\nprimary = "mrr@5"\n')
    table = sessrec(home, "history").stdout
    assert table.split()[5:7] == ["MRR@5", "R@20"]
    rows = [json.loads(line) for line in sessrec(home, "history", "--last", "1", "--json").stdout.splitlines()]
    best = max(rows, key=lambda row: float(row["mrr_at_5"]["value"]))
    assert f"{best['model']} " in table and f"{best['mrr_at_5']['value']:.4f} [" in table


def test_history_of_too_few_sessions_for_an_interval(tmp_path: Path) -> None:
    (tmp_path / "shop/landing").mkdir(parents=True)
    rows = [f"{s}\t{i}\t{1_700_000_000 + 40_000 * s + i}\n" for s in range(8) for i in range(3)]
    (tmp_path / "shop/landing/log.tsv").write_text("SessionId\tItemId\tTime\n" + "".join(rows))
    (tmp_path / "shop/sessrec.toml").write_text('models = ["markov"]\n')
    assert sessrec(tmp_path / "shop", "materialize", "metrics").exit_code == 0
    result = sessrec(tmp_path / "shop", "history")
    assert result.exit_code == 0 and "[" not in result.stdout


def test_history_outlives_the_warehouse(runs: tuple[Path, list[str]]) -> None:
    home, _ = runs
    settings, sql = load_settings(home), "FROM history ORDER BY ALL"
    with Store(settings).warehouse.connect() as connection:
        before = connection.execute(sql).fetchall()
    settings.warehouse.unlink()
    assert sessrec(home, "rebuild-catalog").exit_code == 0
    with Store(settings).warehouse.connect() as connection:
        assert connection.execute(sql).fetchall() == before
    assert len(before) == 3 * 3 * 3 * 3 * 5, "runs, models, cutoffs, tie rules, metrics"


def test_compare_tests_the_sessions_that_both_runs_ranked(runs: tuple[Path, list[str]]) -> None:
    home, names = runs
    result = sessrec(home, "compare", names[0], names[1])
    assert result.exit_code == 0, result.output
    assert f"before:  run {names[0]}" in result.stdout and "markov.alpha = 0.0 -> 0.5" in result.stdout
    assert "the same rankings in both: popularity, sr" in result.stdout
    rows = [json.loads(line) for line in sessrec(home, "compare", names[0], names[1], "--json").stdout.splitlines()]
    assert [(row["model"], row["metric"]) for row in rows] == [("markov", "recall"), ("markov", "mrr")]
    figures = [json.loads(line) for line in sessrec(home, "history", "--json", "--model", "markov").stdout.splitlines()]
    for row, name in zip(rows, ("recall_at_20", "mrr_at_20"), strict=True):
        assert row["sessions"] == figures[0]["sessions"] >= 10
        assert [row["before"], row["now"]] == pytest.approx([figure[name]["value"] for figure in figures[:2]])
        assert row["low"] <= row["now"] - row["before"] <= row["high"] and 0 < row["p"] <= 1


def test_compare_takes_versions_of_rankings_that_the_lake_has_lost(runs: tuple[Path, list[str]]) -> None:
    home, names = runs
    store = Store(load_settings(home))
    versions = [lineage.node.data_version for lineage in store.history.lineages("markov_rankings")]
    assert len(versions) == 3 and len(store.versions("markov_rankings")) < 3
    last = store.find("markov_rankings").node.data_version
    by_run = sessrec(home, "compare", names[0], names[2], "--model", "markov", "--json").stdout
    older = [sessrec(home, "compare", v[:8], last[:8], "--model", "markov", "--json").stdout for v in versions]
    assert by_run in older


def test_compare_says_what_is_gone_or_unknown(runs: tuple[Path, list[str]], tmp_path: Path) -> None:
    home, names = runs
    other = tmp_path / "shop"
    shutil.copytree(home, other)
    kept = {version.stored.node.data_version for version in Store(load_settings(other)).versions("markov_rankings")}
    ranks = list((other / "history" / "ranks" / "markov_rankings").iterdir())
    [path] = [path for path in ranks if path.stem not in kept]
    path.unlink()
    gone = sessrec(other, "compare", names[0], names[2])
    assert gone.exit_code == 0 and "ranks are gone ([storage] keep_ranks = 30): markov" in gone.stdout
    assert "no run begins with 'zzz'; the last ones are" in sessrec(home, "compare", "zzz").output
    wrong = sessrec(home, "compare", "--model", "makov")
    assert wrong.exit_code == 2 and "not in both runs: makov (did you mean markov?)" in wrong.output


def test_a_run_that_changes_nothing_is_no_new_entry(runs: tuple[Path, list[str]]) -> None:
    home, names = runs
    before = sessrec(home, "history").stdout
    assert sessrec(home, "materialize", "leaderboard").exit_code == 0
    assert sessrec(home, "history").stdout == before and names[2] in before


def test_a_home_from_before_there_was_a_history_has_one_from_now_on(
    runs: tuple[Path, list[str]], tmp_path: Path
) -> None:
    other = tmp_path / "shop"
    shutil.copytree(runs[0], other)
    shutil.rmtree(other / "history")
    none = sessrec(other, "history")
    assert none.exit_code == 2 and "no run is remembered yet" in none.output
    assert sessrec(other, "materialize", "leaderboard").exit_code == 0
    assert runs[1][2] in sessrec(other, "history").stdout
