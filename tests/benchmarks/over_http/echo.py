"""The least that FastAPI can do with a streamed request: `python -m tests.benchmarks.over_http.echo PORT`.

It reads the JSON, checks nothing, keeps nothing and streams what was said as one event.
"""

import json
import sys
from collections.abc import AsyncIterator

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

app = FastAPI()


@app.post("/v1/chat/completions")
async def echo(request: Request) -> StreamingResponse:
    """Says the last message again."""
    text = (await request.json())["messages"][-1]["content"]
    return StreamingResponse(_events(text), media_type="text/event-stream")


@app.get("/livez")
async def live() -> str:
    """Answers."""
    return "ok"


async def _events(text: str) -> AsyncIterator[str]:
    yield f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'content': text}}]})}\n\n"
    yield "data: [DONE]\n\n"


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="error", access_log=False)
