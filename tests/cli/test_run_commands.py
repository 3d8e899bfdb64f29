"""sessrec demo, materialize, check."""

import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import yaml
from click.testing import CliRunner
from terminal import sessrec

from sessrec_pipeline.cli import main
from sessrec_pipeline.feed import load_settings
from sessrec_pipeline.logs.synthetic import write_logs
from sessrec_pipeline.settings import SyntheticSettings
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.store import Store


def test_demo_leaves_a_report(demo: Path) -> None:
    html = (demo / "reports" / "report.html").read_text()
    assert "GRU4Rec" in html and "https://" not in html.replace("http://www.w3.org", "")


def test_demo_refuses_a_home_with_logs_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "sessrec.toml").write_text("[split]\nratio = 0.7\n")
    result = sessrec(tmp_path, "demo")
    assert result.exit_code == 2
    assert "run the demo elsewhere" in result.output


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
        assert re.search("^FAILED +metrics", result.output, re.MULTILINE)
        sentence = "Every value lies in [0, 1], inside its interval, and recall rises with K. Seen: outside="
        assert f"FAILED: metrics values_make_sense\n  {sentence}" in result.output
    finally:
        assert sessrec(demo, "restore", "metrics", metrics.node.data_version[:8]).exit_code == 0


def test_check_fits_a_terminal_and_writes_what_it_is_asked_for(demo: Path, tmp_path: Path) -> None:
    junit, markdown = tmp_path / "new" / "junit.xml", tmp_path / "summary.md"
    result = sessrec(demo, "check", "--junit", str(junit), "--markdown", str(markdown))
    assert result.exit_code in (0, 1), result.output
    table = result.stdout.split("\n\n")[0].splitlines()
    assert len(table) == 50 and max(map(len, table)) <= 100
    suite = ElementTree.parse(junit).getroot()[0]
    assert len(suite) == 48 and (suite.attrib["failures"] != "0") == (result.exit_code == 1)
    assert markdown.read_text().startswith("### sessrec check: 48 checks: ")


def test_check_says_which_file_it_cannot_write(demo: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = sessrec(demo, "check", "--junit", str(tmp_path / "file" / "junit.xml"))
    assert result.exit_code == 2 and "junit.xml cannot be written" in result.output


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
    assert "2 landed logs" in logs and "demo-2026-01-05.tsv  raw_sessions" in logs
    wrong = sessrec(tmp_path, "materialize", "sr", "markof")
    assert wrong.exit_code == 2 and "no asset 'markof' (did you mean markov?); this feed has" in wrong.output
    assert "study_" not in wrong.output, "studies have a command of their own"


def test_workflow_in_the_docs_is_one_that_runs() -> None:
    text = (Path(__file__).parents[2] / "docs" / "ci.md").read_text().split("```yaml\n")[1].split("```")[0]
    steps = yaml.safe_load(text)["jobs"]["check"]["steps"]
    commands = [step["run"].split()[1:] for step in steps if step.get("run", "").startswith("sessrec ")]
    assert [command[0] for command in commands] == ["demo", "check"]
    for command in commands:
        assert CliRunner().invoke(main, [*command, "--help"]).exit_code == 0
    check = next(command for command in commands if command[0] == "check")
    known = {option for parameter in main.commands["check"].params for option in parameter.opts}
    assert {part for part in check if part.startswith("--")} <= known


def test_check_says_what_is_older_than_its_inputs_and_is_not_red_for_it(demo: Path, tmp_path: Path) -> None:
    home = tmp_path / "shop"
    shutil.copytree(demo, home)
    before = sessrec(home, "check").exit_code
    log = sorted((home / "landing").iterdir())[0]
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:-40]))
    (home / "landing" / "cut.tsv").write_text("SessionId;ItemId;Time\n1;2;3\n")
    assert sessrec(home, "materialize", "sessions").exit_code == 1
    for restored in (False, True):
        if restored:
            store = Store(load_settings(home))
            (old,) = [v.stored.node.data_version for v in store.versions("sessions") if not v.current]
            assert sessrec(home, "restore", "sessions", old[:8]).exit_code == 0
        result = sessrec(home, "check")
        assert result.exit_code == before and "FAILED   test_split" not in result.output, result.output
        assert "out of date: " in result.output and " was made from another version of " in result.output
        assert "not ingested: cut.tsv; `sessrec materialize` says why" in result.output
        assert "dagster" not in result.output


def test_check_says_what_was_made_with_other_settings(demo: Path, tmp_path: Path) -> None:
    assert "out of date" not in sessrec(demo, "check").stdout
    home = tmp_path / "shop"
    shutil.copytree(demo, home)
    with (home / "sessrec.toml").open("a") as toml:
        toml.write("[sknn]\nk = 7\n")
    assert "out of date: made with sknn.k = 100 (now 7);" in sessrec(home, "check").stdout


def test_check_names_models_that_came_or_went_and_is_not_red_for_it(demo: Path, tmp_path: Path) -> None:
    home = tmp_path / "shop"
    shutil.copytree(demo, home)
    toml = home / "sessrec.toml"
    toml.write_text('models = ["markov", "popularity"]\n' + toml.read_text())
    result = sessrec(home, "check", "--wide")
    assert "out of date: made with ar, gru4rec, item_knn, " in result.output and "among the models;" in result.output
    assert [line for line in result.output.splitlines() if line.startswith("FAILED")] == []
