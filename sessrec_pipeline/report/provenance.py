"""What the report rests on: the landed logs and the version of every artefact."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from sessrec_pipeline.report.data import ReportData
from sessrec_pipeline.report.translation import gettext, ngettext
from sessrec_pipeline.storage.lineage import Node

MANY_LOGS = 30
"""More landed logs than this are summarised."""


@dataclass(frozen=True)
class Logs:
    """The landed logs, some of them left out where they are many."""

    rows: list[Node | None]
    """None stands for those that are left out."""
    count: int
    total: int
    digest: str
    """sha256 over all names and hashes."""


@dataclass(frozen=True)
class Artefact:
    """The versions of one asset that the results rest on."""

    asset: str
    what: str
    """Rows, or the number of partitions."""
    versions: list[str]
    code: list[str]
    engines: list[str]
    config: str
    """JSON; empty where the asset reads no settings."""


def all_nodes(data: ReportData) -> list[Node]:
    """All nodes, once each, parents before children."""
    nodes = {node.id: node for lineage in data.lineages for node in lineage.nodes}
    depth: dict[str, int] = {}

    def measure(key: str) -> int:
        if key not in depth:
            depth[key] = 1 + max((measure(p) for p in nodes[key].parents if p in nodes), default=0)
        return depth[key]

    return sorted(nodes.values(), key=lambda n: (measure(n.id), n.asset, n.partition or "", n.id))


def landed_logs(nodes: list[Node]) -> Logs:
    """The landed logs among all nodes, by name."""
    landed = [n for n in nodes if n.asset == "landing"]
    rows: list[Node | None] = [*landed]
    if len(rows) > MANY_LOGS:
        rows = [*rows[:5], None, *rows[-5:]]
    text = "\n".join(f"{n.data_version}  {n.partition}" for n in landed)
    return Logs(rows, len(landed), sum(n.rows or 0 for n in landed), hashlib.sha256(text.encode()).hexdigest())


def artefacts(nodes: list[Node]) -> list[Artefact]:
    """What was made of the landed logs, an asset at a time."""
    groups: dict[str, list[Node]] = {}
    for node in nodes:
        if node.asset != "landing":
            groups.setdefault(node.asset, []).append(node)
    found = []
    for asset, own in groups.items():
        partitions = {n.partition for n in own if n.partition is not None}
        rows = sum(n.rows or 0 for n in own)
        logs = ngettext("{n} log, ", "{n} logs, ", len(partitions)) if partitions else ""
        what = logs + ngettext("{n} row", "{n} rows", rows) if partitions or rows else ""
        configs = sorted({json.dumps(n.config, sort_keys=True, ensure_ascii=False) for n in own if n.config})
        found.append(
            Artefact(
                asset,
                what,
                _few(n.data_version[:12] for n in own),
                _few(n.code_version[:12] for n in own),
                _few(n.engine for n in own),
                "\n".join(json.dumps(json.loads(config), indent=1, ensure_ascii=False) for config in configs),
            )
        )
    return found


def _few(values: Iterable[str]) -> list[str]:
    """The different values in their order, at most three of them and then how many more."""
    different = [value for value in dict.fromkeys(values) if value]
    more = len(different) - 3
    return [*different[:3], gettext("and {n} more", n=more)] if more > 0 else different
