"""What reaches the log: JSON lines of the wanted level."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from service.telemetry import configure_logging


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, put back afterwards."""
    logger = logging.getLogger()
    handlers, level = logger.handlers, logger.level
    yield logger
    logger.handlers = handlers
    logger.setLevel(level)
    structlog.reset_defaults()


def test_a_library_with_a_level_of_its_own_is_held_to_the_setting(
    root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """The search for help articles calls itself `debug`: who asked for warnings got its news at every start."""
    configure_logging("warning")
    library = logging.getLogger("a-library")
    library.setLevel(logging.DEBUG)
    library.debug("building")
    library.warning("running out")
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["running out"]
