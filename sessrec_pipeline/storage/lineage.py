"""What each stored artefact was made from; the text that every file carries about itself."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from types import NoneType
from typing import Any, Self

from sessrec_pipeline.storage.files import OtherVersionError, sha256_of_json

METADATA_KEY = "sessrec.lineage"
"""Name of the lineage in a Parquet footer, a safetensors header, an HTML page."""
FORMAT = 2
"""Of the text; one of format 1, which did not say so, had no hash of itself."""


class UnknownFieldError(ValueError):
    """A field that this version does not know."""


@dataclass(frozen=True)
class Node:
    """One version of one artefact (or of a landed log, which has no parents).

    ``id`` names the content together with everything it came from, so equal work gives equal ids.
    """

    asset: str
    partition: str | None
    data_version: str
    """sha256 of the content; of the bytes for a landed log."""
    code_version: str
    config: dict[str, Any]
    """The settings that the asset reads."""
    engine: str
    run_id: str
    created_at: str
    """ISO 8601, UTC."""
    rows: int | None = None
    stats: dict[str, int | float | str] = field(default_factory=dict)
    """Counts that checks and the report need: rows in, dropped by reason, ..."""
    parents: tuple[str, ...] = ()
    """Ids of the nodes that the content was computed from."""

    @property
    def id(self) -> str:
        """16 hexadecimal digits."""
        parts = [self.asset, self.partition, self.data_version, self.code_version, self.config, self.parents]
        return sha256_of_json(parts)[:16]

    @classmethod
    def from_dict(cls, value: Any) -> Self:
        """Inverse of ``dataclasses.asdict``.

        ValueError where a field is missing or of another type, UnknownFieldError where one is not known.
        """
        if not isinstance(value, dict):
            raise ValueError("a node of its lineage is no object")
        if missing := sorted(TYPES.keys() - value.keys()):
            raise ValueError(f"a node of its lineage has no {missing[0]!r}")
        if unknown := sorted(value.keys() - TYPES.keys()):
            raise UnknownFieldError(f"a node of its lineage has the field {unknown[0]!r}, which this version lacks")
        for name, kinds in TYPES.items():
            if not isinstance(value[name], kinds) or isinstance(value[name], bool):
                raise ValueError(f"{name!r} in its lineage is of the type {type(value[name]).__name__}")
        if not all(isinstance(parent, str) for parent in value["parents"]):
            raise ValueError("the parents in its lineage are no texts")
        return cls(**{**value, "parents": tuple(value["parents"])})


TYPES: dict[str, tuple[type, ...]] = {
    "asset": (str,),
    "partition": (str, NoneType),
    "data_version": (str,),
    "code_version": (str,),
    "config": (dict,),
    "engine": (str,),
    "run_id": (str,),
    "created_at": (str,),
    "rows": (int, NoneType),
    "stats": (dict,),
    "parents": (list,),
}
"""Of each field of a node, as JSON gives them back."""


@dataclass(frozen=True)
class Lineage:
    """An artefact's node and all its ancestors: enough to know its origin when they have been replaced."""

    node: Node
    ancestors: tuple[Node, ...] = ()

    @classmethod
    def of(cls, node: Node, parents: Iterable["Lineage"]) -> "Lineage":
        """The lineage of ``node``, whose ``parents`` are given whole."""
        # Their counts stay in their own files: with a log a day they would outgrow the tables.
        known = {n.id: replace(n, stats={}) for parent in parents for n in parent.nodes}
        return cls(node, tuple(known[key] for key in sorted(known)))

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The ancestors, then the node itself."""
        return (*self.ancestors, self.node)

    def origin(self, node: str) -> list[Node]:
        """The node with this id and all that it rests on."""
        known, found, todo = {n.id: n for n in self.nodes}, dict[str, Node](), [node]
        while todo:
            if (key := todo.pop()) not in found:
                found[key] = known[key]
                todo += known[key].parents
        return list(found.values())

    def to_json(self) -> str:
        """The text that goes into the artefact's file, with a hash of its own."""
        value = {"node": asdict(self.node), "ancestors": [asdict(n) for n in self.ancestors], "format": FORMAT}
        return json.dumps({**value, "sha256": sha256_of_json(value)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Lineage":
        """Inverse of ``to_json``.

        ValueError where it is not what was written; OtherVersionError where it is, and by a version of sessrec that
        this one does not know.
        """
        value = json.loads(text)
        if not isinstance(value, dict):
            raise ValueError("its lineage is no object")
        form, written = value.get("format", 1), value.pop("sha256", None)
        if not isinstance(form, int) or form < 1:
            raise ValueError(f"its lineage has the format {form!r}")
        newer = f"its lineage has format {form}, of a newer sessrec_pipeline than this one: update it"
        if (written is None) != (form == 1) or (written is not None and written != sha256_of_json(value)):
            raise ValueError(f"its lineage differs from its own hash{f', and says that {newer}' * (form > FORMAT)}")
        if form > FORMAT:
            raise OtherVersionError(newer)
        known = {"node", "ancestors"} if form == 1 else {"node", "ancestors", "format"}
        if not value.keys() >= known or (form == 1 and value.keys() > known):
            raise ValueError("its lineage is not what was written")
        try:
            if unknown := sorted(value.keys() - known):
                raise UnknownFieldError(f"its lineage has the field {unknown[0]!r}, which this version lacks")
            if not isinstance(value["ancestors"], list):
                raise ValueError("the ancestors in its lineage are no list")
            return cls(Node.from_dict(value["node"]), tuple(map(Node.from_dict, value["ancestors"])))
        except UnknownFieldError as error:
            advice = "another sessrec_pipeline wrote it: work on this home with that one, or update this one"
            raise OtherVersionError(f"{error}; {advice}") from None


MARKS = {"+": "came", "-": "went", "~": "changed"}
"""Before the name of a log in ``Changes``, and in words."""


@dataclass(frozen=True)
class Changes:
    """What differs between the origins of two versions of an artefact."""

    logs: tuple[str, ...]
    """Landed logs that came (+ before the name), went (-) or changed (~)."""
    settings: tuple[str, ...]
    """Settings with their values before and now."""
    code: tuple[str, ...]
    """Assets whose code changed."""

    @property
    def kinds(self) -> str:
        """Which kinds of things changed, in words."""
        return ", ".join(kind for kind in ("logs", "settings", "code") if getattr(self, kind)) or "nothing"

    def in_words(self) -> str:
        """All of it in a line; "" for nothing."""
        told = [f"{log[1:]} {MARKS[log[0]]}" for log in self.logs]
        shown = ", ".join(told) if len(told) <= 2 else f"{told[0]} and {len(told) - 1} more"
        parts = [("logs", shown), ("settings", ", ".join(self.settings)), ("code of", ", ".join(self.code))]
        return "; ".join(f"{name} {text}" for name, text in parts if text)


def changes(before: Iterable[Node], now: Iterable[Node]) -> Changes:
    """What changed between two origins, each with all its nodes; steps that only one has are not compared."""
    old, new = ({(node.asset, node.partition): node for node in nodes} for nodes in (before, now))
    logs = sorted({str(key[1]) for key in {*old, *new} if key[0] == "landing"})
    marked = []
    for log in logs:
        versions = [nodes["landing", log].data_version if ("landing", log) in nodes else None for nodes in (old, new)]
        if versions[0] != versions[1]:
            marked.append(f"{'+' if versions[0] is None else '-' if versions[1] is None else '~'}{log}")
    settings: dict[str, str] = {}
    code: list[str] = []
    for key in sorted(key for key in new if key in old and key[1] is None):
        own = [dict(flat(nodes[key].config)) for nodes in (old, new)]
        settings |= {
            name: f"{name} = {own[0].get(name, 'none')} -> {value}"
            for name, value in own[1].items()
            if own[0].get(name, "none") != value
        }
        if old[key].code_version.partition("-")[0] != new[key].code_version.partition("-")[0]:
            code.append(key[0])
    return Changes(tuple(marked), tuple(settings.values()), tuple(code))


def flat(config: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Settings by dotted name, each with its value as JSON."""
    for name, value in config.items():
        if isinstance(value, dict):
            yield from flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", json.dumps(value, ensure_ascii=False, sort_keys=True)
