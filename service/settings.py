"""The operator's settings: read from the environment once, in `cli`, and frozen.

Every variable starts with `SERVICE_`; `HOST`, `PORT` and `DATA_DIR` also work without it. Units are in the names.
"""

import base64
import binascii
import os
import re
import secrets
from pathlib import Path

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import SettingsConfigDict

from model_store.backends.places import check_location
from model_store.erasures import ERASURES_NAME
from model_store.errors import InvalidKeyError, InvalidStoreAddressError
from model_store.intents.listener import DEFAULT_WEIGHT
from model_store.signing import TrustedKeys
from service.addresses import is_loopback, is_web_address
from service.errors import UnsafeBindError
from service.sign_in_settings import SignInSettings

_DAY_SECONDS = 86_400
_SECRET_BYTES = 32
_SIGNING_KEY_PREFIX = "whsec_"
_SIGNING_KEY_BYTES = range(24, 65)  # Standard Webhooks 1.0.0
_NO_PLACE = re.compile(r"[?#%\x00]|(^|/)\.\.(/|$)")


class Settings(SignInSettings):
    """Everything an operator can set. Raises pydantic's ValidationError for a value out of bounds."""

    model_config = SettingsConfigDict(env_prefix="SERVICE_", frozen=True, populate_by_name=True, extra="ignore")

    host: str = Field(
        default="127.0.0.1",
        validation_alias=AliasChoices("SERVICE_HOST", "HOST"),
        description="Address to listen on; any but loopback needs an API key.",
    )
    port: int = Field(
        default=8000,
        ge=0,
        le=65_535,
        validation_alias=AliasChoices("SERVICE_PORT", "PORT"),
        description="TCP port; 0: any.",
    )
    data_dir: Path = Field(
        default=Path("data"),
        validation_alias=AliasChoices("SERVICE_DATA_DIR", "DATA_DIR"),
        description="Directory for everything the service writes.",
    )
    database_url: SecretStr | None = Field(
        default=None, description="SQLAlchemy URL of the records; default: SQLite in the data directory."
    )
    model_store: str | None = Field(
        default=None,
        description="Directory or s3://BUCKET/PREFIX with the model versions; default: `models` in the data directory.",
    )
    model_cache_dir: Path | None = Field(
        default=None,
        validation_alias=AliasChoices("SERVICE_MODEL_CACHE_DIR", "MODEL_CACHE_DIR"),
        description="Where copies of versions from S3 are kept; default: `model_cache` in the data directory.",
    )
    default_bundle: Path | None = Field(
        default=None,
        description="Bundle put into an empty model store at start; default: the one that ships with the project.",
    )
    trusted_model_keys: str = Field(
        default="",
        description="Public keys, with commas between, one of which must have signed a version; default: unchecked.",
    )
    poll_seconds: float = Field(default=2.0, gt=0, le=3600, description="How often the aliases are looked up.")
    canary_share: float = Field(
        default=0.1, ge=0, le=1, description="Share of conversations that a candidate answers; 0: it is never loaded."
    )
    num_slots: int = Field(
        default=16,
        ge=1,
        le=256,
        description="Completions that an engine makes at the same time; twice as many may wait.",
    )
    num_threads: int = Field(
        default=1, ge=1, le=256, description="Threads of the engine; more pay only on an idle machine."
    )
    num_engines: int = Field(
        default=0,
        ge=0,
        le=32,
        description="Engines, of which all but the first are processes; 0: one for two cores of the container's limit.",
    )
    prefix_cache_mib: int = Field(
        default=64,
        ge=0,
        le=65_536,
        description="Most memory for what earlier prompts left: a further turn reads only what is new; 0: none.",
    )
    max_draft_tokens: int = Field(
        default=3,
        ge=0,
        le=8,
        description="Most tokens guessed ahead for a reply that is made alone; its text is the same; 0: none.",
    )
    keep_to_phrases: bool = Field(
        default=True,
        description="Where the model is unsure of a word it says one with which an author went on; false: its own.",
    )
    max_connections: int = Field(
        default=1000, ge=1, le=100_000, description="Open connections; further ones are refused."
    )
    max_wait_seconds: float = Field(default=60.0, gt=0, le=600, description="Longest time from request to first token.")

    facts_file: Path | None = Field(
        default=None, description="YAML with the shop's facts; default: the sample that ships."
    )
    entity_patterns_file: Path | None = Field(
        default=None, description="YAML list of {type, regex}: the shop's own kinds of order numbers and the like."
    )
    plan_rules_file: Path | None = Field(
        default=None,
        description="YAML: plans to forbid, pin or reword, and how to ask back; default: the sample that ships.",
    )
    safety_rules_file: Path | None = Field(
        default=None,
        description="YAML: a shop's own safety rules, before those that ship and instead of those of the same name.",
    )
    knowledge_dir: Path | None = Field(
        default=None,
        description="Folder of Markdown help articles to quote; default: the samples, where the facts are the samples.",
    )
    intent_weight: float = Field(
        default=DEFAULT_WEIGHT,
        ge=0,
        le=4,
        description="How much the intent model's opinion of a message counts beside the network's own; 0: not loaded.",
    )
    intent_model_dir: Path | None = Field(
        default=None, description="Folder of an intent model of one's own; default: the one that ships."
    )
    comparison_prompts_file: Path | None = Field(
        default=None,
        description="YAML list of up to 20 messages that two versions are asked on /models; default: the samples.",
    )
    min_plan_confidence: float = Field(
        default=0.35,
        ge=0,
        le=1,
        description="Less sure than this of what is meant, the bot asks back, then hands over; 0: it always answers.",
    )

    max_body_bytes: int = Field(default=65_536, ge=1024, le=16_777_216, description="Largest request body.")
    receive_timeout_seconds: float = Field(
        default=10.0, gt=0, le=300, description="Time in which a request must arrive."
    )
    max_message_chars: int = Field(default=8000, ge=1, le=100_000, description="Longest message.")
    max_messages: int = Field(default=50, ge=1, le=1000, description="Most messages in a request.")
    max_completion_tokens: int = Field(
        default=160, ge=1, le=4096, description="Longest completion, and the default length."
    )

    api_key: SecretStr | None = Field(
        default=None, min_length=16, description="The operator's own key; more are made with `python -m service keys`."
    )
    widget_origins: str = Field(
        default="", description="Origins, with commas between, that `api_key` may issue widget tokens for."
    )
    widget_token_seconds: int = Field(default=600, ge=60, le=3600, description="How long a widget token is good.")
    key_requests_per_minute: int = Field(default=600, ge=0, description="Limit for each API key; 0: none.")
    tenant_requests_per_minute: int = Field(default=0, ge=0, description="Limit for all keys of a tenant; 0: none.")
    widget_requests_per_minute: int = Field(default=30, ge=0, description="Limit for each widget token; 0: none.")
    wrong_keys_per_minute: int = Field(
        default=20, ge=1, description="Wrong API keys from one address before it is refused for a while."
    )
    rate_limit_url: SecretStr | None = Field(
        default=None, description="Redis or Valkey that replicas count requests in; default: each counts for itself."
    )
    trusted_proxies: str = Field(
        default="127.0.0.1",
        description="Addresses or networks, with commas between, whose X-Forwarded-For is believed.",
    )
    feedback_secret: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="Signs feedback tokens; default: made once and kept in the data directory.",
    )
    feedback_token_max_age_seconds: int = Field(
        default=30 * _DAY_SECONDS, ge=1, le=3650 * _DAY_SECONDS, description="How long a completion can be rated."
    )

    handover_webhook_url: SecretStr | None = Field(
        default=None, description="Address of the desk that is told of every hand-over to a person; default: nobody is."
    )
    handover_webhook_secret: SecretStr | None = Field(
        default=None,
        description="Keys that sign what the desk is told (whsec_…), with blanks between; each signs every message.",
    )
    handover_webhook_timeout_seconds: float = Field(
        default=10.0, gt=0, le=60, description="Time in which the desk must have answered."
    )
    handover_max_attempts: int = Field(
        default=10, ge=1, le=50, description="How often the desk is told before a hand-over is given up as dead."
    )
    handover_retry_seconds: float = Field(
        default=5.0, gt=0, le=3600, description="Pause after the first failed attempt; it triples, up to an hour."
    )

    retention_days: int = Field(
        default=90, ge=0, le=36_500, description="Days after which what was said and rated is deleted; 0: never."
    )
    erasures_file: Path | None = Field(
        default=None,
        description="List of what was erased, best on another disk; default: `erasures.jsonl` in the data directory.",
    )
    heartbeat_seconds: float = Field(
        default=15.0, gt=0, le=300, description="Pause after which a quiet stream sends a comment."
    )
    drain_seconds: float = Field(
        default=20.0, ge=0, le=600, description="Time that running completions get after SIGTERM."
    )
    log_level: str = Field(
        default="info", pattern="^(debug|info|warning|error)$", description="Lowest level that is logged."
    )

    @field_validator("rate_limit_url")
    @classmethod
    def _check_rate_limit_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not re.match(r"(redis|valkey)s?://.", url.get_secret_value()):
            raise PydanticCustomError("invalid_url", "It must begin with redis://, rediss://, valkey:// or valkeys://.")
        return url

    @field_validator("handover_webhook_url")
    @classmethod
    def _check_handover_webhook_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is None or not url.get_secret_value():
            return None
        if not is_web_address(url.get_secret_value()):
            problem = "It must be http(s)://host[:port]/path without user, password or fragment, and not link-local."
            raise PydanticCustomError("invalid_url", problem)
        return url

    @field_validator("handover_webhook_secret")
    @classmethod
    def _check_handover_webhook_secret(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is None or not secret.get_secret_value():
            return None
        if not _signing_keys(secret.get_secret_value()):
            problem = "It must be whsec_ and 24 to 64 random bytes in base64, or several of these with blanks between."
            raise PydanticCustomError("invalid_secret", problem)
        return secret

    @model_validator(mode="after")
    def _check_handover_webhook(self) -> "Settings":
        if self.handover_webhook_url is not None and self.handover_webhook_secret is None:
            problem = "handover_webhook_url needs handover_webhook_secret: unsigned, anybody could send such messages."
            raise PydanticCustomError("missing_secret", problem)
        return self

    @property
    def handover_signing_keys(self) -> tuple[bytes, ...]:
        """What messages to the desk are signed with."""
        return _signing_keys(self.handover_webhook_secret.get_secret_value()) if self.handover_webhook_secret else ()

    @field_validator("model_store")
    @classmethod
    def _check_model_store(cls, location: str | None) -> str | None:
        if location is None:
            return None
        if _NO_PLACE.search(location):
            problem = "It is a directory's path, or s3://BUCKET/PREFIX, without `..`, `?`, `#` or `%`."
            raise PydanticCustomError("invalid_location", problem)
        try:
            check_location(location)
        except InvalidStoreAddressError as error:
            raise PydanticCustomError("invalid_location", "{problem}", {"problem": str(error)}) from error
        return location

    @field_validator("trusted_model_keys")
    @classmethod
    def _check_trusted_model_keys(cls, text: str) -> str:
        if text:  # a list that names nobody is a slip, and must not turn the check off
            try:
                TrustedKeys.parse(text)
            except InvalidKeyError as error:
                raise PydanticCustomError("invalid_key", "{problem}", {"problem": str(error)}) from error
        return text

    @property
    def is_keyless(self) -> bool:
        """Whether callers need no key: none is set, nobody but this machine can reach it, and nobody signs in."""
        return self.api_key is None and is_loopback(self.host) and not self.has_sign_in

    @property
    def records_url(self) -> str:
        """The database URL with its default filled in."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.data_dir.absolute() / 'rejoinder.db'}"

    @property
    def erasures_path(self) -> Path:
        """The list of erasures with its default filled in."""
        return self.erasures_file or self.data_dir / ERASURES_NAME

    @property
    def model_cache_path(self) -> Path:
        """The copies of versions from S3 with their default filled in."""
        return self.model_cache_dir or self.data_dir / "model_cache"

    @property
    def model_store_location(self) -> str:
        """The model store with its default filled in."""
        return self.model_store or str(self.data_dir / "models")


def check_bind(settings: Settings) -> None:
    """Raises UnsafeBindError when people on the network could reach the service without a key."""
    if settings.api_key is None and not is_loopback(settings.host):
        raise UnsafeBindError(host=settings.host)


def load_feedback_secret(settings: Settings) -> str:
    """The secret that signs feedback tokens; made at the first start, readable by the owner only.

    Kept in the data directory, which must exist, so that the tokens people hold survive a restart.
    """
    if settings.feedback_secret is not None:
        return settings.feedback_secret.get_secret_value()
    path = settings.data_dir / "secret.key"
    if not path.exists():
        _write_secret_once(path)
    return path.read_text().strip()


def _write_secret_once(path: Path) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(_SECRET_BYTES))
        file.flush()
        os.fsync(file.fileno())
    try:
        # A link, unlike a rename, fails where another process was first: one secret for both.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _signing_keys(text: str) -> tuple[bytes, ...]:
    """The keys that this text holds; none where any is not as it should be."""
    keys = []
    for part in text.replace(",", " ").split():
        try:
            key = base64.b64decode(part.removeprefix(_SIGNING_KEY_PREFIX), validate=True)
        except binascii.Error:
            return ()
        if not part.startswith(_SIGNING_KEY_PREFIX) or len(key) not in _SIGNING_KEY_BYTES:
            return ()
        keys.append(key)
    return tuple(keys)
