"""A service that all clients talk to: real but for its engine, which takes a moment for each token."""

from collections.abc import Iterator

import pytest

from model_store.bundle import Bundle
from service.engine.types import CompletionRequest
from tests.contract.fake_engine import FakeEngines
from tests.e2e.running_service import RunningService, run_fake_service

STEP_SECONDS = 0.02


def say_order(bundle: Bundle, request: CompletionRequest) -> str:
    """A reply that names the customer's order and one of the shop's facts."""
    return "Your order <ORDER_ID> is on its way. We answer <SUPPORT_HOURS>."


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with a model that always speaks of an order."""
    engines = FakeEngines(say_order)
    engines.step_seconds = STEP_SECONDS
    with run_fake_service(tmp_path_factory.mktemp("clients"), engines) as running:
        yield running
