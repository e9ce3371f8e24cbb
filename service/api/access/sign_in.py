"""/sign-in: to the identity provider, back again, who is here, and out. What is decided: `service.access.sign_in`.

A person in a browser reads what goes wrong on the way, so these refusals are pages.
"""

import html
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from service.access.access_control import AccessControl
from service.access.sign_in.sessions import Session
from service.access.sign_in.sign_in import PageProof, ProviderAnswer, SignIn
from service.api.access.cookies import ATTEMPT, SESSION, drop_cookie, read_cookie, set_cookie
from service.api.errors import translate
from service.errors import ServiceError
from service.records.errors import RecordsError
from service.telemetry import Telemetry

_NO_STORE = {"cache-control": "no-store"}
_PROBLEM_PAGE = Path(__file__).parents[2] / "web" / "staff" / "sign-in.html"
_PROBLEM_HEADERS = {
    **_NO_STORE,
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
}

router = APIRouter(prefix="/sign-in", include_in_schema=False)


@router.get("")
async def begin(request: Request) -> Response:
    """Sends the browser to the provider; `to` is the page to come back to."""
    sign_in = _sign_in(request)
    try:
        address, attempt = await sign_in.begin(request.query_params.get("to", ""))
    except ServiceError as error:
        return _problem_page(request, error)
    response = RedirectResponse(address, 303, _NO_STORE)
    set_cookie(response, ATTEMPT, attempt, sign_in)
    return response


@router.get("/done")
async def finish(request: Request) -> Response:
    """Where the provider sends the browser back to: on to the page, with a session."""
    sign_in = _sign_in(request)
    try:
        session, page = await sign_in.finish(_answer_in(request, sign_in))
    except (ServiceError, RecordsError) as error:
        response = _problem_page(request, error)
    else:
        _telemetry(request).sign_ins.labels("signed_in").inc()
        response = RedirectResponse(page, 303, _NO_STORE)
        set_cookie(response, SESSION, session, sign_in)
    drop_cookie(response, ATTEMPT, sign_in)  # an attempt is good for one answer
    return response


@router.get("/session")
async def show(request: Request) -> Response:
    """Whether the staff can sign in, and who has, for the page in whose browser it is."""
    access: AccessControl = request.state.access
    cookie = read_cookie(request, SESSION, access.sign_in)
    session = access.sign_in.session_of(cookie) if access.sign_in else None
    content = {"object": "staff_session", "can_sign_in": access.sign_in is not None, "person": _person_json(session)}
    return JSONResponse(content, headers=_NO_STORE)


@router.post("/end")
async def end(request: Request) -> Response:
    """Signs out: the session is over, also for whoever may have a copy of the cookie."""
    sign_in = _sign_in(request)
    headers = request.headers
    sign_in.check_own_page(
        PageProof(headers.get("origin", ""), headers.get("sec-fetch-site", ""), is_safe_method=False)
    )
    await sign_in.end(read_cookie(request, SESSION, sign_in))
    response = Response(status_code=204, headers=_NO_STORE)
    drop_cookie(response, SESSION, sign_in)
    return response


def _sign_in(request: Request) -> SignIn:
    """Raises the 404 of a path where nothing is when the operator has set no provider."""
    access: AccessControl = request.state.access
    if access.sign_in is None:
        raise HTTPException(404)
    return access.sign_in


def _answer_in(request: Request, sign_in: SignIn) -> ProviderAnswer:
    given = request.query_params
    return ProviderAnswer(
        state=given.get("state", ""),
        code=given.get("code", ""),
        error=given.get("error", ""),
        issuer=given.get("iss", ""),
        cookie=read_cookie(request, ATTEMPT, sign_in),
        address=request.client.host if request.client else "",
    )


def _person_json(session: Session | None) -> dict[str, Any] | None:
    if session is None:
        return None
    person = session.person
    return {
        "id": person.id,
        "name": person.name or person.id,
        "tenant": person.tenant,
        "scopes": sorted(person.scopes),
        "ends_at": session.ends_at.isoformat(timespec="seconds"),
    }


def _problem_page(request: Request, error: ServiceError | RecordsError) -> Response:
    _telemetry(request).sign_ins.labels(error.code).inc()
    status, envelope, headers = translate(error)
    words = html.escape(str(envelope["error"]["message"]))
    page = _PROBLEM_PAGE.read_text(encoding="utf-8").replace("{problem}", words)
    return HTMLResponse(page, status, {**headers, **_PROBLEM_HEADERS})


def _telemetry(request: Request) -> Telemetry:
    telemetry: Telemetry = request.state.telemetry
    return telemetry
