"""What was written to measure with: enough of it, in its language, about plans that exist, and in no training data."""

from collections import Counter
from collections.abc import Iterator

import pytest

from model_store.contract.conversation import detect_language
from model_store.contract.entities import EntityMasker, EntityVault
from training.data.domain_pack import entities_in, load_pack
from training.evaluation.authored.fairness import load_concerns, load_translations
from training.evaluation.authored.off_limits import load_messages
from training.evaluation.authored.opposite_pairs import load_pairs
from training.evaluation.dialogues.goals import load_goals
from training.evaluation.judge import own_words

PACK = load_pack("shop")
CARD_DESK = load_pack("card_desk")
TOPICS = {plan.partition("/")[0] for plan in PACK.plans}
CARD_TOPICS = {plan.partition("/")[0] for plan in CARD_DESK.plans}
NOBODYS_CONCERN = {"abuse", "acknowledge", "gibberish", "help_article", "prompt_injection", "self_harm"}
"""Of the shop's topics, what has no words that stand in both languages, and what safety rules are measured by."""
MIN_GOALS = MIN_PAIRS = 40
MIN_OUT_OF_SCOPE, MIN_ABUSE = 60, 30
LONGEST_CHANCE = {"en": 14, "zh": 6}
"""Letters up to which texts may be the same without having been taken: there is one way to write 'refund'."""


def goal_texts() -> Iterator[tuple[str, str]]:
    """Language and wording of everything that simulated customers say."""
    for language in load_goals():
        phrases = (*language.phrases.lacks, *language.phrases.repeats)
        steps = [step for goal in language.goals for step in goal.steps]
        said = [text for step in steps for text in (*step.says, *step.rephrases)]
        given = [text for goal in language.goals for texts in goal.gives.values() for text in texts]
        yield from ((language.language, text) for text in (*phrases, *said, *given))


def other_texts() -> Iterator[tuple[str, str]]:
    """Language and wording of pairs, concerns and what is off limits."""
    yield from ((pair.language, side.says) for pair in load_pairs() for side in pair.sides)
    yield from ((each.language, text) for each in load_concerns() for texts in each.wordings.values() for text in texts)
    yield from (said for each in load_translations() for said in each.says.items())
    for by_language in load_messages().values():
        yield from ((language, text) for language, texts in by_language.items() for text in texts)


def bare(text: str) -> str:
    """A text without case, spaces and punctuation."""
    return "".join(character for character in text.lower() if character.isalnum()) or text


def test_there_is_enough_in_each_language() -> None:
    """Goals, pairs, questions from outside and abuse; no name stands twice."""
    for language in load_goals():
        names = [goal.goal for goal in language.goals]
        assert len(names) == len(set(names)) >= MIN_GOALS
        assert all(len(goal.steps[0].says) >= 3 for goal in language.goals)
    assert {language.language for language in load_goals()} == {"en", "zh"}
    pairs = Counter(pair.language for pair in load_pairs())
    assert pairs.keys() == {"en", "zh"} and min(pairs.values()) >= MIN_PAIRS
    assert len({(pair.language, pair.name) for pair in load_pairs()}) == len(load_pairs())
    messages = load_messages()
    assert min(len(texts) for texts in messages["out_of_scope"].values()) >= MIN_OUT_OF_SCOPE
    assert min(len(texts) for texts in messages["abuse"].values()) >= MIN_ABUSE


def test_plans_that_are_named_exist() -> None:
    """A misspelt plan would count as a wrong answer for ever."""
    named = {topic for language in load_goals() for goal in language.goals for topic in goal.topics}
    named |= {topic for pair in load_pairs() for topic in pair.topics}
    assert named - TOPICS == set()
    assert all(concern.plans <= TOPICS or concern.plans <= CARD_TOPICS for concern in load_concerns())


@pytest.mark.parametrize("topics", [TOPICS, CARD_TOPICS], ids=["shop", "card desk"])
def test_each_pack_has_concerns_enough_to_tell_a_point_apart(topics: set[str]) -> None:
    """With two messages, one other plan for one wording would be more than the point that the gate allows."""
    heard = [concern for concern in load_concerns() if concern.plans <= topics]
    both = Counter((concern.attribute, concern.plans) for concern in heard)
    assert len(heard) >= 130 and sum(count == 2 for count in both.values()) >= 50


def test_every_matter_is_there_in_both_languages() -> None:
    """A hundred concerns a pack, five of each of the card desk's, none twice: so many tell a point from none."""
    by_plan = Counter(plan for each in load_translations() for plan in each.plans)
    assert by_plan.keys() == CARD_TOPICS | TOPICS - NOBODYS_CONCERN
    assert min(by_plan[plan] for plan in CARD_TOPICS) >= 5
    for topics in (TOPICS, CARD_TOPICS):
        assert sum(each.plans <= topics for each in load_translations()) >= 100
    texts = [bare(text) for each in load_translations() for text in each.says.values()]
    assert len(set(texts)) == len(texts) == 2 * len(load_translations())


def test_nothing_is_taken_from_training() -> None:
    """Neither from asks nor from flows, not even in other case or punctuation; a word or two may meet by chance."""
    intents = (*PACK.intents, *CARD_DESK.intents)
    asks = {bare(ask) for intent in intents for ask in (*intent.asks, *intent.held_out_asks)}
    in_flows = {bare(text) for flow in PACK.flows for turn in flow.turns for text in turn.wordings}
    known = asks | in_flows
    whole = [text for language, text in (*goal_texts(), *other_texts()) if len(bare(text)) > LONGEST_CHANCE[language]]
    assert [text for text in whole if bare(text) in known] == []
    assert len(whole) > 2500


def test_texts_are_in_their_language() -> None:
    """Order numbers and addresses, which have none, aside."""
    for language, text in (*goal_texts(), *other_texts()):
        words = own_words(EntityMasker().mask(text, EntityVault()))
        if any(character.isalpha() for character in words):
            assert detect_language(words) == language, text


def test_details_are_recognised_as_what_they_are() -> None:
    """What a customer gives is masked as the entity that was asked for, and as nothing else."""
    for language in load_goals():
        for goal in language.goals:
            for entity, texts in goal.gives.items():
                for text in texts:
                    assert entities_in(EntityMasker().mask(text, EntityVault())) == {entity}, text


def test_who_asks_is_not_masked_away() -> None:
    """A name that the bot never sees would prove nothing."""
    for concern in load_concerns():
        for texts in concern.wordings.values():
            assert all(EntityMasker().mask(text, EntityVault()) == text for text in texts)


@pytest.mark.parametrize("attribute", ["name", "gender", "age", "dialect"])
def test_every_group_has_every_concern(attribute: str) -> None:
    """In two wordings, so that groups can be compared with each other and with noise."""
    for language in ("en", "zh"):
        chosen = [each for each in load_concerns() if (each.language, each.attribute) == (language, attribute)]
        assert len(chosen) >= 12 and len({frozenset(each.wordings) for each in chosen}) == 1
        assert all(len(set(texts)) == 2 for each in chosen for texts in each.wordings.values())
