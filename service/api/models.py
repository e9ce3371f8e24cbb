"""GET /v1/models: the names that a completion can be asked from."""

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request

from service.access.api_keys import Scope
from service.api.access.scopes import requires
from service.chat.model_router import MODEL_ALIAS, LoadedModel, ModelRouter

router = APIRouter(dependencies=[requires(Scope.CHAT)])


@router.get("/v1/models")
async def list_models(request: Request) -> dict[str, Any]:
    """The stable version under its alias, its name and its digest; a candidate, under what is its own, behind it."""
    model_router: ModelRouter = request.state.model_router
    listed: dict[str, LoadedModel] = {}
    for model in model_router.models:
        for name in (MODEL_ALIAS, model.name, model.digest):
            listed.setdefault(name, model)
    return {"object": "list", "data": [_model_json(name, model) for name, model in listed.items()]}


@router.get("/v1/models/{model_id}")
async def show_model(model_id: str, request: Request) -> dict[str, Any]:
    """A loaded version by any of its names, short digests included."""
    model_router: ModelRouter = request.state.model_router
    return _model_json(model_id, model_router.get(model_id))


def _model_json(name: str, model: LoadedModel) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": _unix_time(model.created_at),
        "owned_by": "rejoinder",
        "digest": model.digest,
    }


def _unix_time(created_at: str) -> int:
    """Seconds since 1970; 0 where a manifest's time is not ISO 8601."""
    try:
        moment = datetime.fromisoformat(created_at)
    except ValueError:
        return 0
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
