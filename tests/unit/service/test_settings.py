"""Settings: what may be set, and what the service refuses to start with."""

import stat
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.errors import UnsafeBindError
from service.settings import Settings, check_bind, load_feedback_secret

SIGNING_KEY = "whsec_a2tra2tra2tra2tra2tra2tra2tra2tr"


def test_plain_host_port_and_data_dir_are_accepted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """HOST, PORT and DATA_DIR work without the prefix; with it they win."""
    monkeypatch.setenv("HOST", "::1")
    monkeypatch.setenv("PORT", "9000")
    monkeypatch.setenv("SERVICE_PORT", "9001")
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("SERVICE_NUM_SLOTS", "3")
    settings = Settings()
    assert (settings.host, settings.port, settings.data_dir, settings.num_slots) == ("::1", 9001, tmp_path, 3)
    assert settings.records_url == f"sqlite:///{tmp_path}/rejoinder.db"
    assert settings.model_store_location == str(tmp_path / "models")


@pytest.mark.parametrize(
    ("name", "value"),
    [("PORT", "70000"), ("SERVICE_NUM_SLOTS", "0"), ("SERVICE_API_KEY", "short"), ("SERVICE_LOG_LEVEL", "loud")],
)
def test_a_value_out_of_bounds_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """Bounds are part of the settings, not of what uses them."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError):
        Settings()


def test_every_setting_is_described() -> None:
    """A description for each, so that help and documentation can be made from them."""
    assert all(field.description for field in Settings.model_fields.values())


def test_settings_cannot_be_changed_and_hide_their_secrets() -> None:
    """Frozen; a secret shows neither in repr nor in str."""
    settings = Settings(api_key="0123456789abcdef")  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        settings.port = 1  # type: ignore[misc]
    assert "0123456789abcdef" not in f"{settings!r} {settings}"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_needs_no_key(host: str) -> None:
    """Nobody else can reach it."""
    check_bind(Settings(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "shop.example", ""])
def test_any_other_address_needs_a_key(host: str) -> None:
    """Refused without one, with a message that names the way out; allowed with one."""
    with pytest.raises(UnsafeBindError, match="SERVICE_API_KEY"):
        check_bind(Settings(host=host))
    check_bind(Settings(host=host, api_key="0123456789abcdef"))  # type: ignore[arg-type]


def test_the_feedback_secret_is_made_once_and_private(tmp_path: Path) -> None:
    """64 hex digits, mode 600, the same at the next start; one that is set wins and leaves no file."""
    settings = Settings(data_dir=tmp_path)
    first = load_feedback_secret(settings)
    assert load_feedback_secret(settings) == first and len(first) == 64
    files = list(tmp_path.iterdir())
    assert [path.name for path in files] == ["secret.key"]
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o600
    chosen = Settings(data_dir=tmp_path / "none", feedback_secret="one of my own here")  # type: ignore[arg-type]
    assert load_feedback_secret(chosen) == "one of my own here"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://desk.example/hook",
        "https://",
        "desk.example/hook",
        "https://user:password@desk.example/",
        "https://desk.example/#part",
        "https://desk.example:0/",
        "https://desk.example:99999/",
        "https://desk.example/a b",
        "https://desk.example/\r\nx: y",
        "http://169.254.169.254/latest/meta-data/",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://[fe80::1]/",
        "http://[::ffff:169.254.169.254]/",
        "http://0.0.0.0/",
        "http://224.0.0.1/",
    ],
)
def test_the_desks_address_is_a_plain_one(url: str) -> None:
    """No other scheme, no credentials, nothing link-local in any spelling; and the address is not repeated."""
    with pytest.raises(ValidationError) as refused:
        Settings(handover_webhook_url=url, handover_webhook_secret=SIGNING_KEY)  # type: ignore[arg-type]
    assert url not in "".join(problem["msg"] for problem in refused.value.errors())


@pytest.mark.parametrize(
    "url", ["https://desk.example/hook?key=1", "http://desk.bots.svc:8080/", "http://127.0.0.1:9/"]
)
def test_a_desk_needs_a_key_to_be_told(url: str) -> None:
    """An address alone is refused; several keys are all used; a key that is none is refused."""
    with pytest.raises(ValidationError, match="handover_webhook_secret"):
        Settings(handover_webhook_url=url)  # type: ignore[arg-type]
    assert Settings(handover_webhook_url="", handover_webhook_secret="").handover_webhook_url is None  # type: ignore[arg-type]
    settings = Settings(handover_webhook_url=url, handover_webhook_secret=f"{SIGNING_KEY} {SIGNING_KEY}")  # type: ignore[arg-type]
    assert settings.handover_signing_keys == (b"k" * 24, b"k" * 24)
    for secret in ("k" * 32, "whsec_c2hvcnQ=", "whsec_!", SIGNING_KEY + " x"):
        with pytest.raises(ValidationError, match="whsec_"):
            Settings(handover_webhook_url=url, handover_webhook_secret=secret)  # type: ignore[arg-type]


OIDC = {
    "oidc_issuer": "https://id.example/realms/shop",
    "oidc_client_id": "rejoinder",
    "oidc_client_secret": "a client's secret",
    "oidc_origin": "https://chat.example",
    "oidc_roles": '{"leads": {"tenant": "default", "scopes": ["review", "admin"]}}',
}


@pytest.mark.parametrize("name", [name for name in OIDC if name != "oidc_issuer"])
def test_a_provider_needs_all_that_belongs_to_it(name: str) -> None:
    """What is missing, or empty, is named; without a provider nothing of it is needed; a key is needed with one."""
    settings = Settings.model_validate(OIDC)
    assert settings.has_sign_in and not settings.is_keyless and "client's" not in repr(settings)
    with pytest.raises(ValidationError, match=f"oidc_issuer needs {name}"):
        Settings.model_validate({**OIDC, name: ""})
    assert not Settings.model_validate({**dict.fromkeys(OIDC, "")}).has_sign_in


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("oidc_issuer", "http://id.example"),
        ("oidc_issuer", "https://id.example/?x=1"),
        ("oidc_issuer", "https://169.254.169.254/"),
        ("oidc_origin", "http://chat.example"),
        ("oidc_origin", "https://chat.example/review"),
        ("oidc_origin", "https://Chat.example"),
        ("oidc_scopes", "profile"),
        ("oidc_roles", "leads=review"),
        ("oidc_roles", "[]"),
        ("oidc_roles", '{"leads": {"tenant": "default", "scopes": []}}'),
        ("oidc_roles", '{"leads": {"tenant": "default", "scopes": ["chat"]}}'),
        ("oidc_roles", '{"leads": {"tenant": "A B", "scopes": ["review"]}}'),
        ("oidc_roles", '{"": {"tenant": "default", "scopes": ["review"]}}'),
        ("oidc_session_seconds", "86401"),
    ],
)
def test_a_provider_that_could_let_in_the_wrong_people_is_refused(name: str, value: str) -> None:
    """No password or cookie in the clear, no right that a page does not need, no role that is misspelt."""
    with pytest.raises(ValidationError):
        Settings.model_validate({**OIDC, name: value})
