"""Pages of bundles on a running service: who gets a link, what a link opens, and what a page may do."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from model_store.bundle import write_bundle
from model_store.contract.manifest import MANIFEST_NAME, parse_manifest
from service.access.api_keys import Scope
from service.chat.oversight import documents
from service.chat.oversight.documents import Document, DocumentLinks
from service.chat.oversight.shelf import Shelf
from tests.contract.fake_engine import FakeEngines, make_chat_bundle
from tests.e2e.access_callers import give_key
from tests.e2e.running_service import RunningService, run_fake_service, say_hello

PAGE = "<!doctype html><title>Gate report</title><p>Accepted"


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service that asks for keys."""
    with run_fake_service(tmp_path_factory.mktemp("keyed"), FakeEngines(say_hello), api_key="k" * 40) as running:
        yield running


def publish_documented(service: RunningService, directory: Path) -> str:
    """Puts a version with a gate page on the shelf."""
    make_chat_bundle(directory / "documented", "documented")
    manifest = parse_manifest((directory / "documented" / MANIFEST_NAME).read_bytes(), digest="")
    (directory / "documented" / "gate.html").write_text(PAGE)
    digest = write_bundle(directory / "documented", manifest.model_dump(mode="json", exclude={"files"})).digest
    service.store.publish(directory / "documented")
    return digest


def test_a_link_opens_one_page_without_a_key_and_lets_it_do_nothing(keyed: RunningService, tmp_path: Path) -> None:
    """Who may look gets a link; the page comes sandboxed: its own styles and pictures, no script, no request."""
    digest = publish_documented(keyed, tmp_path)
    reviewer = give_key(keyed, "default", [Scope.REVIEW])
    with keyed.http as client:
        path = f"/v1/model-versions/{digest}"
        assert client.get(path).status_code == 401
        report = reviewer.ask("GET", path).raise_for_status().json()
        (document,) = report["documents"]
        assert (document["name"], document["title"]) == ("gate.html", "Gate report with plots")
        answer = client.get(document["path"])
    assert answer.status_code == 200 and answer.text == PAGE
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox; default-src 'none'") and "script-src" not in policy
    assert "no-store" in answer.headers["cache-control"]


def test_a_link_that_is_forged_foreign_or_old_opens_nothing(
    keyed: RunningService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """404 as plain text, whatever is wrong with it."""
    digest = publish_documented(keyed, tmp_path)
    links = DocumentLinks("k" * 40)
    with keyed.http as client:
        for link in ("nonsense", links.issue(Document(digest, "gate.html")), "a" * 401):
            answer = client.get(f"/model-documents/{link}")
            assert answer.status_code in (404, 422, 400)
            assert PAGE not in answer.text
    old = links.issue(Document(digest, "gate.html"))
    assert links.verify(old) == Document(digest, "gate.html")
    monkeypatch.setattr(documents, "LINK_SECONDS", -1)
    assert links.verify(old) is None


def test_only_pages_are_opened(keyed: RunningService, tmp_path: Path) -> None:
    """A genuine link to another file of the bundle would open nothing: weights are nobody's page."""
    digest = publish_documented(keyed, tmp_path)
    shelf = Shelf(keyed.store)
    assert shelf.document(Document(digest, "gate.html")).decode() == PAGE
    with pytest.raises(KeyError):
        shelf.document(Document(digest, "model.onnx"))


def test_the_shelf_says_how_many_ratings_a_gain_takes(keyed: RunningService) -> None:
    """Without a canary, for one that would begin now."""
    reviewer = give_key(keyed, "default", [Scope.REVIEW])
    needed = reviewer.ask("GET", "/v1/model-versions").raise_for_status().json()["ratings_needed"]
    assert needed["always_valid"] > needed["fixed_sample"] > 1000
    assert needed["sentence"].startswith("A gain of 3 points over 50% thumbs up")
