"""A start that fails: one line that says what is wrong and what to do; a traceback only where nothing has a name."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette

from service.cli import main
from service.http_server import DrainingServer, NamedStart


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data directory of its own; the log goes where the test looks."""
    monkeypatch.setenv("SERVICE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr("service.cli.configure_logging", lambda level: None)


@pytest.mark.parametrize(
    ("description", "told"),
    [
        (None, "intents.json cannot be used: No such file or directory. Put the files back, .*SERVICE_INTENT_WEIGHT=0"),
        ("{}", "intents.json cannot be used: intents: Field required.*SERVICE_INTENT_WEIGHT=0"),
    ],
)
def test_an_intent_model_that_cannot_be_opened_is_told_in_one_line(
    description: str | None,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Exit 1, with the way out, and no traceback in the log."""
    if description is not None:
        (tmp_path / "intents.json").write_text(description)
    monkeypatch.setenv("SERVICE_INTENT_MODEL_DIR", str(tmp_path))
    assert main(["serve"]) == 1
    assert re.fullmatch(f"error: The intent model .*{told}.*\n", capsys.readouterr().err)
    assert "Traceback" not in caplog.text


def test_a_problem_of_several_lines_is_told_in_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A YAML parser tells where it stopped in lines of its own."""
    (tmp_path / "facts.yaml").write_text("BRAND: [\n")
    monkeypatch.setenv("SERVICE_FACTS_FILE", str(tmp_path / "facts.yaml"))
    assert main(["serve"]) == 1
    assert re.fullmatch("error: The facts file .*while parsing.*example.\n", capsys.readouterr().err)
    assert "Traceback" not in caplog.text


def test_a_fault_of_the_program_keeps_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody foresaw it, so nobody wrote a line for it."""

    @asynccontextmanager
    async def fails(app: Starlette) -> AsyncIterator[None]:
        raise ZeroDivisionError
        yield

    start = NamedStart(Starlette(lifespan=fails))
    server = DrainingServer(uvicorn.Config(start, port=0, lifespan="on", log_config=None), 0, start)
    with pytest.raises(SystemExit):
        server.run()
    assert "Traceback" in caplog.text and "ZeroDivisionError" in caplog.text
