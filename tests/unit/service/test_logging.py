"""What reaches the log: JSON lines of the wanted level."""

import asyncio
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from service.api.errors import RefusalLog
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


def test_refusals_are_told_of_together(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    """The first at once, what follows by one line for each reason and second, and nothing when nothing follows."""
    configure_logging("warning")

    async def refuse() -> None:
        log = RefusalLog(seconds_between_lines=0.01)
        for code in ("overloaded", *["overloaded"] * 40, *["rate_limited"] * 2):
            log.note(code)
        while log.is_resting:
            await asyncio.sleep(0.01)
        log.note("overloaded")

    asyncio.run(refuse())
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["code"], line["num_requests"]) for line in lines] == [
        ("overloaded", 1),
        ("overloaded", 40),
        ("rate_limited", 2),
        ("overloaded", 1),
    ]
