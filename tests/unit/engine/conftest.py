"""Real bundles of tiny Reformers, exported once a session, and engines that are closed after each test."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from model_store.contract.manifest import Manifest
from service.engine.engine import Engine
from service.engine.types import EngineOptions
from tests.unit.engine.tiny_reformer import write_bundle_files

OpenEngine = Callable[..., Engine]
FindBundle = Callable[[str, str], tuple[Path, Manifest]]


@pytest.fixture(scope="session")
def find_bundle(tmp_path_factory: pytest.TempPathFactory) -> FindBundle:
    """Directory and manifest by profile ("float32" or "int8") and network ("plain" or "summary")."""

    @cache
    def find(profile_name: str, network: str) -> tuple[Path, Manifest]:
        directory = tmp_path_factory.mktemp(f"{network}-{profile_name}")
        return directory, write_bundle_files(directory, profile_name, network)

    return find


@pytest.fixture
def network() -> str:
    """The network that engines are opened with; test modules may parametrise it."""
    return "plain"


@pytest.fixture
def open_engine(find_bundle: FindBundle, network: str) -> Iterator[OpenEngine]:
    """Opens engines by `profile_name` (default "int8") and engine options (default 4 slots)."""
    engines: list[Engine] = []

    def open_one(profile_name: str = "int8", num_slots: int = 4, **options: int) -> Engine:
        bundle = find_bundle(profile_name, network)
        engines.append(Engine.open(*bundle, EngineOptions(num_slots=num_slots, **options)))
        return engines[-1]

    yield open_one
    for engine in engines:
        engine.close()
