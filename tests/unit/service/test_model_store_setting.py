"""Where model versions lie is a directory of this machine or a plain address of S3; nothing else is taken for one."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import Settings


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/",
        "s3://169.254.169.254/models",
        "s3://bucket/../models",
        "s3://user:password@bucket/models",
        "S3://bucket/models",
        "gs://bucket/models",
        "file:///etc",
        "a/../b",
        "..",
        "models?x=1",
        "m#x",
        "%2e%2e/m",
    ],
)
def test_an_address_for_a_model_store_stops_the_start(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the setting's name, whatever else is set, and without repeating a password."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with pytest.raises(ValidationError, match="model_store") as caught:
        Settings(model_store=location)
    assert "password" not in str(caught.value.errors(include_input=False))


@pytest.mark.parametrize("location", ["models", "/data/models", "./a..b/models"])
def test_a_directory_is_taken(location: str) -> None:
    """The control, with dots that lead nowhere."""
    assert Settings(model_store=location).model_store_location == location


def test_an_address_of_s3_is_taken_with_all_that_it_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Credentials are asked for at the start, and a bad endpoint is named, with nothing sent anywhere."""
    location = "s3://bucket/models"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValidationError, match="AWS_ACCESS_KEY_ID"):
        Settings(model_store=location)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    settings = Settings(model_store=location, data_dir=tmp_path)
    assert settings.model_store_location == location
    assert settings.model_cache_path == tmp_path / "model_cache"
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://169.254.169.254")
    with pytest.raises(ValidationError, match="AWS_ENDPOINT_URL_S3"):
        Settings(model_store=location)
