"""People of the staff: who somebody is by the provider's claims, and what that lets them do by the settings.

A person's name is for their own eyes. Records, audit and log hold an id that leads nowhere without the secret.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.access.api_keys import Scope
from service.access.errors import NoRoleError, SignInRefusedError
from service.sign_in_settings import StaffRole

PERSON_PREFIX = "person_"
_ID_HEX_DIGITS = 16
_NAME_CLAIMS = ("name", "preferred_username", "email")
_MAX_NAME_CHARS = 80
_MAX_SUBJECT_CHARS = 255  # OpenID Connect Core 1.0, section 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who has signed in."""

    id: str
    name: str
    tenant: str
    scopes: frozenset[Scope]


def person_id(issuer: str, subject: str, secret: str) -> str:
    """The id under which a person is kept: the same at every sign-in, and no way back to who it is."""
    digest = hmac.new(secret.encode(), f"staff\n{issuer}\n{subject}".encode(), hashlib.sha256).hexdigest()
    return PERSON_PREFIX + digest[:_ID_HEX_DIGITS]


class Roles:
    """What the values of one claim are worth."""

    def __init__(self, issuer: str, claim: str, roles: Mapping[str, StaffRole], secret: str) -> None:
        self._issuer = issuer
        self._claim = claim
        self._roles = roles
        self._secret = secret

    def person(self, claims: Mapping[str, Any]) -> Person:
        """Who this is. Raises NoRoleError for somebody without a role, SignInRefusedError for nobody at all.

        The first role in the operator's order names the tenant; all roles of that tenant add up.
        """
        subject = claims.get("sub")
        if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_SUBJECT_CHARS:
            raise SignInRefusedError()
        values = _values_at(claims, self._claim)
        held = [role for value, role in self._roles.items() if value in values]
        if not held:
            raise NoRoleError()
        tenant = held[0].tenant
        scopes = frozenset(Scope(scope) for role in held if role.tenant == tenant for scope in role.scopes)
        identity = person_id(self._issuer, subject, self._secret)
        return Person(id=identity, name=_name_in(claims), tenant=tenant, scopes=scopes)


def _values_at(claims: Mapping[str, Any], path: str) -> frozenset[str]:
    """The texts that a claim holds. A name with dots is first taken as it is: some are addresses."""
    found: Any = claims.get(path)
    if found is None:
        found = claims
        for part in path.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    values = found if isinstance(found, list) else [found]
    return frozenset(value for value in values if isinstance(value, str))


def _name_in(claims: Mapping[str, Any]) -> str:
    for claim in _NAME_CLAIMS:
        name = claims.get(claim)
        if isinstance(name, str) and name.strip() and name.isprintable():
            return name.strip()[:_MAX_NAME_CHARS]
    return ""
