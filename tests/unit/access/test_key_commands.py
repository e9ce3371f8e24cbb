"""`python -m service keys`: made, listed, revoked."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from service.access.sign_in.people import person_id
from service.cli import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command on a data directory that does not exist yet; gives exit code, stdout and stderr."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["keys", *arguments])
        return code, *capsys.readouterr()

    return run


def test_a_key_is_printed_once_and_then_only_known_by_its_id(run: Run) -> None:
    """Stdout holds the key alone, fit for `KEY=$(…)`; the list shows everything but the key."""
    code, out, err = run(
        "create", "--tenant", "acme", "--name", "web shop", "--scope", "chat", "--origin", "https://shop.example/"
    )
    key = out.strip()
    assert code == 0 and out == f"{key}\n" and key.startswith("rj_live_")
    assert "not shown again" in err and "tenant acme" in err
    _, out, _ = run("list", "--json")
    (row,) = json.loads(out)
    assert key not in out and row["id"] in err
    assert (row["tenant"], row["name"], row["scopes"]) == ("acme", "web shop", ["chat"])
    assert row["origins"] == ["https://shop.example"] and row["revoked_at"] is None


def test_a_plain_key_chats_and_gives_feedback(run: Run) -> None:
    """For the default tenant; the table has a line for it, and other tenants' lists do not."""
    run("create")
    assert run("list")[1].splitlines()[1].split()[1:4] == ["default", "-", "chat"]
    assert len(run("list", "--tenant", "acme")[1].splitlines()) == 1


@pytest.mark.parametrize("is_found", [False, True])
def test_a_key_is_revoked_by_its_id_or_by_itself(run: Run, is_found: bool) -> None:
    """Who finds a key somewhere need not know which one it is; revoking twice is no error."""
    key = run("create")[1].strip()
    name = key if is_found else json.loads(run("list", "--json")[1])[0]["id"]
    for _ in range(2):
        code, out, _ = run("revoke", name)
        assert code == 0 and "revoked" in out and key not in out
    assert json.loads(run("list", "--json")[1])[0]["revoked_at"]


def test_mistakes_are_named(run: Run) -> None:
    """Exit 1 and what to do for an unknown id, a bad tenant, a bad origin and a database that is not there."""
    code, _, err = run("list")
    assert code == 1 and "no such file" in err
    assert run("create", "--tenant", "No!")[0] == 1
    code, out, err = run("create", "--origin", "*")
    assert (code, out) == (1, "") and "https://shop.example" in err
    run("create")
    code, _, err = run("revoke", "key_0")
    assert code == 1 and "keys list" in err
    with pytest.raises(SystemExit):
        run("create", "--scope", "everything")


def test_a_person_who_signs_in_can_be_told_by_their_subject(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The id that records have, by the provider of the settings; without one there is nothing to tell."""
    code, _, err = run("person", "kim-1")
    assert code == 1 and "SERVICE_OIDC_ISSUER" in err
    values = {
        "ISSUER": "https://id.example",
        "CLIENT_ID": "rejoinder",
        "CLIENT_SECRET": "a secret",
        "ORIGIN": "https://chat.example",
        "ROLES": '{"leads": {"tenant": "default", "scopes": ["review"]}}',
    }
    for name, value in values.items():
        monkeypatch.setenv(f"SERVICE_OIDC_{name}", value)
    monkeypatch.setenv("SERVICE_FEEDBACK_SECRET", "0123456789abcdef")
    assert run("person", "kim-1") == (0, f"{person_id('https://id.example', 'kim-1', '0123456789abcdef')}\n", "")
