"""The reports that a learning run leaves in its bundle, in a real browser: they are open to all, at every width."""

from pathlib import Path

import pytest

from tests.browser.conftest import OpenChat
from tests.unit.evaluation.reporting.test_pages import gate_report, story
from training.evaluation.reporting.gate_page import GATE_PAGE, gate_page
from training.evaluation.reporting.training_page import TRAINING_PAGE, training_page


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with both."""
    directory = tmp_path_factory.mktemp("reports")
    (directory / GATE_PAGE).write_text(gate_page(gate_report(), "shop"), encoding="utf-8")
    (directory / TRAINING_PAGE).write_text(training_page(story()), encoding="utf-8")
    return directory


@pytest.mark.parametrize("width", [320, 768, 1280])
@pytest.mark.parametrize("name", [GATE_PAGE, TRAINING_PAGE])
def test_a_report_is_open_to_all(reports: Path, open_page: OpenChat, name: str, width: int) -> None:
    """axe-core finds no barrier; wide tables scroll by themselves."""
    page = open_page(reports.as_uri(), path=f"/{name}", ready="h1", width=width, bypass_csp=True)
    assert page.barriers() == []
    assert page.page.evaluate("() => document.documentElement.scrollWidth") <= width
