"""Where a store on S3 lies, and with what it is opened: a strict address, and the usual `AWS_…` variables.

No request is made here. Requests: `bucket`.
"""

import re
from pathlib import Path
from typing import NamedTuple

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from model_store.errors import InvalidStoreAddressError, problems_of
from model_store.web_address import is_web_server

SCHEME = "s3://"
_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]")
_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_NUMBERS = re.compile(r"[0-9.]+")
_MAX_PREFIX_CHARS = 512
_FORM = "it is s3://BUCKET/PREFIX with letters, digits, `.`, `_` and `-`, and no `..`, `?`, `#`, `%`, user or port"


class S3Address(NamedTuple):
    """A bucket, and what the keys in it begin with."""

    bucket: str
    prefix: str
    """Without a slash at either end; may be empty."""

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.prefix}".rstrip("/")


def is_s3(location: str) -> bool:
    """Whether this wants to be an address of S3."""
    return location.lower().startswith(SCHEME)


def parse_address(location: str) -> S3Address:
    """Reads an address. Raises InvalidStoreAddressError, which repeats nothing of it: a password could stand in it."""
    bucket, _, prefix = location.removeprefix(SCHEME).partition("/")
    segments = prefix.rstrip("/").split("/") if prefix.rstrip("/") else []
    is_good = (
        location.startswith(SCHEME)
        and _BUCKET.fullmatch(bucket)
        and not _NUMBERS.fullmatch(bucket)  # S3 gives no bucket a name that looks like an address
        and len(prefix) <= _MAX_PREFIX_CHARS
        and all(_SEGMENT.fullmatch(segment) and ".." not in segment for segment in segments)
    )
    if not is_good:
        raise InvalidStoreAddressError(problem=_FORM)
    return S3Address(bucket, "/".join(segments))


class S3Access(BaseSettings):
    """What the environment says: credentials, endpoint and region by AWS's names, and where copies are kept."""

    model_config = SettingsConfigDict(frozen=True, populate_by_name=True, extra="ignore", env_ignore_empty=True)

    endpoint: str | None = Field(
        default=None, validation_alias=AliasChoices("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    )
    sts_endpoint: str | None = Field(default=None, validation_alias="AWS_ENDPOINT_URL_STS")
    region: str = Field(
        default="us-east-1",
        pattern=r"^[a-z0-9-]{1,64}$",
        validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION"),
    )
    access_key_id: SecretStr | None = Field(default=None, validation_alias="AWS_ACCESS_KEY_ID")
    secret_access_key: SecretStr | None = Field(default=None, validation_alias="AWS_SECRET_ACCESS_KEY")
    session_token: SecretStr | None = Field(default=None, validation_alias="AWS_SESSION_TOKEN")
    web_identity_token_file: Path | None = Field(default=None, validation_alias="AWS_WEB_IDENTITY_TOKEN_FILE")
    role_arn: str | None = Field(default=None, validation_alias="AWS_ROLE_ARN")
    data_dir: Path = Field(default=Path("data"), validation_alias=AliasChoices("SERVICE_DATA_DIR", "DATA_DIR"))
    cache_dir: Path | None = Field(default=None, validation_alias="MODEL_CACHE_DIR")
    cache_mib: int = Field(default=2048, ge=1, le=1_048_576, validation_alias="MODEL_CACHE_MIB")

    @field_validator("endpoint", "sts_endpoint")
    @classmethod
    def _check_endpoint(cls, url: str | None) -> str | None:
        if url is not None and not is_web_server(url):
            problem = "It must be http(s)://host[:port] without user, path or query, and no cloud's metadata address."
            raise PydanticCustomError("invalid_endpoint", problem)
        return url.rstrip("/") if url else None

    @property
    def has_keys(self) -> bool:
        """Whether a key and its secret are given."""
        return self.access_key_id is not None and self.secret_access_key is not None

    @property
    def has_web_identity(self) -> bool:
        """Whether a role is taken on by a token in a file, as Kubernetes hands one out."""
        return self.web_identity_token_file is not None and self.role_arn is not None

    @property
    def cache_path(self) -> Path:
        """Where copies of versions are kept."""
        return self.cache_dir or self.data_dir / "model_cache"


def read_access() -> S3Access:
    """The environment's settings. Raises InvalidStoreAddressError for a bad one, and where no credentials are given.

    An instance's own credentials are not used: asking for them means calling a link-local address.
    """
    try:
        access = S3Access()
    except ValidationError as error:
        raise InvalidStoreAddressError(problem=problems_of(error)) from error
    if not (access.has_keys or access.has_web_identity):
        needed = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE"
        raise InvalidStoreAddressError(problem=f"S3 needs credentials: set {needed}")
    return access
