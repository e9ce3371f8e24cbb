"""The header `Idempotency-Key`: a request that is sent again under the same key has its effect once, for a day."""

import json
import re

from fastapi import Request

from service.api.access.scopes import caller_of
from service.chat.conversations.reception import Reception
from service.errors import InvalidValueError
from service.records.store import IdempotencyKey

REPLAYED_HEADER = {"idempotent-replayed": "true"}
"""Marks an answer that was given before."""
_HEADER = "idempotency-key"
_KEY = re.compile(r"[!-~]{1,255}")


async def idempotency_key_of(request: Request) -> IdempotencyKey | None:
    """The request's key with what it is for; None where none was sent. Raises InvalidValueError.

    The same fields in another order are the same request. The body has been validated by now.
    """
    given = request.headers.get(_HEADER)
    if given is None:
        return None
    if not _KEY.fullmatch(given):
        raise InvalidValueError(
            param="Idempotency-Key", problem="An Idempotency-Key is 1 to 255 visible ASCII characters. Send a UUID."
        )
    reception: Reception = request.state.reception
    body = json.dumps(await request.json(), sort_keys=True).encode()
    return reception.idempotency_key(caller_of(request).tenant, request.url.path, given, body)
