"""What reaches the log: JSON lines of the wanted level."""

import asyncio
import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

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


def test_our_own_lines_look_like_the_libraries(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON with event, level and time, the request's id and exceptions; nothing below the level."""
    configure_logging("info")
    own, library = structlog.get_logger("own"), logging.getLogger("a-library")
    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        own.debug("not shown")
        own.info("requested", name="顾客", seconds=0.5)
        library.info("requested")
        for log in (own, library):
            try:
                raise ZeroDivisionError("by nought")
            except ZeroDivisionError:
                log.exception("failed")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line["level"], line["request_id"]) for line in lines] == [
        ("requested", "info", "r-1"),
        ("requested", "info", "r-1"),
        ("failed", "error", "r-1"),
        ("failed", "error", "r-1"),
    ]
    assert (lines[0]["name"], lines[0]["seconds"]) == ("顾客", 0.5)
    assert all(line["timestamp"].endswith("Z") for line in lines)
    assert all("ZeroDivisionError: by nought" in line["exception"] for line in lines[2:])


def test_a_line_that_cannot_be_written_fails_nobody(root: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk under the log, or a pipe that nobody reads, costs the line and not the request."""
    monkeypatch.setattr(logging, "raiseExceptions", False)
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        monkeypatch.setattr("sys.stderr", full)
        configure_logging("info")
        structlog.get_logger("own").info("requested")
        logging.getLogger("a-library").info("requested")
        with pytest.raises(OSError, match="No space left"):  # else neither would have been written
            full.flush()
        monkeypatch.undo()
        with suppress(OSError):
            full.close()


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
