"""Lighthouse on every page: accessibility and best practice, as anybody can measure them."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.chat_page import find_chromium
from tests.browser.scripted_replies import say_scripted
from tests.browser.staff_shelf import fill, publish, publish_gated
from tests.contract.fake_engine import FakeEngines
from tests.e2e.running_service import RunningService, run_fake_service

MIN_SCORE = 0.95
CATEGORIES = ("accessibility", "best-practices")
PAGES = ("/", "/web/shop.html", "/review", "/review/pairs", "/review/ratings", "/models", "/insights")
_FETCHED = Path(__file__).resolve().parents[2] / ".tools/lighthouse/node_modules/.bin/lighthouse"
_CHROME_FLAGS = "--headless=new --no-sandbox --disable-gpu --disable-background-networking --disable-component-update"
_TIMEOUT_SECONDS = 600


def find_lighthouse() -> str | None:
    """The one on PATH, else what `make lighthouse` has fetched."""
    return shutil.which("lighthouse") or (str(_FETCHED) if _FETCHED.exists() else None)


@pytest.fixture(scope="module")
def full_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """Something to see on every page."""
    directory = tmp_path_factory.mktemp("lighthouse")
    with run_fake_service(directory, FakeEngines(say_scripted), num_slots=1) as running:
        stable = running.store.resolve("stable").digest
        fill(running, stable)
        publish_gated(running, directory, stable)
        publish(running, directory, "newer")
        yield running


@pytest.mark.parametrize("page", PAGES)
def test_lighthouse_finds_the_page_accessible_and_well_made(
    full_service: RunningService, tmp_path: Path, page: str
) -> None:
    """Both categories reach 95 of 100."""
    lighthouse, chromium = find_lighthouse(), find_chromium()
    if lighthouse is None:
        pytest.skip("Lighthouse is missing; get it with `make lighthouse` (needs npm)")
    if chromium is None:
        pytest.skip("no Chromium; get one with `apt-get install chromium`, or name one in the variable CHROMIUM")
    report = tmp_path / "report.json"
    command = [lighthouse, full_service.url + page, "--quiet", "--output=json", f"--output-path={report}"]
    command += [f"--only-categories={','.join(CATEGORIES)}", f"--chrome-flags={_CHROME_FLAGS}"]
    environment = {**os.environ, "CHROME_PATH": chromium}
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=_TIMEOUT_SECONDS)
    found = json.loads(report.read_text(encoding="utf-8"))
    scores = {name: found["categories"][name]["score"] for name in CATEGORIES}
    audits = found["audits"].values()
    failed = [f"{audit['id']}: {audit['title']}" for audit in audits if audit["score"] not in (None, 1)]
    print(page, scores)
    assert all(score is not None and score >= MIN_SCORE for score in scores.values()), (scores, failed)
