"""Whether replies have the tone that was asked for, on authored replies whose tone is known."""

from training.data.domain_pack import Intent, load_pack
from training.evaluation.held_out import HeldOutPrompt, SampledReply
from training.evaluation.wording.tone import TonedReply, tone_figures, tone_table, toned_prompts

PACK = load_pack("shop")


def english_intents() -> list[Intent]:
    """Twenty of the shop's."""
    return [intent for intent in PACK.intents if intent.language == "en"][:20]


def prompt(intent: Intent) -> HeldOutPrompt:
    """One without messages: only its intent and language matter here."""
    return HeldOutPrompt(intent.name, intent.topic, intent.language, (), ())


def test_replies_in_the_tone_that_was_asked_for_are_told_from_others() -> None:
    """Formal replies where formal was asked for, warm ones where nothing was."""
    replies = [
        TonedReply(asked, SampledReply(prompt(intent), (5, 6), intent.replies_by_tone[asked or "warm"][0], True))
        for intent in english_intents()
        for asked in ("formal", None)
    ]
    figures = tone_figures(replies, PACK)["en"]["formal"]
    assert figures.asked.value > 0.9 and figures.unasked.value < 0.1
    assert 0.6 < figures.ceiling < 1 and figures.num_tokens.value == 2
    assert tone_table({"en": {"formal": figures}}).startswith("en: formal when asked for ")


def test_every_intent_is_asked_about_once_in_each_tone_and_once_without() -> None:
    """The system message that asks comes first."""
    prompts = [prompt(intent) for intent in english_intents()]
    asked = toned_prompts(PACK, [*prompts, *prompts])
    assert [tone for tone, _ in asked[:4]] == [None, "warm", "brief", "formal"] and len(asked) == 4 * len(prompts)
    wordings = PACK.phrases.tone_messages["brief"]["en"]
    assert all(each.messages[0].content in wordings for tone, each in asked if tone == "brief")
