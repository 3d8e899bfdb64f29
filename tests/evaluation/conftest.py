"""Stored splits and rankings for the measures."""

import pytest
from worlds import World, make


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make(tmp_path_factory.mktemp("world"))
