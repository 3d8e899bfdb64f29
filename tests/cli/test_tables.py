"""How commands print tables."""

import os
import pty
import re
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner, Result

from sessrec_pipeline.cli.common import TABLE_WIDTH, print_table, wide_option

HEADER = ["name", "count", "value", "text"]
ROWS = [["a", "1,200", "0.5000 [0.400 0.600]", "x" * 90], ["long name", "7", "-", "y"]]


def printed(*arguments: str) -> Result:
    @click.command()
    @wide_option
    def command() -> None:
        print_table(HEADER, ROWS, spare=["count"])

    return CliRunner().invoke(command, arguments)


def test_numbers_stand_to_the_right(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed("--wide").stdout.splitlines()
    assert lines[0].startswith("name       count                 value  text")
    assert lines[3].startswith("long name      7                     -  y")


def test_a_wide_table_says_what_it_left_out() -> None:
    result = printed()
    assert max(map(len, result.stdout.splitlines())) == TABLE_WIDTH
    assert "count" not in result.stdout and "x..." in result.stdout
    assert result.stderr == "(left out to fit 100 columns: count, the ends of text; --wide shows all)\n"
    whole = printed("--wide")
    assert "x" * 90 in whole.stdout and "1,200" in whole.stdout and whole.stderr == ""


def test_no_cell_turns_the_terminal_upside_down() -> None:
    @click.command()
    def command() -> None:
        print_table(["item"], [["\x1b[31mred\nline"]])

    assert CliRunner().invoke(command).stdout.splitlines()[2:] == ["\\x1b[31mred line"]


@pytest.mark.parametrize("columns", [80, 100])
def test_a_terminal_gets_its_width_and_bold_names(columns: int) -> None:
    program = f"from sessrec_pipeline.cli.common import print_table; print_table({HEADER}, {ROWS}, ['count'])"
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": str(columns), "TERM": "xterm"}
    environment.pop("NO_COLOR", None)
    subprocess.run(
        [sys.executable, "-c", program], stdout=theirs, stderr=subprocess.DEVNULL, env=environment, check=True
    )
    os.close(theirs)
    text = os.read(ours, 1 << 16).decode()
    assert "\x1b[1mname" in text
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text).replace("\r", "").splitlines()
    assert max(map(len, plain)) == columns and len(plain) == 4
