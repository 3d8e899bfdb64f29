"""Whatever bit of an artefact is flipped: it is told as damage, or what is read is what was written."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from sessrec_pipeline.settings import Settings
from sessrec_pipeline.storage.checkpoints import Checkpoint
from sessrec_pipeline.storage.files import DamagedFileError
from sessrec_pipeline.storage.lake import Table, write_table
from sessrec_pipeline.storage.lineage import FORMAT, METADATA_KEY, Lineage, Node
from sessrec_pipeline.storage.pages import Page
from sessrec_pipeline.storage.store import NotMaterializedError, Publishable, Store, Stored

TABLE = Table(
    pa.table(
        {
            "model": ["markov", "sr", None] * 20,
            "value": np.linspace(0, 1, 60),
            "items": pa.array([[1, 2], None, []] * 20, pa.list_(pa.int64())),
        }
    ),
    stats={"events": 60},
)
CHECKPOINT = Checkpoint(
    "markov", {"weights": np.arange(40, dtype=np.float32).reshape(8, 5)}, {"alpha": 0.5}, [f"i{n}" for n in range(8)]
)
PAGE = Page("<!doctype html><html><body>Recall 0.6544 ü</body></html>")
CONTENT: dict[str, tuple[Publishable, Callable[[Stored], object]]] = {
    "leaderboard": (TABLE, lambda stored: stored.arrow()),
    "markov_checkpoint": (CHECKPOINT, lambda stored: stored.checkpoint().content_hash()),
    "report": (PAGE, lambda stored: stored.path.read_bytes().partition(b"\n<script")[0]),
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(Settings(home=tmp_path / "home"))


@pytest.mark.parametrize("asset", CONTENT)
def test_no_flipped_bit_is_accepted(store: Store, asset: str) -> None:
    value, read = CONTENT[asset]
    log = Lineage(Node("landing", "a.tsv", "1" * 64, "", {}, "python", "", "2026-01-01T00:00:00+00:00"))
    published = store.publish(asset, value, config={"k": 20}, run_id="r", parents=[log])
    clean, expected, lineage = published.path.read_bytes(), read(published), published.lineage
    seen = 0
    for place in range(0, len(clean), 3):
        damaged = bytearray(clean)
        damaged[place] ^= 1 << place % 8
        published.path.write_bytes(damaged)
        try:
            found = store.find(asset).verified()
        except DamagedFileError as error:
            assert "is damaged: " in str(error) and error.path == published.path
            seen += 1
        except NotMaterializedError:  # a page whose mark is gone is a page of somebody else
            assert asset == "report"
        else:
            assert (read(found), found.lineage) == (expected, lineage), place
    assert seen > len(clean) // 4, "most bytes say something"


def test_a_pointer_with_a_flipped_bit_is_damage(store: Store) -> None:
    store.publish("leaderboard", TABLE)
    pointer = store.folder("leaderboard", None, ".parquet").folder / "current"
    clean = pointer.read_bytes()
    for place in range(64):
        damaged = bytearray(clean)
        damaged[place] ^= 1 << place % 8
        pointer.write_bytes(damaged)
        with pytest.raises((DamagedFileError, NotMaterializedError)):  # it may name a version that is not there
            store.find("leaderboard")


def test_lineage_of_a_newer_version_is_told_as_such() -> None:
    node = Node("metrics", None, "", "1", {}, "python", "run", "2026-11-01T00:00:00+00:00")
    text = Lineage(node).to_json().replace(f'"format": {FORMAT}', f'"format": {FORMAT + 1}')
    with pytest.raises(ValueError, match="of a newer sessrec_pipeline than this one"):
        Lineage.from_json(text)


def test_lineage_from_before_it_had_a_hash_is_read() -> None:
    node = (
        '{"asset": "metrics", "partition": null, "data_version": "", "code_version": "1", "config": {}, "engine": '
        '"python", "run_id": "run", "created_at": "2026-11-01T00:00:00+00:00", "rows": 1, "stats": {}, "parents": []}'
    )
    assert Lineage.from_json(f'{{"node": {node}, "ancestors": []}}').node.asset == "metrics"
    with pytest.raises(ValueError, match="not what was written"):
        Lineage.from_json(f'{{"node": {node}, "ancestors": [], "descendants": []}}')


@pytest.mark.parametrize("asset", CONTENT)
def test_a_damaged_file_is_set_aside_and_made_again(store: Store, asset: str) -> None:
    value, read = CONTENT[asset]
    published = store.publish(asset, value)
    expected, clean = read(published), published.path.read_bytes()
    place = clean.index(b'"data_version') + 20
    damaged = clean[:place] + bytes([clean[place] ^ 4]) + clean[place + 1 :]
    published.path.write_bytes(damaged)
    told: list[str] = []
    store.mend(told.append)
    aside = store.home / "damaged" / published.path.relative_to(store.home)
    assert aside.read_bytes() == damaged and f"set aside as {aside}" in told[0] and len(told) == 1
    assert not store.has(asset)
    store.publish(asset, value)
    assert read(store.find(asset)) == expected
    store.mend(told.append)
    assert len(told) == 1


def test_damaged_rows_do_not_reach_the_warehouse(store: Store) -> None:
    published = store.publish("leaderboard", TABLE)
    writer, *_ = write_table(published.path, TABLE.arrow().slice(1))
    writer.add_key_value_metadata({METADATA_KEY: published.lineage.to_json()})
    writer.close()
    with pytest.raises(DamagedFileError, match="its rows differ from its own hash"):
        published.arrow()
    store.warehouse.path.unlink()
    told: list[str] = []
    store.rebuild_catalogue(told.append)
    assert len(told) == 1 and "its rows differ" in told[0]
    with store.warehouse.connect() as connection:
        assert connection.execute("SELECT COUNT(*) FROM lineage.current").fetchone() == (0,)
    store.mend(told.append)
    assert "set aside as" in told[1] and not store.has("leaderboard")


def test_a_damaged_pointer_names_the_newest_version_again(store: Store) -> None:
    store.publish("metrics", Table(pa.table({"n": [1]})))
    newest = store.publish("metrics", Table(pa.table({"n": [2]})))
    newest.path.parents[1].joinpath("current").write_text("nothing")
    told: list[str] = []
    store.mend(told.append)
    assert store.find("metrics") == newest and "names the newest version again" in told[0]


def test_what_lies_among_the_reports_is_left_alone(store: Store) -> None:
    store.publish("report", PAGE)
    (store.settings.reports / "old.html").mkdir()
    (store.settings.reports / "mine.html").write_bytes("Größe".encode("latin-1"))
    told: list[str] = []
    store.mend(told.append)
    store.rebuild_catalogue(told.append)
    assert told == [] and (store.settings.reports / "mine.html").exists() and store.names() == ["report"]
