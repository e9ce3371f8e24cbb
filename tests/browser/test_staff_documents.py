"""Pages of a bundle, opened from the versions page in a real browser: they are read, and can do nothing else."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenChat
from tests.browser.scripted_replies import say_scripted
from tests.browser.staff_shelf import publish_documented
from tests.contract.fake_engine import FakeEngines
from tests.e2e.running_service import RunningService, run_fake_service

PAGE = (
    "<!doctype html><title>Gate report</title><style>p{color:rgb(1, 2, 3)}</style><p>All rules hold.</p>"
    "<script>document.querySelector('p').textContent = 'it ran'</script>"
    "<img src='data:image/svg+xml,<svg xmlns=%22http://www.w3.org/2000/svg%22 width=%2240%22 height=%2230%22/>'>"
)


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A shelf with a version that has a page, which tries to run a script."""
    directory = tmp_path_factory.mktemp("shelf")
    with run_fake_service(directory, FakeEngines(say_scripted), canary_share=0.25) as running:
        publish_documented(running, directory, PAGE)
        yield running


def test_a_report_opens_in_a_tab_of_its_own_and_runs_nothing(documented: RunningService, open_page: OpenChat) -> None:
    """Text, styles and pictures are shown; the script is not run."""
    page = open_page(documented.url, path="/models", ready=".timeline", width=1280).page
    expect(page.locator("#release ~ p").first).to_be_visible()
    expect(page.locator("section", has=page.locator("#release"))).to_contain_text("A gain of 3 points over")
    told = page.locator(".timeline > li").filter(has=page.locator("h3", has_text="told"))
    told.locator("summary").click()
    with page.context.expect_page() as opened:
        told.get_by_role("link", name="Gate report with plots").click()
    report = opened.value
    expect(report.locator("p")).to_have_text("All rules hold.")
    expect(report.locator("p")).to_have_css("color", "rgb(1, 2, 3)")
    assert report.locator("img").evaluate("image => image.naturalWidth") == 40
    assert report.title() == "Gate report"
