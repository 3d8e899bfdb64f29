"""What each stored artefact was made from; the text that every file carries about itself."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

METADATA_KEY = "sessrec.lineage"
"""Name of the lineage in a Parquet footer, a safetensors header, an HTML page."""


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
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        """Inverse of ``dataclasses.asdict``."""
        return cls(**{**value, "parents": tuple(value["parents"])})


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

    def to_json(self) -> str:
        """The text that goes into the artefact's file."""
        return json.dumps({"node": asdict(self.node), "ancestors": [asdict(n) for n in self.ancestors]}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Lineage":
        """Inverse of ``to_json``."""
        value = json.loads(text)
        return cls(Node.from_dict(value["node"]), tuple(Node.from_dict(n) for n in value["ancestors"]))
