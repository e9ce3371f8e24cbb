"""The part of the settings that says who of the staff may sign in: the OpenID provider, and what its roles may do here.

Without an issuer nobody can. What is decided with them: `service.access.sign_in`.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings

from service.addresses import is_origin, is_safe_transport, is_web_address

_HOUR_SECONDS = 3600
_ROLE_EXAMPLE = '{"shop-leads": {"tenant": "default", "scopes": ["review", "admin"]}}'


class StaffRole(BaseModel):
    """What people may do whose claim holds a value, and for which tenant."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tenant: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    scopes: Annotated[frozenset[Literal["review", "admin"]], Field(min_length=1)]


_ROLES = TypeAdapter(dict[Annotated[str, StringConstraints(min_length=1)], StaffRole])


class SignInSettings(BaseSettings):
    """What `Settings` has of them. Raises pydantic's ValidationError for what cannot be used."""

    oidc_issuer: str | None = Field(
        default=None,
        description="OpenID provider at which the staff signs in to the pages; default: with API keys only.",
    )
    oidc_client_id: str | None = Field(default=None, description="What this service is called there.")
    oidc_client_secret: SecretStr | None = Field(default=None, description="Proves to the provider that it is it.")
    oidc_origin: str | None = Field(
        default=None,
        description="Origin at which the staff opens the pages; the provider sends people back to its /sign-in/done.",
    )
    oidc_scopes: str = Field(
        default="openid profile", description="What the provider is asked for, with blanks between; `openid` is needed."
    )
    oidc_claim: str = Field(
        default="groups",
        min_length=1,
        description="Claim of the ID token that holds roles; with dots, one within another: realm_access.roles.",
    )
    oidc_roles: str = Field(default="", description=f"What each of its values may do, as JSON: {_ROLE_EXAMPLE}")
    oidc_session_seconds: int = Field(
        default=8 * _HOUR_SECONDS, ge=60, le=24 * _HOUR_SECONDS, description="How long a sign-in lasts."
    )
    oidc_timeout_seconds: float = Field(
        default=5.0, gt=0, le=30, description="Time in which the provider must have answered each question."
    )

    @field_validator("oidc_issuer", "oidc_client_id", "oidc_client_secret", "oidc_origin", mode="before")
    @classmethod
    def _nothing_for_an_empty_text(cls, value: Any) -> Any:
        return None if value == "" else value

    @field_validator("oidc_issuer")
    @classmethod
    def _check_oidc_issuer(cls, url: str | None) -> str | None:
        if url is not None and not (is_web_address(url) and is_safe_transport(url) and "?" not in url):
            problem = "It must be https://host[:port]/path without user, query or fragment; http:// on loopback only."
            raise PydanticCustomError("invalid_url", problem)
        return url

    @field_validator("oidc_origin")
    @classmethod
    def _check_oidc_origin(cls, origin: str | None) -> str | None:
        if origin is not None and not (is_origin(origin) and is_safe_transport(origin)):
            problem = "It must be https://host[:port] in small letters, without a path; http:// on loopback only."
            raise PydanticCustomError("invalid_origin", problem)
        return origin

    @field_validator("oidc_scopes")
    @classmethod
    def _check_oidc_scopes(cls, scopes: str) -> str:
        if "openid" not in scopes.split():
            raise PydanticCustomError("invalid_scopes", "`openid` must be among them.")
        return scopes

    @field_validator("oidc_roles")
    @classmethod
    def _check_oidc_roles(cls, text: str) -> str:
        try:
            _parse_roles(text)
        except (ValidationError, ValueError):
            problem = f"It must be a JSON object like {_ROLE_EXAMPLE}; scopes are review and admin."
            raise PydanticCustomError("invalid_roles", "{problem}", {"problem": problem}) from None
        return text

    @model_validator(mode="after")
    def _check_oidc(self) -> "SignInSettings":
        needed = ("oidc_client_id", "oidc_client_secret", "oidc_origin", "oidc_roles")
        missing = [name for name in needed if not getattr(self, name)]
        if self.oidc_issuer is not None and missing:
            names = ", ".join(missing)
            raise PydanticCustomError("incomplete_oidc", "oidc_issuer needs {names} as well.", {"names": names})
        return self

    @property
    def has_sign_in(self) -> bool:
        """Whether the staff can sign in."""
        return self.oidc_issuer is not None

    @property
    def staff_roles(self) -> Mapping[str, StaffRole]:
        """Roles by the claim's values, in the operator's order."""
        return _parse_roles(self.oidc_roles)


def _parse_roles(text: str) -> dict[str, StaffRole]:
    return _ROLES.validate_python(json.loads(text)) if text else {}
