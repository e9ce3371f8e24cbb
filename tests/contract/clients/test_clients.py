"""The clients that people have already: each asks, streams, lists models and is refused, with nothing set but a URL.

`openai` for Python and for JavaScript, LangChain and curl. What the API says beyond them: `tests/e2e`.
"""

import asyncio
import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.e2e.running_service import DEADLINE_SECONDS, RunningService

ORDER = "A1B2-77345"
QUESTION = f"Where is my order {ORDER}?"
MESSAGES: list[Any] = [{"role": "user", "content": QUESTION}]
REPLY = f"Your order {ORDER} is on its way. We answer Monday to Friday, 9:00 to 18:00."
_SCRIPT = Path(__file__).with_name("openai_client.mjs")
_OPENAI_JS = Path(__file__).resolve().parents[3] / ".tools/openai"


def test_openai_for_python_asks_streams_lists_and_is_refused(service: RunningService) -> None:
    """A stream adds up to the whole completion, and a refusal is the client's own error with the service's code."""
    client = service.openai
    whole = client.chat.completions.create(model="rejoinder", messages=MESSAGES)
    pieces = list(client.chat.completions.create(model="rejoinder", messages=MESSAGES, stream=True))
    assert whole.choices[0].message.content == REPLY
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == REPLY and len(pieces) > 3
    assert "rejoinder" in [model.id for model in client.models.list()]
    with pytest.raises(openai.NotFoundError) as refusal:
        client.chat.completions.create(model="nobody", messages=MESSAGES)
    assert refusal.value.code == "model_not_found"


def test_openai_for_python_streams_asynchronously(service: RunningService) -> None:
    """The client that most web applications use."""

    async def ask() -> str:
        async with openai.AsyncOpenAI(base_url=f"{service.url}/v1", api_key="none needed", max_retries=0) as client:
            stream = await client.chat.completions.create(model="rejoinder", messages=MESSAGES, stream=True)
            return "".join([piece.choices[0].delta.content or "" async for piece in stream])

    assert asyncio.run(ask()) == REPLY


def test_openai_for_javascript_asks_streams_lists_and_is_refused(service: RunningService) -> None:
    """The same as for Python; the feedback token is in reach of a page's own code."""
    node = shutil.which("node")
    if node is None or not (_OPENAI_JS / "node_modules/openai").is_dir():
        pytest.skip("no openai for JavaScript; get it with `make clients` (needs Node.js and npm)")
    command = [node, str(_SCRIPT), str(_OPENAI_JS), f"{service.url}/v1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["text"] == told["streamed"] == REPLY and told["num_pieces"] > 3
    assert told["finish_reason"] == "stop" and told["feedback_token"]
    assert told["total_tokens"] == told["streamed_usage"] > 0
    assert "rejoinder" in told["models"]
    assert told["refusal"] == {"is": True, "status": 404, "code": "model_not_found"}


def test_langchain_asks_streams_and_is_refused(service: RunningService) -> None:
    """ChatOpenAI, with system message and history as chains send them."""
    langchain = pytest.importorskip("langchain_openai", reason="get it with `pip install langchain-openai`")
    chat = langchain.ChatOpenAI(base_url=f"{service.url}/v1", api_key="none needed", model="rejoinder", max_retries=0)
    messages = [("system", "You help customers."), ("human", "Hello"), ("ai", "Hello!"), ("human", QUESTION)]
    whole = chat.invoke(messages)
    pieces = list(chat.stream(messages))
    assert whole.content == REPLY and whole.usage_metadata["total_tokens"] > 0
    assert whole.response_metadata["finish_reason"] == "stop"
    assert "".join(piece.content for piece in pieces) == REPLY and len(pieces) > 3
    with pytest.raises(openai.NotFoundError):
        langchain.ChatOpenAI(base_url=f"{service.url}/v1", api_key="none needed", model="nobody", max_retries=0).invoke(
            messages
        )


def test_curl_shows_words_while_the_rest_is_being_made(service: RunningService) -> None:
    """`curl -N` prints an event when it comes: the first words well before the last, and [DONE] at the end."""
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("no curl; get it with `apt-get install curl`")
    command = [curl, "-sS", "-N", f"{service.url}/v1/chat/completions", "-H", "Content-Type: application/json"]
    command += ["-d", json.dumps({"model": "rejoinder", "messages": MESSAGES, "stream": True})]
    arrivals: list[tuple[float, str]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdout is not None
        arrivals += [(time.monotonic(), line.removeprefix("data: ").strip()) for line in process.stdout if line.strip()]
    assert process.returncode == 0
    assert arrivals[-1][1] == "[DONE]"
    deltas = [json.loads(data)["choices"][0]["delta"] for _, data in arrivals[:-1]]
    assert "".join(delta.get("content", "") for delta in deltas) == REPLY
    first_words = next(at for (at, _), delta in zip(arrivals, deltas, strict=False) if delta.get("content"))
    assert arrivals[-1][0] - first_words > 0.1  # the fake engine takes 20 ms a token
