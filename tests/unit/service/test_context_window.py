"""The context window: what stays and what goes."""

import pytest

from model_store.contract.chat_template import render
from model_store.contract.conversation import Message, Role
from model_store.contract.tokenizer import Tokenizer
from service.chat.context_window import fit_prompt
from service.errors import ContextLengthExceededError
from tests.contract.fake_engine import train_tokenizer

SYSTEM = Message(Role.SYSTEM, "Be kind.")
EARLIER = (Message(Role.USER, "Hello"), Message(Role.ASSISTANT, "Hello, how can I help"))
TALK = (
    Message(Role.USER, "Where is my order"),
    Message(Role.ASSISTANT, "It is on its way"),
    Message(Role.USER, "Thank you"),
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A real, very small tokenizer."""
    return train_tokenizer(tmp_path_factory.mktemp("tokenizer") / "tokenizer.json")


def length(tokenizer: Tokenizer, *messages: Message) -> int:
    """Tokens of a whole prompt."""
    return len(render(messages, tokenizer, for_completion=True).token_ids)


def test_a_conversation_that_fits_is_kept_whole(tokenizer: Tokenizer) -> None:
    """To the last token; with one less, the oldest turn goes."""
    whole = length(tokenizer, *TALK)
    exact = fit_prompt(TALK, tokenizer, max_tokens=10, max_context=whole + 10)
    assert exact.messages == TALK and len(exact.token_ids) == whole
    tight = fit_prompt(TALK, tokenizer, max_tokens=10, max_context=whole + 9)
    assert tight.messages == TALK[2:]


def test_no_more_turns_are_shown_than_the_network_can_follow(tokenizer: Tokenizer) -> None:
    """Two exchanges before the last message, however much room there is; an article stays before its question."""
    article = Message(Role.SYSTEM, "<ARTICLE> Returns: send it back")
    shown = fit_prompt((SYSTEM, *EARLIER, *EARLIER, *TALK), tokenizer, max_tokens=10, max_context=500)
    assert shown.messages == (SYSTEM, *EARLIER, *TALK)
    shown = fit_prompt((*EARLIER, article, *EARLIER, *TALK), tokenizer, max_tokens=10, max_context=500)
    assert shown.messages == (article, *EARLIER, *TALK)


def test_a_network_for_long_conversations_sees_all_that_there_is_room_for(tokenizer: Tokenizer) -> None:
    """Every turn where there is room; the oldest turns go where there is not."""
    talk = (SYSTEM, *EARLIER * 5, *TALK)
    whole = length(tokenizer, *talk)
    shown = fit_prompt(talk, tokenizer, max_tokens=10, max_context=whole + 10, sees_everything=True)
    assert shown.messages == talk
    shown = fit_prompt(talk, tokenizer, max_tokens=10, max_context=whole + 9, sees_everything=True)
    assert shown.messages == (SYSTEM, *EARLIER * 4, *TALK)


def test_the_system_message_stays(tokenizer: Tokenizer) -> None:
    """When only one message has room beside it, that is the last."""
    room = length(tokenizer, SYSTEM, TALK[-1])
    prompt = fit_prompt((SYSTEM, *TALK), tokenizer, max_tokens=5, max_context=room + 5)
    assert prompt.messages == (SYSTEM, TALK[-1])
    assert prompt.token_ids == render(prompt.messages, tokenizer, for_completion=True).token_ids


def test_a_greeting_from_the_shop_may_come_first(tokenizer: Tokenizer) -> None:
    """Kept where the whole conversation fits, dropped with the first turn otherwise."""
    talk = (Message(Role.ASSISTANT, "Hello!"), *TALK)
    whole = length(tokenizer, *talk)
    assert fit_prompt(talk, tokenizer, max_tokens=1, max_context=whole + 1).messages == talk
    assert fit_prompt(talk, tokenizer, max_tokens=1, max_context=whole).messages == TALK


def test_a_last_message_that_does_not_fit_is_refused_with_figures(tokenizer: Tokenizer) -> None:
    """One token too many; the message says how much room there is."""
    room = length(tokenizer, TALK[-1])
    with pytest.raises(ContextLengthExceededError) as caught:
        fit_prompt(TALK, tokenizer, max_tokens=5, max_context=room + 4)
    assert caught.value.param == "messages" and f"context of {room + 4} tokens" in str(caught.value)


def test_an_article_stays_with_the_question_that_it_is_offered_for(tokenizer: Tokenizer) -> None:
    """However many turns go, the article is right before the last message, or the two do not fit."""
    article = Message(Role.SYSTEM, "<ARTICLE> Returns: send it back")
    offered = (SYSTEM, *EARLIER, *TALK[:-1], article, TALK[-1])
    for num_free in range(length(tokenizer, SYSTEM, article, TALK[-1]), length(tokenizer, *offered) + 1):
        kept = fit_prompt(offered, tokenizer, max_tokens=10, max_context=num_free + 10).messages
        assert kept[0] == SYSTEM and kept[-2:] == (article, TALK[-1]) and kept[1].role is not Role.ASSISTANT
    with pytest.raises(ContextLengthExceededError):
        fit_prompt(offered, tokenizer, max_tokens=10, max_context=length(tokenizer, SYSTEM, article, TALK[-1]) + 9)
