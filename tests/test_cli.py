"""The command line, as people and CI jobs use it."""

import shutil
from pathlib import Path
from xml.etree import ElementTree

import duckdb
import pytest
import yaml
from click.testing import CliRunner, Result

from sessrec_pipeline.cli import main
from sessrec_pipeline.logs.synthetic import write_logs
from sessrec_pipeline.settings import MODELS, SyntheticSettings, load_settings
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.store import Store

TOML = """
[synthetic]
sessions = 200
items = 60
days = 2
[gru4rec]
layers = [16]
n_epochs = 2
n_sample = 32
batch_size = 16
"""


def sessrec(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--home", str(home), *arguments])


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("cli") / "demo"
    home.mkdir()
    (home / "sessrec.toml").write_text(TOML)
    result = sessrec(home, "demo")
    assert result.exit_code == 0, result.output
    assert "oracle" in result.output and "gru4rec" in result.output
    assert "vs best" in result.output and "paired test of R@20" in result.output
    assert result.output.count("differs p=") + result.output.count("level p=") == 2 * (len(MODELS) - 1), (
        "of all but the best and the last"
    )
    assert f"Report: {home / 'reports' / 'report.html'}" in result.output
    return home


def test_demo_leaves_a_report(demo: Path) -> None:
    html = (demo / "reports" / "report.html").read_text()
    assert "GRU4Rec" in html and "https://" not in html.replace("http://www.w3.org", "")


def test_demo_refuses_a_home_with_logs_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "sessrec.toml").write_text("[split]\nratio = 0.7\n")
    result = sessrec(tmp_path, "demo")
    assert result.exit_code == 2
    assert "run the demo elsewhere" in result.output


def test_lineage_tells_logs_settings_and_code_of_every_model(demo: Path) -> None:
    result = sessrec(demo, "lineage", "metrics")
    assert result.exit_code == 0, result.output
    for part in ("rows of gru4rec", "rows of oracle", "train_split", "demo-2026-01-05.tsv", "2 landed logs"):
        assert part in result.output
    assert sessrec(demo, "lineage", "nothing").exit_code == 2


@pytest.mark.parametrize("model", ["gru4rec", "markov", "popularity", "oracle"])
def test_recommend_lists_items_of_the_catalogue(demo: Path, model: str) -> None:
    store = Store(load_settings(demo))
    catalogue = store.find("popularity").arrow()["item"].to_pylist()
    result = sessrec(
        demo, "recommend", "--items", f"{catalogue[3]}, nonsense,{catalogue[7]}", "-k", "5", "--model", model
    )
    assert result.exit_code == 0, result.output
    assert "left out: nonsense" in result.output
    rows = [line.split() for line in result.output.splitlines() if line[:1].isdigit()]
    assert [row[0] for row in rows] == ["1", "2", "3", "4", "5"]
    assert {row[1] for row in rows} <= set(catalogue)


def test_the_best_model_answers_where_none_is_named(demo: Path) -> None:
    board = Store(load_settings(demo)).find("leaderboard").arrow()["model"].to_pylist()
    best = next(model for model in board if model != "oracle")
    assert f"by {best}, the best on the leaderboard" in sessrec(demo, "recommend", "--items", "1,2,3,4,5").output


def test_recommend_says_what_is_wrong(demo: Path) -> None:
    assert "no model 'bert'" in sessrec(demo, "recommend", "--items", "1", "--model", "bert").output
    unknown = sessrec(demo, "recommend", "--items", "nonsense")
    assert unknown.exit_code == 2 and "none of the items is in the catalogue" in unknown.output


def test_rebuild_catalog_brings_the_answers_back(demo: Path) -> None:
    before = sessrec(demo, "lineage", "metrics", "--all").output
    load_settings(demo).warehouse.unlink()
    result = sessrec(demo, "rebuild-catalog")
    assert result.exit_code == 0 and "artefacts entered" in result.output
    assert sessrec(demo, "lineage", "metrics", "--all").output == before


def test_spoilt_files_end_in_a_sentence(demo: Path) -> None:
    settings = load_settings(demo)
    warehouse, popularity = settings.warehouse.read_bytes(), Store(settings).find("popularity").path
    rows = popularity.read_bytes()
    settings.warehouse.write_bytes(b"not a database" * 1000)
    popularity.write_bytes(rows[:40] + bytes([rows[40] ^ 1]) + rows[41:])
    try:
        result = sessrec(demo, "lineage", "metrics")
        assert result.exit_code == 2 and "rebuild-catalog" in result.output
        result = sessrec(demo, "recommend", "--items", "1", "--model", "popularity")
        assert result.exit_code == 2 and "materialize popularity again" in result.output
    finally:
        settings.warehouse.write_bytes(warehouse)
        popularity.write_bytes(rows)
    assert sessrec(demo, "lineage", "metrics").exit_code == 0


def test_versions_are_listed_and_restored(demo: Path) -> None:
    store = Store(load_settings(demo))
    first = store.find("leaderboard")
    try:
        table = first.arrow().slice(1)
        second = store.publish("leaderboard", Table(table), code_version="7", run_id="by hand and longer")
        lines = sessrec(demo, "versions", "leaderboard").output.splitlines()
        assert lines[0].split() == ["asset", "version", "when", "code", "rows", "bytes", "run"]
        newer, older = (line.split() for line in lines[2:])
        assert newer[:2] == ["leaderboard", second.node.data_version[:12]] and newer[-1] == "current"
        assert newer[3:5] == ["7", f"{second.node.rows}"] and "by hand" in lines[2]
        assert older[1] == first.node.data_version[:12] and "current" not in older
        sql = sessrec(demo, "versions", "leaderboard", "--sql").output
        assert duckdb.sql(f"SELECT COUNT(*) FROM {sql}").fetchall() == [(second.node.rows,)]

        unknown = sessrec(demo, "restore", "leaderboard", "nonsense")
        assert unknown.exit_code == 2 and first.node.data_version[:12] in unknown.output
    finally:
        result = sessrec(demo, "restore", "leaderboard", first.node.data_version[:12])
    assert result.exit_code == 0 and str(first.path) in result.output
    assert store.find("leaderboard") == first


def test_versions_of_partitions_and_of_everything(demo: Path) -> None:
    store = Store(load_settings(demo))
    logs = store.partitions("raw_sessions")
    sql = sessrec(demo, "versions", "raw_sessions", "--sql").output
    count = sum(stored.node.rows or 0 for stored in logs.values())
    assert duckdb.sql(f"SELECT COUNT(*) FROM {sql}").fetchall() == [(count,)]
    one = sessrec(demo, "versions", "raw_sessions", "--partition", "demo-2026-01-05.tsv").output.splitlines()
    assert len(one) == 3 and one[2].startswith("raw_sessions[demo-2026-01-05.tsv]  ")
    everything = sessrec(demo, "versions").output
    assert "gru4rec_checkpoint" in everything and "raw_sessions[demo-2026-01-06.tsv]" in everything
    for arguments in (["nothing"], ["raw_sessions", "--partition", "x"], ["report"], ["--sql"]):
        result = sessrec(demo, "versions", *arguments)
        assert result.exit_code == 2 and len(result.output.splitlines()) == 1, result.output


def test_check_exits_1_when_a_check_of_severity_error_fails(demo: Path) -> None:
    store = Store(load_settings(demo))
    metrics = store.find("metrics")
    parents = [store.find(f"{m}_rankings").lineage for m in ("gru4rec", "markov", "oracle", "popularity")]
    table = metrics.arrow()
    too_high = table.set_column(table.schema.get_field_index("value"), "value", [[7.0] * table.num_rows])
    try:
        store.publish("metrics", Table(too_high), parents=parents)
        result = sessrec(demo, "check")
        assert result.exit_code == 1
        assert "FAILED  metrics" in result.output
        sentence = "Every value lies in [0, 1], inside its interval, and recall rises with K. Seen: outside="
        assert f"FAILED: metrics values_make_sense\n  {sentence}" in result.output
    finally:
        assert sessrec(demo, "restore", "metrics", metrics.node.data_version[:8]).exit_code == 0


def test_check_fits_a_terminal_and_writes_what_it_is_asked_for(demo: Path, tmp_path: Path) -> None:
    junit, markdown = tmp_path / "new" / "junit.xml", tmp_path / "summary.md"
    result = sessrec(demo, "check", "--junit", str(junit), "--markdown", str(markdown))
    assert result.exit_code in (0, 1), result.output
    table = result.stdout.split("\n\n")[0].splitlines()
    assert len(table) == 30 and max(map(len, table)) <= 120
    suite = ElementTree.parse(junit).getroot()[0]
    assert len(suite) == 28 and (suite.attrib["failures"] != "0") == (result.exit_code == 1)
    assert markdown.read_text().startswith("### sessrec check: 28 checks: ")


def test_check_says_which_file_it_cannot_write(demo: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = sessrec(demo, "check", "--junit", str(tmp_path / "file" / "junit.xml"))
    assert result.exit_code == 2 and "junit.xml cannot be written" in result.output


def test_studies_print_tables_and_findings(demo: Path, tmp_path: Path) -> None:
    summary = tmp_path / "new" / "studies.md"
    result = sessrec(demo, "studies", "markov_alpha", "session_length", "--markdown", str(summary))
    assert result.exit_code == 0, result.output
    settings = load_settings(demo)
    store = Store(settings)
    for name in ("markov_alpha", "session_length"):
        stored = store.find(f"study_{name}")
        assert str(stored.stats["finding"]) in result.stdout and str(stored.stats["finding"]) in summary.read_text()
    with store.warehouse.connect() as connection:
        rows = connection.execute(
            "SELECT model, value FROM study_markov_alpha WHERE x = 1 AND metric = 'mrr'"
        ).fetchall()
    assert rows[0][1] == rows[1][1] and {row[0] for row in rows} == {"markov", "popularity"}
    page = store.find("studies_report")
    assert {n.asset for n in page.lineage.ancestors} >= {"study_markov_alpha", "study_session_length", "landing"}
    html = page.path.read_text()
    assert html.count("<section") == 2 and "sessrec studies null_feed" in html
    assert not list(settings.scratch.iterdir())
    assert "everything is up to date" in sessrec(demo, "materialize").output, "studies are no part of a rebuild"


def test_studies_say_what_is_wrong(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = sessrec(demo, "studies", "alchemy")
    assert unknown.exit_code == 2 and "no study 'alchemy'; there are sampled_negatives" in unknown.output
    monkeypatch.setenv("SESSREC_STUDIES__MODELS", '["bert"]')
    strange = sessrec(demo, "studies", "train_ratio")
    assert strange.exit_code == 2 and "[studies] models names 'bert'; this feed has" in strange.output


@pytest.mark.parametrize(
    "command", [["check"], ["studies"], ["lineage", "metrics"], ["recommend", "--items", "1"], ["versions"]]
)
def test_a_mistyped_home_is_told_and_not_made(tmp_path: Path, command: list[str]) -> None:
    result = sessrec(tmp_path / "typo", *command)
    assert result.exit_code == 2 and "nothing is materialized in" in result.output
    assert not (tmp_path / "typo").exists()


def test_materialize_names_the_logs_that_were_not_taken_last(demo: Path, tmp_path: Path) -> None:
    home = tmp_path / "shop"
    shutil.copytree(demo, home)
    (home / "landing" / "cut.tsv").write_text("SessionId;ItemId;Time\n1;2;3\n")
    result = sessrec(home, "materialize")
    assert result.exit_code == 1
    last = result.output.strip().splitlines()[-1]
    assert last.startswith("not taken: cut.tsv") and "delimiter" in last


def test_materialize_without_logs_says_where_to_put_them(tmp_path: Path) -> None:
    result = sessrec(tmp_path, "materialize")
    assert result.exit_code == 2
    assert str(tmp_path / "landing") in result.output


def test_materialize_runs_a_feed_of_ones_own_and_makes_nothing_again(tmp_path: Path) -> None:
    (tmp_path / "sessrec.toml").write_text('models = ["markov"]\n')
    write_logs(SyntheticSettings(sessions=200, items=60, days=2), load_settings(tmp_path).landing)
    result = sessrec(tmp_path, "materialize")
    assert result.exit_code == 0, result.output
    assert "oracle" not in result.output and "markov" in result.output
    report = tmp_path / "reports" / "report.html"
    before = report.stat().st_mtime_ns
    result = sessrec(tmp_path, "materialize")
    assert result.exit_code == 0 and "everything is up to date" in result.output
    assert report.stat().st_mtime_ns == before
    assert "made sessions" in sessrec(tmp_path, "materialize", "--all", "sessions").output


def test_materialize_makes_the_assets_that_are_named_and_what_they_rest_on(tmp_path: Path) -> None:
    (tmp_path / "sessrec.toml").write_text('models = ["markov", "sr"]\n')
    write_logs(SyntheticSettings(sessions=200, items=60, days=2), load_settings(tmp_path).landing)
    result = sessrec(tmp_path, "materialize", "markov", "test_split")
    assert result.exit_code == 0, result.output
    made = {line.split(" made ")[1].split(":")[0] for line in result.output.splitlines() if " made " in line}
    assert {name for name in made if "[" not in name} == {"sessions", "train_split", "test_split", "markov"}
    logs = sessrec(tmp_path, "lineage", "raw_sessions").output
    assert logs.count("1 landed logs") == 2 and "raw_sessions[demo-2026-01-05.tsv]" in logs
    wrong = sessrec(tmp_path, "materialize", "sr", "markof")
    assert wrong.exit_code == 2 and "no asset 'markof' (did you mean markov?); this feed has" in wrong.output
    assert "study_" not in wrong.output, "studies have a command of their own"


def test_bad_settings_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "sessrec.toml").write_text("[split]\nrulle = 'days'\n")
    result = sessrec(tmp_path, "check")
    assert result.exit_code == 2
    assert "split.rulle" in result.output and "Traceback" not in result.output


def test_workflow_in_the_docs_is_one_that_runs() -> None:
    text = (Path(__file__).parents[1] / "docs" / "ci.md").read_text().split("```yaml\n")[1].split("```")[0]
    steps = yaml.safe_load(text)["jobs"]["check"]["steps"]
    commands = [step["run"].split()[1:] for step in steps if step.get("run", "").startswith("sessrec ")]
    assert [command[0] for command in commands] == ["demo", "check"]
    for command in commands:
        assert CliRunner().invoke(main, [*command, "--help"]).exit_code == 0
    check = next(command for command in commands if command[0] == "check")
    known = {option for parameter in main.commands["check"].params for option in parameter.opts}
    assert {part for part in check if part.startswith("--")} <= known
