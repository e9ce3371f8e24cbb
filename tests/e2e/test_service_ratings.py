"""Which ratings count, on a running service: quarantine, rulings, raters and the gold list, by API and by command."""

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, select

from model_store.contract.feedback import STAFF_RATER_PREFIX
from model_store.curation import CurationReport, GroupFigures, RaterFigures, RaterName, SetAside
from service.access.api_keys import Scope
from service.cli import main
from service.records.store import AuditEvent
from service.records.tables import training_examples
from tests.contract.fake_engine import FakeEngines
from tests.e2e.access_callers import SHOP, Holder, give_key, page_asks
from tests.e2e.running_service import RunningService, run_fake_service, say_hello

ACTIONS = ("review.count_rating", "review.set_rating_aside", "review.lift_ruling", "review.mark_gold")
DOUBTED, RATERS, RULING, GOLD = (f"/v1/review/{name}" for name in ("doubted-ratings", "raters", "ruling", "gold"))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service that takes keys."""
    with run_fake_service(
        tmp_path_factory.mktemp("service"), FakeEngines(say_hello), api_key="a key of at least sixteen characters"
    ) as running:
        yield running


@pytest.fixture
def shop(service: RunningService) -> Holder:
    """A tenant of the test's own."""
    scopes = (Scope.CHAT, Scope.FEEDBACK, Scope.REVIEW)
    return give_key(service, f"shop-{uuid.uuid4().hex[:12]}", scopes, [SHOP])


def rated(shop: Holder, rating: str = "up", user: str = "kim") -> dict[str, str]:
    """A completion that a customer rated: its id, and the rater's."""
    completion = shop.complete(user=user, metadata={"conversation_id": uuid.uuid4().hex})
    given = {"completion_id": completion["id"], "feedback_token": completion["feedback_token"], "rating": rating}
    assert shop.ask("POST", "/v1/feedback", given).status_code == 200
    return read(shop)[completion["id"]]


def read(shop: Holder) -> dict[str, dict[str, str]]:
    """What training reads of a tenant, by completion."""
    engine = create_engine(shop.service.settings.records_url)
    query = select(training_examples).where(training_examples.c.tenant == shop.key.tenant)
    with engine.connect() as connection:
        rows = {row["completion_id"]: dict(row) for row in connection.execute(query).mappings()}
    engine.dispose()
    return rows


def note(shop: Holder, *rows: dict[str, str]) -> None:
    """A learning run that has set these ratings aside, and some of another tenant."""
    set_aside = [
        SetAside(
            tenant=tenant,
            completion_id=row["completion_id"],
            rater=row["rater"],
            rating="up",
            rated_at=row["rated_at"],
            reasons=("flood", "burst"),
        )
        for row in rows
        for tenant in (shop.key.tenant, "other")
    ]
    figures = RaterFigures(
        tenant=shop.key.tenant,
        rater=rows[0]["rater"],
        num_ratings=5,
        num_up=4,
        num_set_aside=len(rows),
        num_compared=3,
        num_agreed=2,
        num_gold=1,
        num_gold_right=1,
        reliability=0.75,
        weight=1.5,
    )
    shop.service.store.note_curation(
        CurationReport(
            made_at=datetime(2026, 1, 31, tzinfo=UTC),
            num_ratings=100,
            num_set_aside=2 * len(rows),
            total_weight=90.0,
            by_reason={"flood": 2 * len(rows)},
            set_aside=tuple(set_aside),
            raters=(figures,),
            groups=(group("other"), group(shop.key.tenant)),
        )
    )


def group(tenant: str) -> GroupFigures:
    """Two accounts of one mind, of whose trait no word may be told."""
    return GroupFigures(
        raters=tuple(RaterName(tenant=tenant, rater=f"loud-{number}") for number in range(2)),
        num_raters=2,
        kind="asks",
        word=None,
        share_of_raters=0.02,
        weight_before=40.0,
        weight=2.0,
        share_of_weight=0.0222,
    )


def get(shop: Holder, path: str) -> dict[str, Any]:
    """What a path answers."""
    response = shop.ask("GET", path)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def rule(shop: Holder, ruling: str | None, row: dict[str, str], *, whole: bool = False) -> int:
    """Decides about a rating or its rater; gives the status."""
    completion_id = None if whole else row["completion_id"]
    return shop.ask(
        "PUT", RULING, {"rater": row["rater"], "completion_id": completion_id, "ruling": ruling}
    ).status_code


def audit(shop: Holder) -> list[AuditEvent]:
    """What was decided, the oldest first."""
    with shop.service.records() as records:
        return list(reversed(records.list_audit(ACTIONS, limit=50, tenant=shop.key.tenant)))


def test_what_a_run_set_aside_is_listed_with_its_reasons(shop: Holder) -> None:
    """In words, with the reply; another tenant's are not, and neither is one that was withdrawn since."""
    first, second = rated(shop), rated(shop)
    note(shop, first, second)
    page = get(shop, f"{DOUBTED}?limit=1")
    assert page["next_offset"] == 1 and page["last_run"]["num_ratings"] == 5
    assert page["last_run"]["by_reason"][0]["num_ratings"] == 2
    (bounded,) = page["last_run"]["groups"]
    assert bounded["raters"] == ["loud-0", "loud-1"] and bounded["words"] == "They say a word of their own."
    assert (bounded["weight_before"], bounded["weight"], bounded["share_of_weight"]) == (40.0, 2.0, 0.0222)
    one = page["data"][0]
    assert (one["completion_id"], one["rater"], one["rating"]) == (first["completion_id"], first["rater"], "up")
    assert one["text"] == first["completion_text"] and one["ruling"] is None
    assert one["reasons"][0] == {"reason": "flood", "words": "This rater gave too many ratings within a day."}
    assert get(shop, f"{DOUBTED}?reason=repeated")["data"] == []
    assert get(shop, f"{DOUBTED}?rater=nobody")["data"] == []
    token = shop.complete(user="kim", metadata={"conversation_id": "x"})
    assert token["id"] not in {item["completion_id"] for item in get(shop, DOUBTED)["data"]}


def test_a_person_lifts_sets_and_clears_and_training_obeys(shop: Holder) -> None:
    """One rating, and everything of a rater; the narrower ruling holds; each is audited before it is done."""
    first, second = rated(shop), rated(shop)
    note(shop, first)
    assert rule(shop, "count", first) == rule(shop, "set_aside", second, whole=True) == 200
    assert [read(shop)[row["completion_id"]]["ruling"] for row in (first, second)] == ["count", "set_aside"]
    listed = get(shop, DOUBTED)["data"]
    assert [(one["ruling"], one["is_about_rater"]) for one in listed] == [("count", False)]
    assert rule(shop, None, first) == 200
    assert [(one["ruling"], one["is_about_rater"]) for one in get(shop, DOUBTED)["data"]] == [("set_aside", True)]
    assert rule(shop, "set_aside", second) == 200
    listed = get(shop, f"{DOUBTED}?reason=staff")["data"]
    assert [one["completion_id"] for one in listed] == [second["completion_id"]]
    events = [(event.action, event.subject, event.actor) for event in audit(shop)]
    assert events == [
        ("review.count_rating", first["completion_id"], shop.key.id),
        ("review.set_rating_aside", second["rater"], shop.key.id),
        ("review.lift_ruling", first["completion_id"], shop.key.id),
        ("review.set_rating_aside", second["completion_id"], shop.key.id),
    ]


def test_raters_are_told_apart_and_held_against_gold(shop: Holder) -> None:
    """Counted now, with what the last run knew of them; the staff among them."""
    mine, other = rated(shop), rated(shop, "down", user="lee")
    note(shop, mine)
    for row in (mine, other):
        path = f"/v1/review/completions/{row['completion_id']}/gold"
        assert shop.ask("PUT", path, {"rating": "up"}).json()["rating"] == "up"
    judged = f"/v1/review/completions/{mine['completion_id']}/feedback"
    assert shop.ask("POST", judged, {"rating": "up"}).status_code == 200
    raters = {one["rater"]: one for one in get(shop, RATERS)["data"]}
    assert (raters[mine["rater"]]["num_gold"], raters[mine["rater"]]["num_gold_right"]) == (1, 1)
    assert (raters[other["rater"]]["num_gold"], raters[other["rater"]]["num_gold_right"]) == (1, 0)
    assert raters[mine["rater"]]["last_run"]["reliability"] == 0.75 and raters[other["rater"]]["last_run"] is None
    assert raters[f"{STAFF_RATER_PREFIX}{shop.key.id}"]["is_staff"] is True
    assert read(shop)[mine["completion_id"]]["gold"] == "up"
    shown = get(shop, f"/v1/review/conversations/{mine['conversation_id']}")["messages"][-1]["reply"]
    assert shown["gold"] == "up" and {given["ruling"] for given in shown["feedback"]} == {None}


def test_a_gold_list_is_taken_away_and_brought_back(shop: Holder) -> None:
    """One JSON object a line; ids that are not here are named, and a list that is too long is refused."""
    first, second = rated(shop), rated(shop)
    rows = [{"completion_id": row["completion_id"], "rating": "down"} for row in (first, second)]
    answer = shop.ask("POST", GOLD, {"rows": [*rows, {"completion_id": "none", "rating": "up"}]})
    assert answer.json() == {"object": "review.gold_import", "num_marked": 2, "unknown": ["none"]}
    lines = [json.loads(line) for line in shop.ask("GET", GOLD).text.splitlines()]
    assert [{name: line[name] for name in ("completion_id", "rating")} for line in lines] == rows
    assert {line["decided_by"] for line in lines} == {shop.key.id}
    assert shop.ask("PUT", f"/v1/review/completions/{first['completion_id']}/gold", {"rating": None}).status_code == 200
    assert len(shop.ask("GET", GOLD).text.splitlines()) == 1
    assert shop.ask("POST", GOLD, {"rows": rows * 300}).status_code == 400
    assert [event.action for event in audit(shop)] == ["review.mark_gold"] * 3


def test_what_another_tenant_has_cannot_be_decided_about(service: RunningService, shop: Holder) -> None:
    """It does not exist here, and nothing is noted as done; neither may who lacks the scope."""
    theirs = rated(give_key(service, "theirs", (Scope.CHAT, Scope.FEEDBACK)))
    assert rule(shop, "set_aside", theirs) == rule(shop, "set_aside", theirs, whole=True) == 404
    path = f"/v1/review/completions/{theirs['completion_id']}/gold"
    assert shop.ask("PUT", path, {"rating": "up"}).status_code == 404
    chat_only = give_key(service, shop.key.tenant, (Scope.CHAT,))
    for method, asked, body in (
        ("GET", DOUBTED, None),
        ("GET", RATERS, None),
        ("GET", GOLD, None),
        ("POST", GOLD, {"rows": []}),
        ("PUT", RULING, {"rater": "kim", "ruling": "count"}),
        ("PUT", path, {"rating": "up"}),
    ):
        assert chat_only.ask(method, asked, body).status_code == 403
    assert audit(shop) == []


def test_a_rating_knows_through_which_page_or_key_it_came(service: RunningService, shop: Holder) -> None:
    """The web page's origin for a browser, else the key's id."""
    assert rated(shop)["origin"] == shop.key.id
    token = shop.widget_token(user="pat")
    completion = page_asks(
        service,
        token,
        SHOP,
        "/v1/chat/completions",
        {"model": "rejoinder", "messages": [{"role": "user", "content": "Hi"}]},
    ).json()
    given = {"completion_id": completion["id"], "feedback_token": completion["feedback_token"], "rating": "up"}
    assert page_asks(service, token, SHOP, "/v1/feedback", given).status_code == 200
    assert read(shop)[completion["id"]]["origin"] == SHOP


def test_all_of_it_can_be_done_by_command(
    shop: Holder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside the running service: list, count, set aside, clear; the gold list out and in."""
    row = rated(shop)
    note(shop, row)
    monkeypatch.setenv("DATA_DIR", str(shop.service.settings.data_dir))
    tenant = ("--tenant", shop.key.tenant)
    assert main(["ratings", "list", *tenant]) == 0
    assert "This rater gave too many ratings within a day." in capsys.readouterr().out
    for command, ruling in (("count", "count"), ("set-aside", "set_aside"), ("clear", None)):
        assert main(["ratings", command, row["rater"], row["completion_id"], *tenant]) == 0
        assert read(shop)[row["completion_id"]]["ruling"] == ruling
    assert main(["ratings", "set-aside", row["rater"], *tenant]) == 0
    assert read(shop)[row["completion_id"]]["ruling"] == "set_aside"
    assert main(["ratings", "set-aside", "nobody", *tenant]) == 1
    assert "nobody" in capsys.readouterr().err
    path = tmp_path / "gold.jsonl"
    path.write_text(json.dumps({"completion_id": row["completion_id"], "rating": "up"}) + "\n")
    assert main(["gold", "import", str(path), *tenant]) == 0 and "1 marked, 0 unknown" in capsys.readouterr().out
    assert main(["gold", "export", *tenant]) == 0
    assert json.loads(capsys.readouterr().out)["completion_id"] == row["completion_id"]
    path.write_text('{"completion_id": "a", "rating": "sideways"}\n')
    assert main(["gold", "import", str(path), *tenant]) == 1 and "line 1" in capsys.readouterr().err
    assert {event.actor for event in audit(shop)} == {"command"}
