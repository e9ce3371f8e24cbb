"""Errors of callers who may not do what they ask for, and of the commands that make and revoke keys.

AccessError
├── InvalidApiKeyError
├── ForbiddenError                known, but not allowed
│   ├── MissingScopeError
│   │   └── PersonMayNotError
│   ├── ApiKeyRequiredError
│   ├── NotOperatorError
│   ├── OriginNotAllowedError
│   ├── CrossSiteRequestError
│   ├── SignInRefusedError
│   └── NoRoleError
├── ApiKeyNotFoundError
└── InvalidApiKeyFieldError
RateLimitedError                  an UnavailableError: the caller's own quota, not a full server
├── TooManyWrongKeysError
└── TooManySignInsError
ProviderUnavailableError          an UnavailableError: nobody can sign in now
SignInExpiredError                a RequestError: begin again
"""

from service.errors import RequestError, ServiceError, UnavailableError


class AccessError(ServiceError):
    """The root: somebody may not do this."""

    code = "access_error"


class InvalidApiKeyError(AccessError):
    """The API key or widget token is missing, wrong, revoked, expired, or used on another web page."""

    code = "invalid_api_key"
    template = "The API key is missing or wrong. Send it as `Authorization: Bearer …`."


class ForbiddenError(AccessError):
    """The caller is known and may not do this."""

    code = "forbidden"


class MissingScopeError(ForbiddenError):
    """The API key was not made for this."""

    code = "missing_scope"
    template = "This API key lacks the scope `{scope}`. Use one that has it."


class ApiKeyRequiredError(ForbiddenError):
    """A widget token came where only API keys are taken."""

    code = "api_key_required"
    template = "A widget token may chat and give feedback, nothing else. Call this from your server, with an API key."


class NotOperatorError(ForbiddenError):
    """A tenant's key came where only the operator's do: what it asks for would change what all tenants have."""

    code = "operator_only"
    template = "Model versions are shared by all tenants. Only keys of the operator's tenant `{tenant}` may move them."


class OriginNotAllowedError(ForbiddenError):
    """An API key may not issue widget tokens for this web page."""

    code = "origin_not_allowed"
    template = (
        "This API key may not issue widget tokens for this origin. "
        "The operator names origins when the key is made: `python -m service keys create --origin …`."
    )


class PersonMayNotError(MissingScopeError):
    """Somebody who has signed in has no role for this."""

    template = "Your sign-in does not come with the right `{scope}`. Ask whoever gives out roles in your shop."


class CrossSiteRequestError(ForbiddenError):
    """Another web page had a signed-in browser ask for something."""

    code = "cross_site_request"
    template = "This request does not come from the staff's own pages, so a sign-in is not good for it."


class SignInRefusedError(ForbiddenError):
    """The identity provider did not say who somebody is, or not so that it can be believed."""

    code = "sign_in_refused"
    template = "The identity provider did not confirm who you are. Sign in again; if it fails again, tell the operator."


class NoRoleError(ForbiddenError):
    """Somebody is who they say, and that is nobody of the staff."""

    code = "no_role"
    template = (
        "You are known to the identity provider, but have no role here. Ask whoever gives out roles in your shop."
    )


class SignInExpiredError(RequestError):
    """An answer of the identity provider that this browser has not asked for, or too long ago."""

    code = "sign_in_expired"
    template = "This sign-in was begun too long ago, or in another browser or tab. Sign in again."


class ProviderUnavailableError(UnavailableError):
    """The identity provider does not answer, or not as it should."""

    code = "identity_provider_unavailable"
    template = "The identity provider cannot be asked now who you are. Try again in a moment; API keys go on working."

    def __init__(self) -> None:
        super().__init__(retry_after_seconds=10)


class ApiKeyNotFoundError(AccessError):
    """No API key goes by this id."""

    code = "api_key_not_found"
    template = "There is no API key {key_id!r}. `python -m service keys list` shows their ids."


class InvalidApiKeyFieldError(AccessError):
    """An API key cannot be made like this."""

    code = "invalid_api_key_field"
    template = "There can be no such API key: {problem}."


class RateLimitedError(UnavailableError):
    """The caller has used up a quota of requests."""

    code = "rate_limit_exceeded"
    template = "More than {per_minute} requests a minute. Try again in {seconds} seconds."

    def __init__(self, *, per_minute: int, seconds: int) -> None:
        super().__init__(retry_after_seconds=seconds, per_minute=per_minute, seconds=seconds)


class TooManyWrongKeysError(RateLimitedError):
    """Somebody guesses."""

    code = "too_many_wrong_keys"
    template = "Too many wrong API keys came from this address. Try again in {seconds} seconds."


class TooManySignInsError(RateLimitedError):
    """Somebody tries to sign in and fails, again and again."""

    code = "too_many_sign_ins"
    template = "Too many sign-ins from this address have failed. Try again in {seconds} seconds."
