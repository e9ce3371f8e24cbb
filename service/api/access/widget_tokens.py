"""POST /v1/widget-tokens: what a shop's server asks for on behalf of a web page that wants to chat."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, StringConstraints

from service.access.access_control import AccessControl
from service.access.api_keys import Scope
from service.api.access.scopes import caller_of, requires
from service.api.schemas import SafeText

router = APIRouter()


class WidgetTokenRequest(BaseModel):
    """The page's origin as its browser sends it and, where the shop knows it, the visitor whom all thumbs are from."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    origin: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    user: Annotated[SafeText, StringConstraints(min_length=1, max_length=128)] | None = None


@router.post("/v1/widget-tokens", dependencies=[requires(Scope.CHAT)])
async def issue_widget_token(body: WidgetTokenRequest, request: Request) -> dict[str, Any]:
    """A token that chats and gives feedback from pages of this origin, for some minutes."""
    access: AccessControl = request.state.access
    token, seconds = access.issue_widget_token(caller_of(request), body.origin, body.user)
    return {
        "object": "widget_token",
        "token": token,
        "origin": body.origin,
        "expires_in": seconds,
        "expires_at": (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="seconds"),
    }
