"""Real bundles of a tiny Reformer, exported once a session, and engines that are closed after each test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model_store.contract.manifest import Manifest
from service.engine.engine import Engine
from service.engine.types import EngineOptions
from tests.unit.engine.tiny_reformer import write_bundle_files

OpenEngine = Callable[..., Engine]


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Manifest]]:
    """Directory and manifest of the "float32" and the "int8" export."""
    found = {}
    for profile_name in ("float32", "int8"):
        directory = tmp_path_factory.mktemp(profile_name)
        found[profile_name] = (directory, write_bundle_files(directory, profile_name))
    return found


@pytest.fixture
def open_engine(bundles: dict[str, tuple[Path, Manifest]]) -> Iterator[OpenEngine]:
    """Opens engines by `profile_name` (default "int8") and `num_slots` (default 4)."""
    engines: list[Engine] = []

    def open_one(profile_name: str = "int8", num_slots: int = 4) -> Engine:
        engines.append(Engine.open(*bundles[profile_name], EngineOptions(num_slots=num_slots)))
        return engines[-1]

    yield open_one
    for engine in engines:
        engine.close()
