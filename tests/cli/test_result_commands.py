"""sessrec lineage."""

from pathlib import Path

from terminal import sessrec

from sessrec_pipeline.evaluation.recommendation import recommended_by
from sessrec_pipeline.feed import load_settings
from sessrec_pipeline.storage.store import Store


def test_lineage_tells_logs_settings_and_code_of_every_model(demo: Path) -> None:
    result = sessrec(demo, "lineage", "metrics")
    assert result.exit_code == 0, result.output
    rows = [line.split()[:2] for line in result.stdout.split("\n\n")[0].splitlines()[2:]]
    assert ["all", "train_split"] in rows and ["gru4rec", "gru4rec_checkpoint"] in rows
    assert len({tuple(row) for row in rows}) == len({row[1] for row in rows}) == len(rows), "each step once"
    assert result.stdout.count("demo-2026-01-05.tsv") == 1 and "2 landed logs" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 100 and "--wide shows all" in result.stderr


def test_lineage_prints_settings_whole(demo: Path) -> None:
    assert "gru4rec.learning_rate" not in sessrec(demo, "lineage", "gru4rec_checkpoint").stdout
    full = sessrec(demo, "lineage", "gru4rec_checkpoint", "--full").stdout
    assert "  settings of gru4rec_checkpoint\n" in full and "    gru4rec.learning_rate = 0.05\n" in full
    assert '"learning_rate": 0.05' in sessrec(demo, "lineage", "gru4rec_checkpoint", "--wide").stdout


def test_lineage_of_partitions_names_each(demo: Path) -> None:
    lines = sessrec(demo, "lineage", "raw_sessions").stdout.splitlines()
    assert [line.split()[:2] for line in lines[2:4]] == [
        ["demo-2026-01-05.tsv", "raw_sessions"],
        ["demo-2026-01-06.tsv", "raw_sessions"],
    ]


def test_the_recommended_model_answers_where_none_is_named(demo: Path) -> None:
    settings = load_settings(demo)
    found = recommended_by(Store(settings), settings.evaluation)
    said = sessrec(demo, "recommend", "--items", "1,2,3,4,5").output
    assert f"by {found.model}: " in said and "recall@20" in said


def test_an_unknown_asset_is_told_what_is_meant(demo: Path) -> None:
    for command in (["lineage", "metrcs"], ["versions", "metrcs"], ["restore", "metrcs", "0"], ["pin", "metrcs", "0"]):
        wrong = sessrec(demo, *command)
        assert wrong.exit_code == 2 and "did you mean metrics?" in wrong.output, command
    for command in ("lineage", "versions"):
        nothing = sessrec(demo, command, "qqq")
        assert nothing.exit_code == 2 and "this feed has no asset 'qqq'; `sessrec versions` lists" in nothing.output
        later = sessrec(demo, command, "study_tie_rules")
        assert later.exit_code == 2 and "study_tie_rules is not there yet" in later.output
        near = sessrec(demo, command, "study_tie_rule")
        assert near.exit_code == 2 and "no asset 'study_tie_rule' (did you mean study_tie_rules?)" in near.output
