"""What probes and Prometheus ask: /livez, /readyz, /metrics."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from service.api.openapi import answers_text
from service.chat.chatbot import Chatbot
from service.chat.model_router import ModelRouter
from service.telemetry import Telemetry

router = APIRouter()


@router.get("/livez")
async def livez() -> dict[str, str]:
    """The event loop turns."""
    return {"status": "alive"}


@router.get("/readyz", responses={503: {"description": "Draining, or no model.", "model": dict[str, str]}})
async def readyz(request: Request) -> JSONResponse:
    """Whether new conversations should be sent here.

    The database is left out on purpose: it is shared, and taking every instance out of service would help nobody.
    """
    chatbot: Chatbot = request.state.chatbot
    model_router: ModelRouter = request.state.model_router
    if chatbot.is_draining:
        return JSONResponse({"status": "draining"}, 503)
    if not model_router.is_ready:
        return JSONResponse({"status": "no model"}, 503)
    return JSONResponse({"status": "ready"})


@router.get("/metrics", response_class=Response, responses=answers_text("text/plain"))
async def metrics(request: Request) -> Response:
    """All metrics in Prometheus' text format."""
    telemetry: Telemetry = request.state.telemetry
    return Response(telemetry.render(), headers={"content-type": CONTENT_TYPE_LATEST})
