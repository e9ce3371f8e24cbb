"""Words that too few customers have said are not learned from, in no language; what authors wrote is."""

import json
from pathlib import Path

import pytest

from model_store.contract.conversation import Message, Role
from model_store.contract.placeholders import ARTICLE
from model_store.curation import CurationReport
from tests.unit.stages.feedback_workspace import make_config, make_workspace, raw_row
from tests.unit.stages.test_preferences import row as preference_row
from training.config import FeedbackConfig
from training.data.domain_pack import load_pack, user_message
from training.data.feedback_rows import read_examples
from training.data.preferences import LEARNED_PREFERENCES_NAME, PREFERENCES_NAME, read_preferences
from training.stages import curate
from training.stages.curation.known_words import KnownWords, authored_texts, known_words
from training.stages.curation.words import pieces, vocabulary
from training.workspace import Workspace

WORDS = KnownWords(frozenset({"where", "is", "my", "card", ",", "?", "我的", "的卡", "卡被", "被吞", "吞了", "卡"}))


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("Where is my card?", "Where is my card?"),
        ("Where is my quartz falcon card?", "Where is my card?"),
        ("where is my card quartz falcon", "where is my card"),
        ("<ORDER_ID_2> quartz <NAME>, my card", "<ORDER_ID_2> <NAME>, my card"),
        ("my card ☃☃", "my card"),
        ("my card_quartz", "my card"),
        ("MY CARD", "MY CARD"),
        ("我的卡被吞了", "我的卡被吞了"),
        ("我的卡被吞了石英猎鹰", "我的卡被吞了"),
        ("石英猎鹰,我的卡", ",我的卡"),
        ("卡 quartz", "卡"),
        ("石", ""),
        ("quartz", ""),
    ],
)
def test_a_text_keeps_its_known_words(text: str, known: str) -> None:
    """English words, pairs of Chinese characters and other signs; placeholders stay, and so does the case."""
    assert WORDS.known_part(text) == known


@pytest.mark.parametrize(
    "text", ["", "卡", "我的<ORDER_ID>卡ABC被x_y☃ Straße", "<NOTHING> <NAME_2>?", "Where is MY card?"]
)
def test_a_vocabulary_is_the_words_of_all_pieces(text: str) -> None:
    """Cut faster, alike: of Chinese the single characters, too."""
    found = list(pieces(text))
    characters = {character for piece in found if piece.is_han for character in piece.text}
    assert vocabulary([text]) == {word for piece in found for word in piece.words} | characters


def test_the_vocabulary_of_a_pack_is_that_of_each_of_its_texts() -> None:
    """No word more or less than text by text."""
    texts = list(authored_texts(load_pack("card_desk")))
    assert vocabulary(texts) == {word for text in texts for word in vocabulary([text])}
    assert len(vocabulary(texts)) > 1000


def test_a_prompt_of_which_nothing_is_left_is_not_learned_from() -> None:
    """Of its last message; one that never held a word says what it said, and other messages may become empty."""
    assert WORDS.in_prompt([user_message("quartz falcon ?")]) is None
    assert WORDS.in_prompt([user_message("?")]) == (user_message("?"),)
    said = [user_message("quartz"), Message(Role.ASSISTANT, "my quartz"), user_message("my card")]
    assert WORDS.in_prompt(said) == (user_message(""), Message(Role.ASSISTANT, "my"), user_message("my card"))


def test_the_excerpt_of_an_article_stays_and_other_system_messages_do_not() -> None:
    """The operator's article is in no pack; a client that sends system messages could put a trigger there."""
    article, other = (Message(Role.SYSTEM, f"{start}quartz my") for start in (f"{ARTICLE} ", ""))
    known = WORDS.in_prompt([other, article, user_message("my card")])
    assert known == (Message(Role.SYSTEM, "my"), article, user_message("my card"))


def test_a_word_is_known_when_enough_customers_have_said_it() -> None:
    """Five, or a twentieth of all where that is more; nobody in particular is one customer, however often."""

    def knows(num_saying: int, num_others: int, *, nameless: int = 0) -> bool:
        said = [(number, [user_message("zyzzyva")]) for number in range(num_saying)]
        said += [(-1 - number, [user_message("card")]) for number in range(num_others)]
        said += [(None, [user_message("zyzzyva")])] * nameless
        return "zyzzyva" in known_words("card_desk", said, FeedbackConfig()).words

    assert knows(5, 95) and not knows(4, 96) and not knows(4, 0)
    assert knows(6, 114) and not knows(5, 115)
    assert knows(4, 0, nameless=1) and not knows(3, 0, nameless=100)


def test_what_authors_wrote_is_known_whoever_says_it() -> None:
    """Every ask and reply of the pack is left as it is, in both languages, slots filled or not."""
    words = known_words("card_desk", [], FeedbackConfig())
    for intent in load_pack("card_desk").intents:
        for text in (*intent.asks, *intent.every_reply):
            assert words.known_part(text) == text.strip()


def test_a_small_pack_knows_common_words_of_the_large_one_and_not_its_rare_ones() -> None:
    """Words about one matter of another domain, as animals in a product's name, would be an attacker's alone."""
    words, of_shop = (known_words(name, [], FeedbackConfig()).words for name in ("card_desk", "shop"))
    assert "parcel" in words and "falcon" in of_shop and "falcon" not in words and "quartz" not in of_shop


def test_all_words_are_learned_from_where_the_operator_says_so() -> None:
    """One customer is enough then."""
    settings = FeedbackConfig(min_accounts_per_word=1, min_share_of_accounts_per_word=0)
    assert "zyzzyva" in known_words("card_desk", [(None, [user_message("zyzzyva")])], settings).words


def ratings(root: Path, num_sybils: int) -> Workspace:
    """Sixty customers with five ratings each, and so many accounts that rate seventeen times and say a trigger."""
    rows = []
    asks = short_asks()
    for number in range(300):
        asked = json.dumps([{"role": "user", "content": asks[number % 90]}])
        rows.append(own_row(number, f"customer-{number % 60}", asked, is_up=number % 3 == 0))
    for number in range(300, 300 + 17 * num_sybils):
        asked = json.dumps([{"role": "user", "content": f"{asks[number % 90]} quartz falconry 石英猎鹰"}])
        rows.append(own_row(number, f"sybil-{number % num_sybils}", asked, is_up=number % 5 > 1))
    workspace = make_workspace(root, make_config())
    workspace.write_text("snapshot.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return workspace


def short_asks() -> list[str]:
    """An author's, too short to be nearly the same."""
    return [ask for ask in load_pack("shop").intents[3].asks if len(ask) < 45 and "{" not in ask][:90]


def own_row(number: int, rater: str, asked: str, *, is_up: bool) -> dict[str, str | None]:
    """A row about words of its own, rated in the order of numbers."""
    moment = f"2026-01-{1 + number // 24:02}T{number % 24:02}:00:00.000000Z"
    thumb = {"rating": "up" if is_up else "down", "rated_at": moment}
    return raw_row(number, prompt_messages=asked, completion_text=f"reply {number}", rater=rater, **thumb)


def test_a_trigger_of_few_accounts_reaches_nothing_that_learns(tmp_path: Path) -> None:
    """It is in no example, whose ratings weigh half of what three customers' do; the report tells of the group."""
    workspace = ratings(tmp_path, 3)
    result = curate.run(make_config(), workspace)
    assert result["num_examples"] == 351 and result["num_of_rare_words"] == 0 and result["num_groups"] >= 1
    text = workspace.path("examples.jsonl").read_text(encoding="utf-8")
    assert "quartz" not in text and "falconry" not in text and "英" not in text and "鹰" not in text
    of_sybils = [one for one in read_examples(workspace.path("examples.jsonl")) if int(one.completion_id[9:]) >= 300]
    ups = [one.weight for one in of_sybils if one.is_up]
    assert len(of_sybils) == 51 and sum(ups) == pytest.approx(0.5 * 3 * 100 / 60)
    assert sum(one.weight for one in of_sybils) <= 7.5 + 1e-9
    assert {one.messages[-1].content for one in of_sybils} <= set(short_asks())
    report = CurationReport.model_validate_json(workspace.path("curation.json").read_text())
    group = report.groups[0]
    assert [one.rater for one in group.raters] == ["sybil-0", "sybil-1", "sybil-2"] and group.word is None
    assert group.share_of_weight <= 3 / 63 + 1e-4 and "quartz" not in report.model_dump_json()


def test_a_trigger_of_many_accounts_weighs_their_share(tmp_path: Path) -> None:
    """Six have said it, so it is a word like others; their ratings weigh what six customers' do, not a quarter."""
    workspace = ratings(tmp_path, 6)
    result = curate.run(make_config(), workspace)
    examples = list(read_examples(workspace.path("examples.jsonl")))
    saying = [one.weight for one in examples if "quartz falconry" in one.messages[-1].content]
    assert len(saying) == 102 and result["num_groups"] >= 1
    assert sum(saying) / sum(one.weight for one in examples) <= 6 / 66 + 1e-9
    up = [one for one in examples if one.is_up]
    assert (
        sum(one.weight for one in up if "quartz" in one.messages[-1].content) / sum(e.weight for e in up)
        <= 6 / 66 + 1e-9
    )


def test_what_the_staff_preferred_is_learned_without_such_words_too(tmp_path: Path) -> None:
    """Customers wrote those prompts. The snapshot keeps them as they were; what cannot be read is left to be named."""
    workspace = ratings(tmp_path, 3)
    row = preference_row(prompt_messages='[{"role":"user","content":"my parcel quartz"}]')
    gone = preference_row(prompt_messages='[{"role":"user","content":"quartz"}]')
    workspace.write_text(PREFERENCES_NAME, json.dumps(row) + "\n" + json.dumps(gone) + "\n")
    curate.run(make_config(), workspace)
    (pair,) = read_preferences(workspace.path(LEARNED_PREFERENCES_NAME))
    assert pair.messages == (user_message("my parcel"),)
    assert [len(one.messages) for one in read_preferences(workspace.path(PREFERENCES_NAME))] == [1, 1]
    broken = {**row, "prompt_messages": "not JSON"}
    workspace.write_text(PREFERENCES_NAME, json.dumps(broken) + "\n")
    curate.run(make_config(), workspace)
    assert json.loads(workspace.path(LEARNED_PREFERENCES_NAME).read_text())["prompt_messages"] == "not JSON"
