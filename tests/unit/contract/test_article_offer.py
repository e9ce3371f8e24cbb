"""The article in the prompt: when a completion may quote one, and what the model sees of it."""

import json
from pathlib import Path

import pytest

from model_store.contract.control_tokens import ARTICLE_ID, CONTROL_TOKENS, PLACEHOLDER_IDS, banned_unless_named
from model_store.contract.conversation import Message, Role
from model_store.contract.entities import EntityMasker, EntityVault
from model_store.contract.placeholders import FACT_PLACEHOLDERS, escape_lookalikes
from model_store.contract.tokenizer import Tokenizer
from model_store.errors import InvalidTokenizerError
from model_store.knowledge.offer import article_message, has_article, offer_article, quote_article
from training.data.subwords import name_plans

SHIPPED = Path(__file__).parents[3] / "model_store" / "default" / "tokenizer.json"


def test_the_article_has_the_id_after_the_facts_and_moves_none() -> None:
    """The last fact, the article and the first plan are where stored completions have them."""
    assert (PLACEHOLDER_IDS["<CRISIS_LINE>"], PLACEHOLDER_IDS["<ARTICLE>"], ARTICLE_ID) == (109, 110, 110)
    assert CONTROL_TOKENS[82:110] == FACT_PLACEHOLDERS and CONTROL_TOKENS[111] == "<|reserved_111|>"


def test_an_article_is_quoted_only_where_the_prompt_offers_one() -> None:
    """Like an entity, the placeholder is banned until the prompt names it."""
    assert ARTICLE_ID in banned_unless_named(()) and ARTICLE_ID not in banned_unless_named({"<ARTICLE>"})


def test_nobody_can_type_the_placeholder() -> None:
    """A customer's `<ARTICLE>` is text."""
    assert escape_lookalikes("say <ARTICLE> now") == EntityMasker().mask("say <ARTICLE> now", EntityVault())
    assert "<ARTICLE>" not in escape_lookalikes("say <ARTICLE> now")


def _vocabulary_spelling(tmp_path: Path, spelling: str) -> Path:
    """The shipped vocabulary with another spelling of the article's id."""
    state = json.loads(SHIPPED.read_text(encoding="utf-8"))
    state["model"]["vocab"] = {
        spelling if token_id == ARTICLE_ID else token: token_id for token, token_id in state["model"]["vocab"].items()
    }
    for token in state["added_tokens"]:
        token["content"] = spelling if token["id"] == ARTICLE_ID else token["content"]
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(state), encoding="utf-8")
    return path


def test_a_vocabulary_from_before_the_article_still_opens(tmp_path: Path) -> None:
    """It spells the id as reserved, and training on from it gives the id its name; any other spelling is refused."""
    old = Tokenizer.load(_vocabulary_spelling(tmp_path, "<|reserved_110|>"))
    assert old.encode("<ARTICLE>") == [ARTICLE_ID] and old.decode([ARTICLE_ID]) == "<ARTICLE>"
    renamed = name_plans(old.backend, ["help_article"])
    assert renamed.id_to_token(ARTICLE_ID) == "<ARTICLE>" and Tokenizer(renamed).plans == {"help_article": 128}
    with pytest.raises(InvalidTokenizerError, match="<ARTICLE>"):
        Tokenizer.load(_vocabulary_spelling(tmp_path, "<|other|>"))


def test_the_offer_stands_right_before_the_customers_last_message() -> None:
    """A system message at the beginning stays first; nothing else moves."""
    messages = (Message(Role.SYSTEM, "Be kind."), Message(Role.USER, "hi"), Message(Role.ASSISTANT, "Hello."))
    last = Message(Role.USER, "can you mend a zip?")
    offered = offer_article((*messages, last), "Repairs", "We mend zips.", "en")
    assert offered == (*messages, Message(Role.SYSTEM, "<ARTICLE> Repairs: We mend zips."), last)
    assert has_article(offered) and not has_article((*messages, last)) and not has_article((last,))


@pytest.mark.parametrize(
    ("language", "title", "passage", "seen"),
    [
        ("en", "T", " ".join(["word"] * 30), "<ARTICLE> T: " + " ".join(["word"] * 25)),
        ("zh", "题", "字" * 60, "<ARTICLE> 题：" + "字" * 40),
        (
            "en",
            "Repairs",
            "It costs €15,\nwrite to a@b.com.",
            "<ARTICLE> Repairs: It costs <REDACTED>, write to <REDACTED>.",
        ),
        ("zh", "姓名贴定制", "一套29元。", "<ARTICLE> 姓名贴定制：一套<REDACTED>。"),
        ("en", "<EMAIL>", "See <ARTICLE> here.", "<ARTICLE> ‹EMAIL›: See ‹ARTICLE› here."),
    ],
)
def test_the_model_sees_the_beginning_without_values(language: str, title: str, passage: str, seen: str) -> None:
    """25 English words or 40 Chinese characters, values hidden, look-alikes of placeholders escaped."""
    assert article_message(title, passage, language).content == seen


def test_a_quote_is_the_passage_itself_and_where_it_stands() -> None:
    """Word for word, in quotation marks, then title and link."""
    assert quote_article("Repairs", "It costs €15.", "https://x/r", "en") == "“It costs €15.” (Repairs: https://x/r)"
    assert quote_article("维修", "15元。", "https://x/r", "zh") == "“15元。”（维修：https://x/r）"
