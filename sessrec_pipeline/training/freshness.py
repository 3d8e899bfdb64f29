"""Whether a fitted model is what today's logs, settings and code would make: asked of the store alone, without Dagster.

Parents and settings are compared one by one. Code is compared as a whole, by a digest of all source files that whoever
publishes leaves with the model: where it is the same, so is the code of the model. Where it is not, ``assets.runs``
knows whether what changed is anything that the model can run.
"""

import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from sessrec_pipeline.storage.files import DamagedFileError
from sessrec_pipeline.storage.lineage import Node, flat
from sessrec_pipeline.storage.store import RAW, Store, Stored

SOURCES = "sources"
"""Name among an artefact's stats: ``sources()`` of the process that made it."""
PACKAGES, SUFFIXES = ("sessrec_pipeline", "assets"), (".py", ".sql", ".toml", ".j2")


@cache
def sources() -> str:
    """12 hexadecimal digits over the source files of the installed packages."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        spec = find_spec(package)
        for root in map(Path, (spec and spec.submodule_search_locations) or []):
            for path in sorted(path for path in root.rglob("*") if path.suffix in SUFFIXES):
                digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def of_these_sources(stored: Stored) -> bool:
    """Whether the very source files of this process made an artefact; if not, its code may be the same all the same."""
    return stored.stats.get(SOURCES) == sources()


def outdated(store: Store, stored: Stored) -> str | None:
    """Why a model is not what today's logs and settings would make, as a clause; None where it is."""
    try:
        return next(_differences(store, stored), None)
    except DamagedFileError as error:
        return f"something that it rests on cannot be read: {error}"


def _differences(store: Store, stored: Stored) -> Iterator[str]:
    own = stored.node
    if not store.is_current(own):
        yield f"another version of {own.asset} is current"
    nodes = _rests_on(stored)
    for node in nodes:
        if node.partition is None and node != own and not store.is_current(node):
            yield f"{node.asset} was made again since"
    yield from _logs(store, {str(node.partition): node.data_version for node in nodes if node.asset == RAW})
    today = dict(flat(store.settings.model_dump(mode="json", exclude={"home"})))
    for node in nodes:
        for name, value in flat(node.config) if node.partition is None else ():
            if today.get(name, value) != value:
                yield f"{name} was {value} and is {today[name]} now"


def _rests_on(stored: Stored) -> list[Node]:
    """The model's node and those that it was made from, but for what a warm start began with."""
    known = {node.id: node for node in stored.lineage.nodes}
    found, todo = dict[str, Node](), [stored.node.id]
    while todo:
        node = known[todo.pop()]
        if node.id not in found and (node.asset != stored.node.asset or node == stored.node):
            found[node.id] = node
            todo += node.parents
    return list(found.values())


def _logs(store: Store, rested: dict[str, str]) -> Iterator[str]:
    if not rested:
        return
    now = store.log_versions()
    if changed := [log for log, version in sorted(rested.items()) if now.get(log) != version]:
        yield f"{changed[0]}{f' and {len(changed) - 1:,} more logs' if len(changed) > 1 else ''} changed since"
    if store.settings.sessions.window_days is None and (came := now.keys() - rested.keys()):
        yield f"{len(came):,} log{'s' if len(came) > 1 else ''} came since"
