"""A service that names trusted keys takes signed versions only, and none that somebody has put back."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from model_store.signing import SigningKey
from service.settings import Settings
from tests.contract.fake_engine import FakeEngines, make_chat_bundle
from tests.e2e.running_service import RunningService, run_fake_service, say_hello
from tests.e2e.running_service import wait_until as wait_until_soon

BODY = {"model": "rejoinder", "messages": [{"role": "user", "content": "Hello"}]}


def wait_until(is_true: Callable[[], bool]) -> None:
    """With patience: each version is opened, verified and tried out."""
    wait_until_soon(is_true, seconds=60)


def digest_that_answers(service: RunningService) -> str:
    """Whose reply one gets now."""
    response = service.http.post("/v1/chat/completions", json=BODY)
    assert response.status_code == 200, response.text
    return str(response.headers["x-model-digest"])


def refusals(service: RunningService, code: str) -> float:
    """How often versions were refused for that reason."""
    return service.metric("rejoinder_model_load_failures_total").get(f'{{code="{code}"}}', 0.0)


def test_versions_need_a_trusted_signature_and_aliases_do_not_go_back(tmp_path: Path) -> None:
    """An unsigned bundle that ships stands on the shelf and serves nobody; once signed and promoted it is taken up. An
    unsigned successor and an old alias file change nothing, and a restart finds what was taken up last."""
    key = SigningKey.create(tmp_path / "key.pem")
    settings = {"trusted_model_keys": key.public_key}
    with run_fake_service(tmp_path, FakeEngines(say_hello), **settings) as service:
        assert service.http.get("/readyz").status_code == 503
        store = service.store  # the operator's view, which trusts nobody in particular
        assert store.history("stable") == []
        (first,) = (version.digest for version in store.versions())
        store.sign(first, key)
        store.promote("stable", first)
        wait_until(lambda: service.http.get("/readyz").status_code == 200)
        alias = Path(service.settings.model_store_location) / "aliases" / "stable.json"
        old_file = alias.read_bytes()

        unsigned = make_chat_bundle(tmp_path / "unsigned", "unsigned")
        store.publish(tmp_path / "unsigned")
        store.promote("stable", unsigned)
        wait_until(lambda: refusals(service, "bundle_unsigned") == 1)
        assert digest_that_answers(service) == first

        second = make_chat_bundle(tmp_path / "second", "second")
        store.publish(tmp_path / "second")
        store.sign(second, key)
        store.promote("stable", second)
        wait_until(lambda: digest_that_answers(service) == second)
        remembered = service.settings.data_dir / "trusted_versions.json"
        wait_until(lambda: second in remembered.read_text())
        alias.write_bytes(old_file)
        wait_until(lambda: refusals(service, "alias_went_back") == 1)
        time.sleep(0.2)
        assert digest_that_answers(service) == second and refusals(service, "alias_went_back") == 1
    bundle, data = tmp_path / "again", tmp_path / "data"
    bundle.mkdir()
    (bundle / "data").symlink_to(data)
    with run_fake_service(bundle, FakeEngines(say_hello), **settings) as service:
        wait_until(lambda: service.http.get("/readyz").status_code == 200)
        assert digest_that_answers(service) == second


def test_without_keys_everything_is_as_it_was_and_the_log_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unsigned version serves; a line at the start tells that nobody looked."""
    told: list[str] = []
    monkeypatch.setattr("service.app._log.warning", lambda event, **fields: told.append(event))
    with run_fake_service(tmp_path, FakeEngines(say_hello)) as service:
        assert digest_that_answers(service)
        assert not (service.settings.data_dir / "trusted_versions.json").exists()
    assert "model_signatures_not_checked" in told


@pytest.mark.parametrize("text", [",", "not-a-key", "ed25519:AAAA"])
def test_a_list_that_names_no_key_stops_the_start(text: str) -> None:
    """A slip must not turn the check off."""
    with pytest.raises(ValidationError, match="cannot be used"):
        Settings(trusted_model_keys=text)
