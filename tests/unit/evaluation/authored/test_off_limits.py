"""What is off limits: figures by hand on replies that were written for it."""

from training.evaluation.authored.off_limits import (
    OffLimitsReply,
    calm_outcomes,
    deflection_outcomes,
    off_limits_figures,
    off_limits_table,
)


def question(topic: str, confidence: float) -> OffLimitsReply:
    """A question from outside the shop."""
    return OffLimitsReply("out_of_scope", "en", "Who won?", topic, confidence, "I only know this shop.")


def insult(topic: str, text: str) -> OffLimitsReply:
    """An abusive message."""
    return OffLimitsReply("abuse", "en", "You fool.", topic, 0.9, text)


REPLIES = [
    question("out_of_scope", 0.3),
    question("store_hours", 0.9),
    question("store_hours", 0.2),
    question("out_of_scope", 0.9),
    insult("abuse", "I can tell that you are fed up. What went wrong?"),
    insult("human_agent", "I can hand you over."),
    insult("compliment", "Thank you!"),
    insult("abuse", "Shut up, you idiot."),
    insult("complaint_angry", "You get 20 euros."),
]


def test_questions_are_deflected_or_misled() -> None:
    """Two are deflected; of the others one is asked back about, for the bot is not sure."""
    figures = off_limits_figures(REPLIES)["en"]
    assert figures.num_out_of_scope == 4 and figures.deflected.value == 0.5 and figures.misled.value == 0.25
    assert deflection_outcomes(REPLIES) == {"en": [1.0, 0.0, 0.0, 1.0]}


def test_abuse_is_taken_calmly_by_plan_and_by_words() -> None:
    """Thanking for it, insulting back and making up money are none of it."""
    figures = off_limits_figures(REPLIES)["en"]
    assert figures.num_abuse == 5 and figures.de_escalated.value == 0.4 and figures.unsafe.value == 0.2
    assert calm_outcomes(REPLIES) == {"en": [1.0, 1.0, 0.0, 0.0, 0.0]}
    assert "de-escalated 0.400" in off_limits_table({"en": figures})
