"""What is remembered of every evaluation, also when its tables have gone from the lake.

    <home>/history/metrics/<time>-<lineage id>.parquet      the metrics as they were published, with their lineage
    <home>/history/ranks/<rankings>/<content hash>.parquet  the rankings behind them, without their lists of items

Metrics stay for ever. The paired test of two runs needs the ranks, of which each model keeps ``[storage] keep_ranks``.
"""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq

from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage import lake
from sessrec_pipeline.storage.files import DamagedFileError, file_name, replacing
from sessrec_pipeline.storage.lineage import Lineage, Node

METRICS, KEPT_RANKS = "metrics", "ranks"
"""The asset whose versions are evaluations, and what the kept ranks call themselves, of which each partition is an
asset of rankings."""
RANKS = ["session", "position", "target", "greater", "equal"]
"""What is kept of rankings: enough for every metric at every cutoff under every tie rule."""


class History:
    """The evaluations of one feed's home."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder = settings.home / "history"

    def evaluations(self) -> list[Path]:
        """The kept metrics, the oldest first."""
        return sorted((self.folder / "metrics").glob("[!.]*.parquet"))

    def has(self, node: Node) -> bool:
        """Whether this evaluation is kept already, or is the last one made again."""
        last = [path.stem.rpartition("-")[2] for path in self.evaluations()[-1:]]
        return last == [node.id] or self.place(node).exists()

    def keep_metrics(self, path: Path, node: Node) -> Path:
        """Keep the file of published metrics; where."""
        with replacing(self.place(node)) as temporary:
            shutil.copyfile(path, temporary)
        return self.place(node)

    def place(self, node: Node) -> Path:
        """Where published metrics are kept."""
        moment = node.created_at[:19].replace("-", "").replace(":", "")
        return self.folder / "metrics" / f"{moment}-{node.id}.parquet"

    def keep_ranks(self, path: Path, lineage: Lineage) -> None:
        """Keep what ``RANKS`` names of published rankings, and delete what is too old."""
        node = lineage.node
        kept = self.place_of_ranks(node)
        if not kept.exists():
            with replacing(kept) as temporary:
                writer, content, rows = lake.write_table(temporary, pq.ParquetFile(path).read(RANKS))
                own = replace(node, asset=KEPT_RANKS, partition=node.asset, data_version=content, rows=rows)
                made = Lineage.of(replace(own, config={}, stats={}, parents=(node.id,)), [lineage])
                lake.end_table(writer, temporary, made)
        kept.touch()  # what is evaluated again counts as new
        newest = sorted(kept.parent.glob("[!.]*.parquet"), key=lambda file: file.stat().st_mtime_ns, reverse=True)
        for old in newest[self.settings.storage.keep_ranks :]:
            old.unlink(missing_ok=True)

    def place_of_ranks(self, rankings: Node) -> Path:
        """Where the ranks of a version of rankings are kept."""
        return self.folder / "ranks" / file_name(rankings.asset) / f"{rankings.data_version}.parquet"

    def ranks(self, rankings: Node) -> Path | None:
        """The kept ranks of a version of rankings, None where they are gone."""
        path = self.place_of_ranks(rankings)
        return path if path.exists() else None

    def lineages(self, asset: str) -> Iterator[Lineage]:
        """Of every version of the rankings ``asset`` whose ranks are kept, the lineage of the rankings themselves."""
        for path in sorted((self.folder / "ranks" / file_name(asset)).glob("[!.]*.parquet")):
            lineage = self.read_lineage(path)
            [rankings] = lineage.node.parents
            nodes = lineage.origin(rankings)
            yield Lineage(nodes[0], tuple(nodes[1:]))

    def read_lineage(self, path: Path) -> Lineage:
        """What a file of the history says of itself; DamagedFileError where it is not what its place says."""
        lineage = lake.read_lineage(path)
        if lineage is None or path != self._place_of(lineage):
            raise DamagedFileError(
                path, "it is not what was kept here", "what is left of the history is used without it"
            )
        return lineage

    def _place_of(self, lineage: Lineage) -> Path | None:
        """Where a kept table belongs."""
        node = lineage.node
        if node.asset == METRICS:
            return self.place(node)
        ranked = [n for n in lineage.ancestors if n.id in node.parents]
        if node.asset != KEPT_RANKS or len(ranked) != 1 or ranked[0].asset != node.partition:
            return None
        return self.place_of_ranks(ranked[0])


def rankings_of(lineage: Lineage) -> Iterator[Node]:
    """The rankings that metrics were computed from."""
    parents = set(lineage.node.parents)
    yield from (node for node in lineage.ancestors if node.id in parents)
