"""The pack linter: what it finds in broken packs, and that it finds nothing in those that ship."""

from pathlib import Path

import pytest

from model_store.contract.wording.unsafe import load_rules
from training import cli, data_commands
from training.data import domain_pack
from training.data.domain_pack import PACKS_DIRECTORY, load_pack
from training.errors import InvalidDomainPackError
from training.pack_lint.lint import lint, size_table
from training.pack_lint.reply_rules import DEFAULT_RULES_FILE, broken_rules

SHORT = (
    "- intent: greeting\n  asks: [hi]\n  held_out_asks: []\n  replies: {warm: [Hello there!]}\n"
    "  bad_replies: [{text: State your request., reason: mechanical}]\n"
)
RULES = (*load_rules(), *load_rules(DEFAULT_RULES_FILE))


@pytest.fixture
def packs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(domain_pack, "PACKS_DIRECTORY", tmp_path)
    monkeypatch.setattr(data_commands, "PACKS_DIRECTORY", tmp_path)
    return tmp_path


def write_pack(root: Path, english: str, chinese: str = "", opposites: str = "") -> Path:
    for language, text in (("en", english), ("zh", chinese)):
        if text:
            (root / language).mkdir(parents=True)
            (root / language / "talk.yaml").write_text(text, encoding="utf-8")
    if opposites:
        (root / "opposites.yaml").write_text(opposites, encoding="utf-8")
    return root


def problems_of(root: Path) -> list[str]:
    return [str(problem) for problem in lint(load_pack(str(root)), root)]


@pytest.mark.parametrize("name", ["card_desk", "shop"])
def test_nothing_is_to_mend_in_a_pack_that_ships(name: str) -> None:
    """Every size is reached, every opposite told apart, and no reply says what nothing backs."""
    assert [str(problem) for problem in lint(load_pack(name), PACKS_DIRECTORY / name)] == []


def test_what_an_intent_lacks_is_named(packs: Path) -> None:
    """Intent, number and need; a language that lacks an intent or flows is named as well."""
    found = problems_of(write_pack(packs / "small", SHORT, SHORT.replace("greeting", "goodbye")))
    for expected in (
        "en talk/greeting: 1 asks, 40 are needed",
        "en talk/greeting: 0 held-out asks, 5 are needed",
        "en talk/greeting: 1 good replies in tones, 12 are needed",
        "en talk/greeting: 1 tones, 3 are needed",
        "en talk/greeting: 1 bad replies, 4 are needed",
        "en talk/greeting: 1 reasons of bad replies, 3 are needed",
        "en goodbye: is not there in this language",
        "zh flows: 0 flows, 10 are needed",
    ):
        assert expected in found


def test_an_ask_under_two_intents_is_named(packs: Path) -> None:
    """Whatever its capitals and marks; the same words in another language are another ask."""
    two = SHORT + SHORT.replace("greeting", "goodbye").replace("[hi]", "['Hi!!', bye]")
    found = problems_of(write_pack(packs / "two", two, SHORT.replace("greeting", "thanks")))
    assert [text for text in found if "in common" in text] == ["en greeting: has the ask 'hi' in common with goodbye"]


def test_opposites_need_a_bad_reply_of_the_other_kind(packs: Path) -> None:
    """Both sides of a pair exist and hold a bad reply that answers something else; only pairs are read."""
    root = write_pack(packs / "pair", SHORT, opposites="- [greeting, goodbye]\n")
    assert "en talk/greeting: has an opposite, but no bad reply for the reason wrong_intent" in problems_of(root)
    assert "en goodbye: is named in opposites.yaml, but is no intent" in problems_of(root)
    (root / "opposites.yaml").write_text("greeting: goodbye\nthanks: 1\n")
    with pytest.raises(InvalidDomainPackError, match="not a list of pairs"):
        problems_of(root)


@pytest.mark.parametrize(
    ("reply", "rule"),
    [
        ("I've blocked your card and sent you a new one.", "claims_action"),
        ("We are now looking into it.", "claims_action"),
        ("好的，已为您冻结这张卡。", "claims_action"),
        ("好的，我将为您办理退款。", "claims_action"),
        ("Your new card has been dispatched.", "claims_status"),
        ("您的退款已经到账。", "claims_status"),
        ("We will refund the amount.", "promises"),
        ("放心，一定会退给您。", "promises"),
        ("The card arrives within five working days.", "time_without_fact"),
        ("新卡三天内寄到。", "time_without_fact"),
        ("Please send me the card number.", "asks_for_secret"),
        ("请把验证码发给我。", "asks_for_secret"),
        ("Please call <SUPPORT_PHONE> , it is quicker.", "slip_of_the_pen"),
        ("Please tell us the the reason.", "slip_of_the_pen"),
        ("请拨打<SUPPORT_PHONE>，，谢谢。", "slip_of_the_pen"),
        ("How can I help", "slip_of_the_pen"),
    ],
)
def test_a_reply_that_nothing_backs_is_found(reply: str, rule: str) -> None:
    """Claims of action and status, promises, times of its own, questions for secrets, slips of the pen."""
    assert rule in broken_rules(reply, RULES)


@pytest.mark.parametrize(
    "reply",
    [
        "If your card has been stolen, please call <SUPPORT_PHONE>.",
        "Never send your PIN or card number to anybody.",
        "We can't promise a date.",
        "请勿把验证码发给任何人。",
        "要是卡片已经丢失，请拨打<SUPPORT_PHONE>。",
        "可以为您转接人工客服。",
    ],
)
def test_a_condition_a_denial_or_an_offer_is_no_claim(reply: str) -> None:
    """What excuses a match stands before it in the same clause."""
    assert broken_rules(reply, RULES) == ()


def test_the_rules_find_most_replies_that_authors_wrote_as_promising() -> None:
    """Measured on the shop's bad replies for that reason, which nobody wrote with the rules in mind."""
    promising = [text for intent in load_pack("shop").intents for text, why in intent.bad_replies if why == "promising"]
    num_found = sum(bool(broken_rules(text, RULES)) for text in promising)
    assert num_found >= 0.85 * len(promising)


def test_sizes_are_a_table_with_a_row_a_language(packs: Path) -> None:
    """Columns for tones and flows, and how often each reason occurs."""
    lines = size_table(load_pack(str(write_pack(packs / "small", SHORT)))).splitlines()
    assert lines[0].split() == (
        ["language", "intents", "asks", "held-out", "warm", "brief", "formal"]
        + ["given", "missing", "bad", "flows", "branches", "articles", "unseen"]
    )
    assert lines[1].split() == ["en", "1", "1", "0", "1", "0", "0", "0", "0", "1", "0", "0", "0", "0"]
    assert lines[2] == "en bad replies: mechanical 1"


def test_only_strict_linting_fails(packs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Problems go to stderr either way; `--strict` makes the exit code 1."""
    write_pack(packs / "small", SHORT)
    assert cli.main(["check-domain", "small"]) == 0
    assert "talk/greeting: 1 asks, 40 are needed" in capsys.readouterr().err
    assert cli.main(["check-domain", "small", "--strict"]) == 1
    assert "to mend." in capsys.readouterr().out
