"""A method that a path does not take: 405, and the ones that it takes (RFC 9110, 15.5.6)."""

from fastapi import FastAPI
from fastapi.testclient import TestClient

from service.api.errors import install_error_handlers


def test_a_refused_method_names_those_that_there_are() -> None:
    """In the header `Allow`, beside the envelope."""
    app = FastAPI()
    install_error_handlers(app)
    app.add_api_route("/thing", lambda: {}, methods=["GET"])
    answer = TestClient(app).post("/thing")
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "GET"
