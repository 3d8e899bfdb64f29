"""sessrec init, withdraw."""

import re
import tomllib
from pathlib import Path

from terminal import sessrec

from sessrec_pipeline.feed import load_settings
from sessrec_pipeline.storage.store import Store

LOG = "visit,sku,when\n" + "".join(f"s{n // 3},i{n % 5},2026-01-05T10:{n:02d}:00\n" for n in range(30))


def test_init_begins_a_feed_with_what_describe_proposes(tmp_path: Path) -> None:
    log, home = tmp_path / "my log.csv", tmp_path / "shop"
    log.write_text(LOG)
    result = sessrec(home, "init", str(log))
    assert result.exit_code == 0, result.output
    logs = tomllib.loads((home / "sessrec.toml").read_text())["logs"]
    assert (logs["session"], logs["item"], logs["time"], logs["format"]) == ("visit", "sku", "when", "csv")
    assert not list((home / "landing").iterdir()), "the log is the person's own to land"
    last = result.stdout.splitlines()[-1]
    assert last == f"next: cp '{log}' {home}/landing/ && sessrec --home {home} materialize"
    (home / "landing" / "log.csv").write_text(LOG)
    (home / "sessrec.toml").unlink()
    landed = sessrec(home, "init", str(home / "landing" / "log.csv"))
    assert landed.stdout.splitlines()[-1] == f"next: sessrec --home {home} materialize"


def test_init_replaces_no_settings_unasked(tmp_path: Path) -> None:
    log, settings = tmp_path / "log.csv", tmp_path / "sessrec.toml"
    log.write_text(LOG)
    settings.write_text("[split]\n")
    refused = sessrec(tmp_path, "init", str(log))
    assert refused.exit_code == 2 and "stays as it is" in refused.output and settings.read_text() == "[split]\n"
    forced = sessrec(tmp_path, "init", str(log), "--force")
    assert f"replaced {settings}" in forced.stdout and "visit" in settings.read_text()


def test_init_says_what_it_guessed_and_what_is_wrong_with_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    rows = [f"u{n // 3},i{n % 5},0{1 + n % 9}/04/2024 10:{n:02d}" for n in range(60)]
    log.write_text("\n".join(["user,item,when", *rows, *[f"-,i{n % 5},01/04/2024 11:00" for n in range(20)]]) + "\n")
    said = sessrec(tmp_path / "shop", "init", str(log)).stdout.splitlines()
    assert any(line.startswith("note: The time") and "%m/%d/%Y %H:%M would fit as well" in line for line in said)
    assert any(line.startswith("warning: ") for line in said)
    described = sessrec(tmp_path / "shop", "describe", str(log)).stdout.splitlines()
    noted = [line for line in described if line.startswith(("note: ", "warning: "))]
    assert [line for line in said if line in noted] == noted


def test_init_writes_nothing_that_cannot_work(tmp_path: Path) -> None:
    log, home = tmp_path / "log.csv", tmp_path / "shop"
    log.write_text("a,b\n1,2\n")
    result = sessrec(home, "init", str(log))
    assert result.exit_code == 2 and "nothing was written" in result.output and not home.exists()


def test_a_missing_file_is_named_once(tmp_path: Path) -> None:
    for command in ("describe", "init"):
        result = sessrec(tmp_path / "shop", command, str(tmp_path / "gone.csv"))
        assert result.exit_code == 2 and result.output.count("gone.csv") == 1, result.output


def test_withdraw_takes_a_log_out_and_undo_brings_it_back(tmp_path: Path) -> None:
    home = tmp_path / "shop"
    (home / "landing").mkdir(parents=True)
    for day in (1, 2):
        rows = "".join(f"s{day}{n // 3}\ti{n % 5}\t{1_767_700_000 + 86_400 * day + n}\n" for n in range(30))
        (home / "landing" / f"day-{day}.tsv").write_text("SessionId\tItemId\tTime\n" + rows)
    assert sessrec(home, "materialize", "sessions").exit_code == 0
    content = Store(load_settings(home)).find("sessions").node.data_version
    unknown = sessrec(home, "withdraw", "day-3.tsv")
    assert unknown.exit_code == 2 and "day-3.tsv is not ingested (did you mean day-" in unknown.output
    assert "day-2.tsv is not withdrawn" in sessrec(home, "withdraw", "day-2.tsv", "--undo").output

    result = sessrec(home, "withdraw", "day-2.tsv", "--why", "a test shop")
    assert result.exit_code == 0 and "day-2.tsv: withdrawn; `sessrec materialize`" in result.stdout
    assert sessrec(home, "materialize", "sessions").exit_code == 0
    assert Store(load_settings(home)).find("sessions").node.rows == 30
    told = sessrec(home, "lineage", "sessions").stdout
    assert "\n1 landed log\n" in told and "\n1 withdrawn log\n" in told
    assert re.search("^day-2.tsv .* a test shop$", told, re.MULTILINE)

    again = sessrec(home, "withdraw", "day-2.tsv")
    assert again.exit_code == 0 and again.stdout == "day-2.tsv: withdrawn already\n"
    again = sessrec(home, "withdraw", "day-2.tsv", "--why", "bots")
    assert again.exit_code == 0 and "day-2.tsv: withdrawn already; the reason is 'bots' from now on" in again.stdout
    for asset in ("raw_sessions", "sessions"):
        assert re.search("^day-2.tsv .* bots$", sessrec(home, "lineage", asset).stdout, re.MULTILINE), asset
    assert sessrec(home, "materialize", "sessions").exit_code == 0
    sessions = Store(load_settings(home)).find("sessions")
    (why,) = [node.config["withdrawn"]["why"] for node in sessions.lineage.ancestors if "withdrawn" in node.config]
    assert (sessions.node.rows, why) == (30, "bots")

    assert sessrec(home, "withdraw", "day-2.tsv", "--undo").exit_code == 0
    assert sessrec(home, "materialize", "sessions").exit_code == 0
    assert Store(load_settings(home)).find("sessions").node.data_version == content
    assert "withdrawn" not in sessrec(home, "lineage", "sessions").stdout
