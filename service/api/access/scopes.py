"""What a route asks of its callers, written where the route is: `APIRouter(dependencies=[requires(Scope.CHAT)])`."""

from typing import Any

from fastapi import Depends, Request

from service.access.access_control import Caller
from service.access.api_keys import Scope
from service.access.errors import ApiKeyRequiredError, MissingScopeError, PersonMayNotError


def requires(scope: Scope, *, is_for_browsers: bool = False) -> Any:
    """A dependency that raises MissingScopeError, or ApiKeyRequiredError for a widget token where none is taken."""

    async def check(request: Request) -> None:
        caller = caller_of(request)
        if scope not in caller.scopes:
            raise (PersonMayNotError if caller.is_person else MissingScopeError)(scope=scope)
        if caller.is_browser and not is_for_browsers:
            raise ApiKeyRequiredError()

    return Depends(check)


def caller_of(request: Request) -> Caller:
    """Who asks; the middleware has found out."""
    caller: Caller = request.state.caller
    return caller
