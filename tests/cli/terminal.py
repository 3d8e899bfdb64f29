"""The command line, as people and CI jobs use it."""

from pathlib import Path

from click.testing import CliRunner, Result

from sessrec_pipeline.cli import main


def sessrec(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--home", str(home), *arguments])
