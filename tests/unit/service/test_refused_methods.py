"""A method that a path does not take: 405, and the ones that it takes (RFC 9110, 15.5.6)."""

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response

from service.api.errors import install_error_handlers
from service.api.oversight import comparisons, versions


def test_a_refused_method_names_those_that_there_are() -> None:
    """In the header `Allow`, beside the envelope."""
    app = FastAPI()
    install_error_handlers(app)
    app.add_api_route("/thing", lambda: {}, methods=["GET"])
    answer = TestClient(app).post("/thing")
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET"


@pytest.mark.parametrize("name", ["moves", "comparisons"])
def test_what_is_done_with_versions_is_not_taken_for_a_version(name: str) -> None:
    """Both are posted to; who asks for them is told so, and not that they are no digest."""
    answer = _get(f"/v1/model-versions/{name}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("name", ["stable", "ab12", "a" * 63, "a" * 65, "G" * 64, "a" * 64 + "/more"])
def test_what_is_no_digest_is_no_version(name: str) -> None:
    """404 in the envelope, without a look into the store."""
    answer = _get(f"/v1/model-versions/{name}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def _get(path: str) -> Response:
    """From the routes of versions alone; none is reached, so nobody is asked who calls."""
    app = FastAPI()
    install_error_handlers(app)
    for module in (versions, comparisons):
        app.include_router(module.router)
    return TestClient(app).get(path)
