"""What the OpenAPI says of answers is what callers get: the error envelope everywhere, and the right media types."""

from typing import Any

import pytest

from service.app import create_app
from service.settings import Settings

_METHODS = ("get", "post", "put", "delete", "patch")


@pytest.fixture(scope="module")
def operations() -> dict[str, dict[str, Any]]:
    """Each operation by method and path."""
    paths = create_app(Settings()).openapi()["paths"]
    return {f"{name} {path}": paths[path][name] for path in paths for name in _METHODS if name in paths[path]}


def test_every_operation_documents_the_envelope_and_no_validation_error(
    operations: dict[str, dict[str, Any]],
) -> None:
    """FastAPI would promise a 422 with a `detail`, which this service never sends."""
    for name, operation in operations.items():
        refused = operation["responses"]["4XX"]["content"]["application/json"]["schema"]
        assert refused == {"$ref": "#/components/schemas/ErrorEnvelope"}, name
        assert "422" not in operation["responses"] and "503" in operation["responses"], name


@pytest.mark.parametrize(
    ("name", "media_types"),
    [
        ("post /v1/chat/completions", {"application/json", "text/event-stream"}),
        ("get /v1/review/export", {"application/x-ndjson"}),
        ("get /v1/review/pairs/export", {"application/x-ndjson"}),
        ("get /v1/review/gold", {"application/x-ndjson"}),
        ("get /metrics", {"text/plain"}),
        ("post /v1/feedback", {"application/json"}),
    ],
)
def test_an_answer_has_the_media_types_that_are_documented(
    operations: dict[str, dict[str, Any]], name: str, media_types: set[str]
) -> None:
    """Streams and exports are no JSON documents."""
    assert operations[name]["responses"]["200"]["content"].keys() == media_types
