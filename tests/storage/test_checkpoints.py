import os
import pickle
import pickletools
import random
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sessrec_pipeline.models.gru4rec.network import GRU4Rec, initial_weights
from sessrec_pipeline.models.gru4rec.settings import GRU4RecSettings
from sessrec_pipeline.storage.checkpoints import (
    Checkpoint,
    read_checkpoint,
    read_lineage,
    write_checkpoint,
)
from sessrec_pipeline.storage.files import DamagedFileError
from sessrec_pipeline.storage.lineage import Lineage, Node

NODE = Node("gru4rec_checkpoint", None, "", "1", {}, "python", "run", "2026-11-01T00:00:00+00:00")


def written(path: Path, checkpoint: Checkpoint) -> Lineage:
    lineage = Lineage(replace(NODE, data_version=checkpoint.content_hash()))
    write_checkpoint(path, checkpoint, lineage)
    return lineage


def small() -> Checkpoint:
    rng = np.random.default_rng(0)
    weights = {"items": rng.random((5, 3), np.float32), "item_bias": rng.random(5, np.float32)}
    return Checkpoint("gru4rec", weights, {"layers": [3], "loss": "bpr-max"}, ["a", "b", "ü</script>", "", "e"])


def realistic() -> Checkpoint:
    """GRU4Rec as in the published settings of RSC15 on a catalogue of 3,000 items."""
    config = GRU4RecSettings()
    weights = {name: tensor.numpy() for name, tensor in initial_weights(config, 3000).items()}
    return Checkpoint("gru4rec", weights, config.model_dump(mode="json"), [str(214_000_000 + i) for i in range(3000)])


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    path, before = tmp_path / "model.safetensors", small()
    lineage = written(path, before)
    after = read_checkpoint(path)
    assert after.config == before.config
    assert after.items == before.items
    assert set(after.arrays) == set(before.arrays)
    for name, array in before.arrays.items():
        np.testing.assert_array_equal(after.arrays[name], array, strict=True)
    assert read_lineage(path) == lineage


def test_checkpoint_is_only_weights(tmp_path: Path) -> None:
    path, checkpoint = tmp_path / "model.safetensors", realistic()
    written(path, checkpoint)
    content = path.read_bytes()

    assert len(content) < 2 * sum(array.nbytes for array in checkpoint.arrays.values())
    header = int.from_bytes(content[:8], "little")
    assert content[8:9] == b"{"
    assert len(content) == 8 + header + sum(array.nbytes for array in checkpoint.arrays.values())
    with pytest.raises(ValueError, match=r"opcode|pickle"):
        list(pickletools.genops(content))
    # Nothing that could run code is even imported by the process that reads it.
    code = (
        "import sys, pathlib; from sessrec_pipeline.storage.checkpoints import read_checkpoint; import pickle\n"
        "def refuse(*_, **__): raise AssertionError('unpickled')\n"
        "pickle.load = pickle.loads = pickle.Unpickler = refuse\n"
        "assert len(read_checkpoint(pathlib.Path(sys.argv[1])).items) == 3000; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)


def test_the_model_comes_back_from_its_checkpoint(tmp_path: Path) -> None:
    path, before = tmp_path / "model.safetensors", realistic()
    written(path, before)
    after = read_checkpoint(path)
    model = GRU4Rec.from_weights(GRU4RecSettings.model_validate(after.config), len(after.items), after.arrays)
    for name, array in model.weights().items():
        np.testing.assert_array_equal(array, before.arrays[name])


def test_a_flipped_byte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    written(path, small())
    clean = path.read_bytes()
    begin = 8 + int.from_bytes(clean[:8], "little")
    config = clean.index(b"bpr-max")
    items = clean.index(b"\\u00fc")
    places = [0, 7, 8, config, items + 2, *range(begin, len(clean), 7), len(clean) - 1]
    for place in places:
        damaged = bytearray(clean)
        damaged[place] ^= 0x04
        path.write_bytes(damaged)
        with pytest.raises(DamagedFileError, match="is damaged"):
            read_checkpoint(path)
    path.write_bytes(clean)
    assert read_checkpoint(path).items == small().items


def test_any_damage_is_refused_or_harmless(tmp_path: Path) -> None:
    """Wherever the bytes are hit: an error of ours, or exactly the weights, config and items that were written."""
    path, rng, expected = tmp_path / "model.safetensors", random.Random(3), small().content_hash()
    written(path, small())
    clean = path.read_bytes()
    for _ in range(300):
        damaged = bytearray(clean)
        for _ in range(rng.choice([1, 1, 4])):
            damaged[rng.randrange(len(clean))] = rng.randrange(256)
        path.write_bytes(damaged)
        with suppress(DamagedFileError):
            assert read_checkpoint(path).content_hash() == expected


@pytest.mark.parametrize("length", [0, 1, 8, 100, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "model.safetensors"
    written(path, small())
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DamagedFileError, match=r"model\.safetensors is damaged"):
        read_checkpoint(path)


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_under_our_name_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    path, trace = tmp_path / "model.safetensors", tmp_path / "it ran"
    path.write_bytes(pickle.dumps(Evil(trace), protocol))
    with pytest.raises(DamagedFileError):
        read_checkpoint(path)
    with pytest.raises(DamagedFileError):
        read_lineage(path)
    assert not trace.exists()
    pickle.loads(path.read_bytes())  # the trap was armed
    assert trace.exists()


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    """Swapped whole files are consistent in themselves; swapped contents are not."""
    path = tmp_path / "model.safetensors"
    other = replace(small(), items=["a", "b", "c", "d", "e"])
    write_checkpoint(path, other, Lineage(replace(NODE, data_version=small().content_hash())))
    with pytest.raises(DamagedFileError, match="differs from its own hash"):
        read_checkpoint(path)


def test_weights_of_wrong_shapes_are_refused_by_the_model() -> None:
    config, weights = GRU4RecSettings.model_validate(realistic().config), realistic().arrays
    with pytest.raises(ValueError, match="shape"):
        GRU4Rec.from_weights(config, 2999, weights)
    with pytest.raises(ValueError, match="need the weights"):
        GRU4Rec.from_weights(config, 3000, {name: weights[name] for name in ("items", "item_bias")})


@pytest.mark.parametrize(
    "change",
    [
        {"config": {"layers": [4]}},
        {"items": ["b", "a", "ü</script>", "", "e"]},
        {"arrays": {"items": small().arrays["items"], "item_bias": -small().arrays["item_bias"]}},
        {"arrays": {"items": small().arrays["items"].reshape(3, 5), "item_bias": small().arrays["item_bias"]}},
        {"arrays": {"items": small().arrays["items"], "bias": small().arrays["item_bias"]}},
    ],
)
def test_the_content_hash_covers_everything(change: dict[str, object]) -> None:
    assert replace(small(), **change).content_hash() != small().content_hash()  # type: ignore[arg-type]


def test_the_content_hash_is_of_content_alone() -> None:
    one = small()
    other = Checkpoint(
        one.model,
        {name: np.asfortranarray(one.arrays[name]) for name in reversed(one.arrays)},
        dict(reversed(one.config.items())),
        one.items,
        {"loss after epoch 1": 0.5},
    )
    assert other.content_hash() == one.content_hash()
