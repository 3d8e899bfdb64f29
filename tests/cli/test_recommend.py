"""sessrec recommend."""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from terminal import sessrec

from sessrec_pipeline.api.models import load
from sessrec_pipeline.cli import main
from sessrec_pipeline.cli.recommend import BY_POPULARITY, _ids, _meant
from sessrec_pipeline.feed import load_settings
from sessrec_pipeline.logs.synthetic import write_logs
from sessrec_pipeline.settings import SyntheticSettings
from sessrec_pipeline.storage.lake import Table
from sessrec_pipeline.storage.store import Store


@pytest.fixture(scope="module")
def catalogue(demo: Path) -> list[str]:
    return Store(load_settings(demo)).find("popularity").arrow()["item"].to_pylist()


def answers(home: Path, *arguments: str) -> list[dict[str, Any]]:
    result = sessrec(home, "recommend", "--json", *arguments)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def listed(answer: dict[str, Any]) -> list[str]:
    return [row["item"] for row in answer["items"]]


@pytest.mark.parametrize("model", ["gru4rec", "markov", "popularity", "oracle"])
def test_recommend_lists_items_of_the_catalogue(demo: Path, catalogue: list[str], model: str) -> None:
    result = sessrec(
        demo, "recommend", "--items", f"{catalogue[3]}.0, nonsense,{catalogue[7]}\u00a0", "-k", "5", "--model", model
    )
    assert result.exit_code == 0, result.output
    assert "left out: nonsense" in result.stderr and f"by {model}, as asked" in result.stderr
    rows = [line.split() for line in result.stdout.splitlines()[2:]]
    assert [row[0] for row in rows] == ["1", "2", "3", "4", "5"]
    assert {row[1] for row in rows} <= set(catalogue)


@pytest.mark.parametrize("model", ["markov", "sknn", "gru4rec", "item_knn", "session_popularity", "oracle"])
def test_shares_of_the_whole_catalogue_add_up_and_padded_rows_are_marked(
    demo: Path, catalogue: list[str], model: str
) -> None:
    [answer] = answers(demo, "--items", catalogue[0], "-k", "1000", "--model", model)
    assert sorted(listed(answer)) == sorted(catalogue)
    shares = [row["share"] for row in answer["items"]]
    assert sum(shares) == pytest.approx(1) and shares == sorted(shares, reverse=True)
    padded = [row["padded"] for row in answer["items"]]
    assert padded == [share == 0 for share in shares]
    if model in ("markov", "session_popularity", "gru4rec", "oracle"):
        assert any(padded) == (model in ("markov", "session_popularity"))


def test_shares_of_markov_are_those_of_its_table(demo: Path, catalogue: list[str]) -> None:
    table = Store(load_settings(demo)).find("markov").arrow().to_pylist()
    counts = {row["next_item"]: row["transitions"] for row in table if row["item"] == catalogue[0]}
    [answer] = answers(demo, "--items", catalogue[0], "-k", "4", "--model", "markov")
    for row in answer["items"]:
        assert row["share"] == pytest.approx(counts[row["item"]] / sum(counts.values()))


def test_a_model_that_knows_an_order_alone_shows_no_share(demo: Path, catalogue: list[str]) -> None:
    result = sessrec(demo, "recommend", "--items", catalogue[0], "--model", "popularity", "-k", "2")
    assert result.stdout.split("\n")[0].split() == ["rank", "item"] and "share" not in result.stderr
    [answer] = answers(demo, "--items", catalogue[0], "--model", "popularity", "-k", "2")
    assert answer["items"] == [{"rank": n, "item": catalogue[n - 1], "share": None, "padded": False} for n in (1, 2)]


def test_padding_is_marked_and_explained(demo: Path, catalogue: list[str]) -> None:
    result = sessrec(demo, "recommend", "--items", catalogue[0], "--model", "session_popularity", "-k", "3")
    rows = result.stdout.splitlines()[2:]
    assert rows[0].split() == ["1", catalogue[0], "1.0000"]
    assert all(row.split()[2] == "0" and row.endswith(BY_POPULARITY) for row in rows[1:])
    assert f"{BY_POPULARITY}: Session popularity has nothing to go by for these items" in result.stderr


def test_what_may_be_listed_is_chosen(demo: Path, catalogue: list[str], tmp_path: Path) -> None:
    session, stock = catalogue[:2], tmp_path / "stock.txt"
    stock.write_text("\n".join([*catalogue[:6], "gone"]))
    arguments = ["--items", ",".join(session), "--model", "sknn", "-k", "1000"]
    [everything] = answers(demo, *arguments)
    [unseen] = answers(demo, *arguments, "--exclude-seen")
    assert listed(unseen) == [item for item in listed(everything) if item not in session]
    [few] = answers(demo, *arguments, "--only", str(stock), "--exclude", f"{catalogue[5]},{catalogue[0]}")
    assert listed(few) == [item for item in listed(everything) if item in catalogue[1:5]]
    shares = {row["item"]: row["share"] for row in everything["items"]}
    assert all(row["share"] == shares[row["item"]] for row in few["items"]), "of all items, not of those listed"
    part = sessrec(demo, "recommend", *arguments, "--only", f"gone,{catalogue[5]}", "--exclude", "sold")
    assert "not in the catalogue, of no effect in --only: gone" in part.stderr
    assert "of no effect in --exclude: sold" in part.stderr and catalogue[5] in part.stdout
    nothing = sessrec(demo, "recommend", *arguments, "--only", "gone")
    assert nothing.exit_code == 2 and "--only and --exclude leave no item" in nothing.output
    for option in ("--only", "--exclude"):
        for name in ("stock.txt", str(tmp_path / "stock")):
            gone = sessrec(demo, "recommend", *arguments, option, name)
            assert gone.exit_code == 2 and f"{option} {name}: this is neither a file that is there nor" in gone.output


def test_sessions_of_a_file_are_answered_one_by_one(demo: Path, catalogue: list[str], tmp_path: Path) -> None:
    a, b, c = catalogue[:3]
    lists = tmp_path / "sessions.txt"
    lists.write_text(f'{a},"{b}"\n\n{c}\nnonsense\n')
    found = answers(demo, "--sessions", str(lists), "--model", "markov", "-k", "2")
    assert [answer["session"] for answer in found] == ["1", "3", "4"]
    [first] = answers(demo, "--items", f"{a},{b}", "--model", "markov", "-k", "2")
    assert found[0] == first | {"session": "1"}
    assert found[2]["items"] == [] and found[2]["unknown"] == ["nonsense"]

    log = tmp_path / "today.tsv"
    log.write_text(f"SessionId\tItemId\tTime\ny\t{c}\t1770000000\nx\t{b}\t1770000005\nx\t{a}\t1770000001\n")
    of_log = answers(demo, "--sessions", str(log), "--model", "markov", "-k", "2")
    assert {answer["session"]: answer["items"] for answer in of_log} == {
        "y": found[1]["items"],
        "x": answers(demo, "--items", f"{a},{b}", "--model", "markov", "-k", "2")[0]["items"],
    }
    other_name = log.rename(tmp_path / "today.txt")
    assert answers(demo, "--sessions", str(other_name), "--model", "markov", "-k", "2") == of_log
    other_name.rename(log)
    table = sessrec(demo, "recommend", "--sessions", str(log), "--model", "markov", "-k", "1").stdout.splitlines()
    assert table[0].split()[:3] == ["session", "rank", "item"] and len(table) == 4
    log.write_text("who;what\n1;2\n")
    refused = sessrec(demo, "recommend", "--sessions", str(log), "--model", "markov")
    assert refused.exit_code == 2 and "go into a *.txt" in refused.output


@pytest.mark.parametrize("between", [";", " ", "\t", "|"])
def test_ids_without_commas_between_are_told(demo: Path, catalogue: list[str], tmp_path: Path, between: str) -> None:
    lists = tmp_path / "carts.txt"
    lists.write_text(f"{catalogue[0]}{between}{catalogue[1]}\n{catalogue[2]}\n")
    said = sessrec(demo, "recommend", "--sessions", str(lists), "--model", "markov").stderr
    assert "(are these several ids? Put commas between them, or lines in a file of ids)" in said


def test_items_come_from_stdin(demo: Path, catalogue: list[str]) -> None:
    command = ["--home", str(demo), "recommend", "--json", "--items", "-", "--model", "markov", "-k", "3"]
    result = CliRunner().invoke(main, command, input="\n".join(catalogue[:2]))
    [expected] = answers(demo, "--items", ",".join(catalogue[:2]), "--model", "markov", "-k", "3")
    assert json.loads(result.stdout) == expected


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        (["1,2"], ["1", "2"]),
        (["1", "2"], ["1", "2"]),
        (['"a,b", 2'], ["a,b", "2"]),
        (["x,y"], ["x,y"]),
        ([" caf\u0065\u0301 ,, "], ["caf\u00e9"]),
        ([""], []),
    ],
)
def test_ids_may_hold_commas(values: list[str], ids: list[str]) -> None:
    assert _ids(values, {"x,y": 0, "1": 1}) == ids


@pytest.mark.parametrize(
    ("item", "meant"),
    [("SHOE-1", "shoe1"), ("0042", "42"), ("42.0", "42"), ("whiteshirt", "white-shirt"), ("43", ""), ("lamp", "")],
)
def test_an_unknown_item_is_told_what_may_be_meant(item: str, meant: str) -> None:
    assert _meant(item, ["shoe1", "42", "white-shirt"]) == (f" (did you mean {meant}?)" if meant else "")


def test_titles_are_the_last_text_of_a_column(tmp_path: Path) -> None:
    (tmp_path / "sessrec.toml").write_text('models = ["markov"]\n[logs]\nextra_columns = ["Title"]\n')
    landing = load_settings(tmp_path).landing
    write_logs(SyntheticSettings(sessions=100, items=50, days=2), landing)
    for path in landing.iterdir():
        header, *lines = path.read_text().splitlines()
        day = path.stem[-2:]
        path.write_text("\n".join([f"{header}\tTitle", *(f"{row}\tno. {row.split()[1]} of {day}" for row in lines)]))
    assert sessrec(tmp_path, "materialize", "markov_checkpoint").exit_code == 0
    [answer] = answers(tmp_path, "--items", "1", "--model", "markov", "--title", "Title", "-k", "3")
    for row in answer["items"]:
        last = next(p for p in sorted(landing.iterdir(), reverse=True) if f"\t{row['item']}\t" in p.read_text())
        assert row["title"] == f"no. {row['item']} of {last.stem[-2:]}"
    shown = sessrec(tmp_path, "recommend", "--items", "1", "--model", "markov", "--title", "Title").stdout
    assert "Title" in shown.splitlines()[0] and "no. " in shown
    wrong = sessrec(tmp_path, "recommend", "--items", "1", "--model", "markov", "--title", "Name")
    assert wrong.exit_code == 2 and "which keeps Title" in wrong.output


def test_recommend_says_what_is_wrong(demo: Path, tmp_path: Path) -> None:
    wrong = sessrec(demo, "recommend", "--items", "1", "--model", "makov").output
    assert "no model 'makov' (did you mean markov?); this feed has" in wrong
    unknown = sessrec(demo, "recommend", "--items", "nonsense")
    assert unknown.exit_code == 2 and "none of these items occurs in the training sessions" in unknown.output
    nothing = tmp_path / "log.tsv"
    nothing.write_text("SessionId\tItemId\tTime\n")
    empty = sessrec(demo, "recommend", "--sessions", str(nothing))
    assert empty.exit_code == 2 and "log.tsv names no item" in empty.output
    assert "name the items of one session" in sessrec(demo, "recommend").output


# --- whether the model is what today would make ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def own(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("outdated") / "home"
    shutil.copytree(demo, home)
    return home


def said(home: Path) -> str:
    result = sessrec(home, "recommend", "--items", "1,2", "--model", "gru4rec")
    assert result.exit_code == 0 and result.stdout.startswith("rank"), result.output
    return result.stderr


def test_a_model_that_is_not_what_today_would_make_answers_and_says_so(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "not up to date" not in said(own)
    toml, store = own / "sessrec.toml", Store(load_settings(own))
    before = toml.read_text()
    toml.write_text(before.replace("n_epochs = 2", "n_epochs = 3"))
    assert (
        "gru4rec is not up to date: gru4rec.n_epochs was 2 and is 3 now; `sessrec materialize` makes it anew"
        in said(own)
    )
    toml.write_text(before)
    [log, *_] = store.log_versions()
    kept = store.find("raw_sessions", log)
    store.publish("raw_sessions", Table(kept.arrow().slice(1)), partition=log)
    assert f"gru4rec is not up to date: {log} changed since" in said(own)
    store.restore("raw_sessions", kept.node.data_version, log)
    store.publish("raw_sessions", Table(kept.arrow()), partition="new.tsv")
    assert "gru4rec is not up to date: 1 log came since" in said(own)
    store.remove("raw_sessions", "new.tsv")
    assert "not up to date" not in said(own)
    monkeypatch.setattr("sessrec_pipeline.training.freshness.sources", lambda: "others")
    assert "not up to date" not in said(own), "the code of the model itself is the same"
    monkeypatch.setattr("assets.runs.stale", lambda settings, asset: "train_split")
    assert "gru4rec is not up to date: the code of train_split changed since" in said(own)


def test_a_model_loaded_from_a_home_says_so_too(own: Path) -> None:
    store = Store(load_settings(own))
    model = store.find("gru4rec_checkpoint")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(model.path)
    items = store.find("popularity")
    store.publish("popularity", Table(items.arrow().slice(1)))
    with pytest.warns(
        UserWarning, match=r"gru4rec of .* is not up to date: popularity was made again since; `sessrec m"
    ):
        assert load(model.path).recommend(["1"], 3).shape == (3, 2)
    assert "popularity was made again since" in said(own)


def test_check_is_red_when_the_last_rebuild_failed_and_green_once_it_did_not(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    toml = "[synthetic]\nsessions = 200\nitems = 60\ndays = 2\n[gru4rec]\nlayers = [16]\nn_epochs = 2\nn_sample = 32\n"
    toml = f'models = ["gru4rec"]\n{toml}batch_size = 16\n'
    (home / "sessrec.toml").write_text(toml)
    assert sessrec(home, "demo").exit_code == 0
    (home / "sessrec.toml").write_text(f"{toml}learning_rate = 100000\n")
    made = sessrec(home, "materialize")
    assert made.exit_code == 1 and "not on the leaderboard: gru4rec" in made.output
    assert "is not published, and the last checkpoint stays as it was" in made.output
    checked = sessrec(home, "check")
    assert checked.exit_code == 1
    assert "FAILED: gru4rec_checkpoint made\n  What was tried last could be made. Seen: gru4rec: " in checked.output
    (home / "sessrec.toml").write_text(toml)
    assert sessrec(home, "materialize").exit_code == 0 and "FAILED: gru4rec" not in sessrec(home, "check").output
