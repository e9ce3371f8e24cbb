"""Later messages that go on about a matter or change the topic: what is asked, and what counts as heard rightly."""

from dataclasses import replace

import pytest

from model_store.contract.conversation import Message, Role
from model_store.contract.tokenizer import Tokenizer
from model_store.store import DEFAULT_BUNDLE
from training.data.domain_pack import DomainPack, load_pack, user_message
from training.data.plan_teacher.going_on import held_out_wordings
from training.evaluation.dialogues import going_on
from training.evaluation.dialogues.going_on import (
    HeardLater,
    going_on_figures,
    going_on_outcomes,
    going_on_table,
    hear_later_messages,
)
from training.evaluation.held_out import HeldOutPrompt, SampledReply
from training.evaluation.plan_choice import ChosenPlan
from training.evaluation.subject import Subject

HEARD = [
    HeardLater("once", "en", "asking", "warranty", "warranty"),
    HeardLater("once", "en", "failed", "warranty", "bot_unhelpful"),
    HeardLater("once", "en", "cost", "warranty", "bot_unhelpful"),
    HeardLater("twice", "en", "asking", "warranty", "invoice"),
    HeardLater("own", "en", "of its own", "warranty", "delivery_cost"),
    HeardLater("change", "en", "", "invoice", "invoice"),
    HeardLater("once", "zh", "agreeing", "warranty", "human_agent"),
]


def test_saying_that_nothing_helped_is_no_mistake_but_is_not_the_matter() -> None:
    """And asking what it costs is not saying that."""
    english, chinese = (going_on_figures(HEARD)[language] for language in ("en", "zh"))
    assert (english.num_matters, chinese.num_matters) == (3, 1)
    assert (english.right.value, english.fitting.value) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert (english.right_again.value, english.change_right.value) == (0, 1)
    assert english.right_of_its_own and (english.right_of_its_own.value, chinese.right_of_its_own) == (0, None)
    assert (chinese.right.value, chinese.fitting.value) == (0, 1)
    assert {kind: figure.value for kind, figure in english.right_by_kind.items()} == {
        "asking": 1,
        "cost": 0,
        "failed": 0,
    }


def test_outcomes_keep_changes_of_topic_apart() -> None:
    """One number a message, by language."""
    assert going_on_outcomes(HEARD, is_change=False) == {"en": [1, 0, 0, 0, 0], "zh": [0]}
    assert going_on_outcomes(HEARD, is_change=True) == {"en": [1]}
    assert going_on_table({}) == ""
    assert "going on about 3 matters, right topic 0.333" in going_on_table(going_on_figures(HEARD))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """The vocabulary that ships."""
    return Tokenizer.load(DEFAULT_BUNDLE / "tokenizer.json")


def reply(pack: DomainPack, tokenizer: Tokenizer, name: str, plan: str) -> SampledReply:
    """A customer's first question, and the bot's answer with that plan."""
    matter = next(each for each in pack.intents if each.name == name and each.language == "en")
    prompt = HeldOutPrompt(name, matter.topic, "en", (user_message(matter.asks[0]),), ())
    return SampledReply(prompt, (tokenizer.plans[plan],), matter.replies[0], ended=True)


def test_customers_go_on_about_what_was_heard_rightly_and_change_to_it(
    monkeypatch: pytest.MonkeyPatch, tokenizer: Tokenizer
) -> None:
    """In held-out wordings, once and again; thanks are no matter, and what was misheard is not asked about."""
    pack = load_pack("shop")
    asked: list[HeldOutPrompt] = []

    def choose(policy: object, tokenizer: Tokenizer, prompts: list[HeldOutPrompt]) -> list[ChosenPlan]:
        """Takes everything for a warranty."""
        asked.extend(prompts)
        return [ChosenPlan("warranty", 1.0) for _ in prompts]

    monkeypatch.setattr(going_on, "choose_plans", choose)
    subject = Subject(None, tokenizer, pack, None)  # type: ignore[arg-type]
    first = [
        reply(pack, tokenizer, name, plan)
        for name, plan in (("warranty", "warranty"), ("thanks", "thanks"), ("invoice", "warranty"))
    ]
    heard = hear_later_messages(subject, first)
    assert [(each.situation, each.topic, each.is_right) for each in heard] == [
        ("once", "warranty", True),
        ("twice", "warranty", True),
        ("own", "warranty", True),
        ("change", "thanks", False),
        ("change", "warranty", True),
    ]
    once, twice, own, *_ = asked
    assert [message.role for message in twice.messages] == [Role.USER, Role.ASSISTANT] * 2 + [Role.USER]
    assert twice.messages[:3] == once.messages and once.messages[1] == Message(Role.ASSISTANT, first[0].text)
    held_out = {text for texts in held_out_wordings()["en"].values() for text in texts}
    assert once.messages[-1].content.replace("<ORDER_ID>", "{detail}") in held_out
    assert own.messages[:2] == once.messages[:2]
    assert (
        own.messages[-1].content in next(each for each in pack.intents if each.name == "warranty").held_out_follow_ups
    )
    alone = hear_later_messages(subject, [replace(first[0], prompt=replace(first[0].prompt, intent="invoice"))])
    assert alone == [], "nothing was heard rightly"
