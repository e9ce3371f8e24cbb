"""Words that are not those of their plan: what is found, what is let be, and what it costs."""

import random

from training.data.domain_pack import load_pack
from training.evaluation.rewarding.plan_words import is_taught, pack_plan_words

PACK = load_pack("shop")


def test_unread_replies_say_their_plan_and_not_another() -> None:
    """Nine in ten authored replies that were not learned from are heard as theirs, one in fifteen as another's."""
    unread = [(i.name, reply) for i in PACK.intents for reply in i.replies if not is_taught(reply)]
    names = sorted({name for name, _ in unread})
    generator = random.Random(1)
    others = [generator.choice([name for name in names if name != own]) for own, _ in unread]
    replies = [reply for _, reply in unread]
    words = pack_plan_words("shop")
    own, other = (words.fit(plans, replies) for plans in ([name for name, _ in unread], others))
    assert sum(own) / len(own) > 0.88
    assert sum(other) / len(other) < 0.07


def test_what_has_no_known_words_is_let_be() -> None:
    """No plan, or one that no reply is authored for: nobody can say that the words are wrong."""
    assert pack_plan_words("shop").fit([None, "unheard_of/ask_order_id"], ["Hello.", "Hello."]) == [True, True]
    assert pack_plan_words("shop").fit([], []) == []
