import io
import os
import pickletools
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from sessrec_pipeline.training.state import TrainingState, load_state, save_state


def small() -> TrainingState:
    rng = np.random.default_rng(0)
    arrays = {
        "weights.items": rng.random((5, 3), np.float32),
        "negatives": np.array([2**64 - 1, 0, 7], dtype=np.uint64),
        "dropout": rng.integers(0, 256, 16).astype(np.uint8),
        "turned": rng.random((4, 3), np.float32).T,
        "steps": np.array(7, np.float32),
    }
    return TrainingState(2, (1 / 3, 1e-17), arrays)


def same(a: TrainingState | None, b: TrainingState) -> bool:
    if a is None or (a.epoch, a.losses, set(a.arrays)) != (b.epoch, b.losses, set(b.arrays)):
        return False
    return all(x.dtype == b.arrays[name].dtype and np.array_equal(x, b.arrays[name]) for name, x in a.arrays.items())


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    path, state = tmp_path / "new" / "state.safetensors", small()
    save_state(path, state, "key")
    assert same(load_state(path, "key"), state)
    later = replace(state, epoch=3, losses=(*state.losses, 0.1))
    save_state(path, later, "key")
    assert same(load_state(path, "key"), later)
    assert list(path.parent.iterdir()) == [path]


def test_none_without_a_file_or_with_another_key(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    assert load_state(path, "key") is None
    save_state(path, small(), "key")
    assert load_state(path, "other") is None
    assert load_state(path, "") is None


def test_any_damage_is_none(tmp_path: Path) -> None:
    path, state = tmp_path / "state.safetensors", small()
    save_state(path, state, "key")
    good = path.read_bytes()
    for end in range(0, len(good), 7):
        path.write_bytes(good[:end])
        assert load_state(path, "key") is None, f"cut at {end}"
    rng = random.Random(0)
    for _ in range(300):
        at, bit = rng.randrange(len(good)), 1 << rng.randrange(8)
        path.write_bytes(good[:at] + bytes([good[at] ^ bit]) + good[at + 1 :])
        loaded = load_state(path, "key")
        assert loaded is None or same(loaded, state), f"bit {bit} of byte {at}"
    path.write_bytes(os.urandom(1000))
    assert load_state(path, "key") is None


def test_files_of_others_are_none(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    for header in (None, {"key": "key"}, {"key": "key", "epoch": "x", "losses": "[]", "sha256": ""}):
        save_file({"a": np.zeros(3)}, path, header)
        assert load_state(path, "key") is None


def test_a_save_that_fails_leaves_the_state_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, state = tmp_path / "state.safetensors", small()
    save_state(path, state, "key")

    def fail(_: object, temporary: Path, *__: object) -> None:
        temporary.write_bytes(b"half of it")
        raise OSError("no space left")

    monkeypatch.setattr("sessrec_pipeline.training.state.save_file", fail)
    with pytest.raises(OSError, match="no space left"):
        save_state(path, replace(state, epoch=3), "key")
    assert same(load_state(path, "key"), state)
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_pickled(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save_state(path, small(), "key")
    with pytest.raises(ValueError):
        pickletools.dis(path.read_bytes(), out=io.StringIO())
