"""The table of rooms in docs/architecture.md is the order that the linter holds."""

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def test_the_rooms_stand_in_their_order() -> None:
    contracts = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers: list[str] = next(contract["layers"] for contract in contracts if contract["id"] == "rooms")
    held = [{room.strip().removeprefix("sessrec_pipeline.") for room in layer.split("|")} for layer in layers]
    page = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.split("| room |")[1].split("\n\n")[0]
    lines = [line.split("|")[1] for line in table.splitlines()[2:]]
    told = [set(re.findall(r"`([a-z_]+)(?:/|\.py)?`", line)) for line in lines]
    assert told == held[::-1]
