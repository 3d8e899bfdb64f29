"""Commands that show where results come from: lineage."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from sessrec_pipeline.cli.common import existing_feed, find_asset, print_table, store_of, wide_option
from sessrec_pipeline.text import counted, say

if TYPE_CHECKING:
    from sessrec_pipeline.storage.store import Store

LOGS_SHOWN = 12
RAW = "raw_sessions"


class Origin(NamedTuple):
    """One version that something rests on."""

    asset: str
    partition: str | None
    content: str
    code: str
    config: str
    node: str


@click.command()
@click.argument("asset")
@click.option("--all", "everything", is_flag=True, help="List every landed log, however many there are.")
@click.option("--full", is_flag=True, help="Print the settings of each step whole.")
@wide_option
@click.pass_obj
def lineage(home: Path | None, asset: str, everything: bool, full: bool) -> None:
    """Which landed logs, splits, settings and code versions ASSET rests on; for metrics, those of every model."""
    settings = existing_feed(home)
    store = store_of(settings)
    found = store.partitions(asset) or {asset: find_asset(store, asset)}
    targets = {name: stored.node.id for name, stored in found.items()}
    if not store.warehouse.path.exists():
        store.rebuild_catalogue(only_if_missing=True)
    with store.warehouse.reading() as connection:
        if asset in ("metrics", "leaderboard"):
            rows = connection.execute(f"SELECT DISTINCT model, rankings FROM {asset} ORDER BY model").fetchall()
            targets = dict(rows)
        origins = {
            name: [
                Origin(*row)
                for row in connection.execute(
                    "SELECT asset, partition_key, data_version, code_version, config, ancestor FROM lineage.origin "
                    "WHERE id = $id ORDER BY asset, partition_key",
                    {"id": node},
                ).fetchall()
            ]
            for name, node in targets.items()
        }
    _print_origins(asset, origins, everything, full)
    _print_withdrawn(store, [step for steps in origins.values() for step in steps if step.asset == RAW])


def _print_origins(asset: str, origins: Mapping[str, Sequence[Origin]], everything: bool, full: bool) -> None:
    """Each step once, those that all targets rest on first; then the landed logs."""
    every = list(dict.fromkeys(step for steps in origins.values() for step in steps))
    logs = [step for step in every if step.asset == "landing"]
    users = {step: [name for name, steps in origins.items() if step in steps] for step in every}
    groups: dict[tuple[str, ...], list[Origin]] = {}
    for step in sorted(every, key=lambda step: (-len(users[step]), users[step])):
        if step.asset != "landing" and (step.partition is None or everything or step.asset == asset):
            groups.setdefault(tuple(users[step]), []).append(step)
    steps = [
        ("all" if len(names) == len(origins) else ", ".join(names), step)
        for names, found in groups.items()
        for step in found
    ]
    several = len(origins) > 1
    header = ["of", "asset", "content", "code", "lineage id", "settings"]
    rows = [[group, step.asset, step.content[:12], step.code, step.node, step.config] for group, step in steps]
    shown = slice(0 if several else 1, -1 if full else None)
    print_table(header[shown], [row[shown] for row in rows], spare=["lineage id", "code"])
    if full:
        _print_settings([step for _, step in steps])
    listed = logs if everything or len(logs) <= LOGS_SHOWN else [*logs[:5], *logs[-5:]]
    more = "" if len(listed) == len(logs) else " (--all lists them)"
    say(f"\n{counted(len(logs), 'landed log')}{more}")
    if listed:
        print_table(["log", "sha256"], [[str(log.partition), log.content] for log in listed])


def _print_withdrawn(store: "Store", logs: Sequence[Origin]) -> None:
    """The logs that were left out, each with who decided so and why; the reason may have been changed since."""
    decisions = {log.partition: json.loads(log.config).get("withdrawn") for log in logs}
    today = store.partitions(RAW)
    rows = []
    for log, decided in decisions.items():
        if decided and log is not None:
            now = today[log].node.config.get("withdrawn", decided) if log in today else decided
            rows.append([log, now["by"], now["at"], now["why"]])
    if rows:
        say(f"\n{counted(len(rows), 'withdrawn log')}")
        print_table(["log", "by", "when (UTC)", "why"], rows)


def _print_settings(steps: Sequence[Origin]) -> None:
    from sessrec_pipeline.storage.lineage import flat

    for step in steps:
        lines = [f"    {name} = {value}" for name, value in flat(json.loads(step.config))]
        if lines:
            say("\n".join([f"  settings of {step.asset}", *lines]))
