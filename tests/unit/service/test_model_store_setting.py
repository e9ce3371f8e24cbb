"""Where model versions lie is a directory of this machine; nothing that looks like an address is taken for one."""

import pytest
from pydantic import ValidationError

from service.settings import Settings


@pytest.mark.parametrize(
    "location",
    ["http://169.254.169.254/", "s3://bucket/models", "file:///etc", "a/../b", "..", "models?x=1", "m#x", "%2e%2e/m"],
)
def test_an_address_for_a_model_store_stops_the_start(location: str) -> None:
    """By the setting's name."""
    with pytest.raises(ValidationError, match="model_store"):
        Settings(model_store=location)


@pytest.mark.parametrize("location", ["models", "/data/models", "./a..b/models"])
def test_a_directory_is_taken(location: str) -> None:
    """The control, with dots that lead nowhere."""
    assert Settings(model_store=location).model_store_location == location
