"""Facts: the shop's own details, and the phrase that stands in where one is missing."""

from pathlib import Path

import pytest

from model_store.contract.entities import EntityVault
from model_store.contract.facts import LANGUAGES, FactSheet, fallback_phrases
from model_store.contract.placeholders import ALL_PLACEHOLDERS, ENTITY_TYPES, FACT_NAMES
from model_store.contract.unmasking import unmask
from model_store.errors import InvalidFactsError

SAMPLE = Path(__file__).parents[3] / "service" / "facts.yaml"


def test_the_sample_facts_are_complete() -> None:
    """The facts that ship have a value for every fact in both languages."""
    assert FactSheet.load(SAMPLE).missing == ()


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_placeholder_reads_as_something(language: str) -> None:
    """Without facts and without entities every placeholder still reads as a phrase, never empty, never raw."""
    resolve = FactSheet({}).resolver(EntityVault(), language)
    for placeholder in ALL_PLACEHOLDERS:
        assert resolve(placeholder).strip() and "<" not in resolve(placeholder)
    assert set(fallback_phrases()) == {*FACT_NAMES, *ENTITY_TYPES, "ARTICLE", "REDACTED"}


def test_a_missing_fact_falls_back_and_a_given_one_is_used() -> None:
    """A sentence stays a sentence when its fact is missing."""
    facts = FactSheet({"SUPPORT_PHONE": {"en": "555 01"}})
    sentence = "Call <SUPPORT_PHONE> during <SUPPORT_HOURS>."
    assert unmask(sentence, facts.resolver(EntityVault(), "en")) == "Call 555 01 during our usual support hours."


def test_a_bots_earlier_words_get_their_placeholders_back() -> None:
    """Masking the bot's own text undoes unmasking it."""
    facts = FactSheet.load(SAMPLE)
    for language in LANGUAGES:
        text = unmask("<PASSWORD_PAGE> – <RETURN_WINDOW>", facts.resolver(EntityVault(), language))
        assert facts.mask(text, language) == "<PASSWORD_PAGE> – <RETURN_WINDOW>"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("- a\n", "NAME: value"),
        ("SHOE: x\n", "not a fact"),
        ("BRAND: ''\n", "short text"),
        ("BRAND: {fr: Chez nous}\n", "short text"),
        ("BRAND: <b>x</b>\n", "short text"),
        ("BRAND: [", "cannot be used"),
    ],
)
def test_a_wrong_facts_file_is_refused_by_name(tmp_path: Path, content: str, problem: str) -> None:
    """The error names the file and what is wrong."""
    path = tmp_path / "facts.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InvalidFactsError, match=problem):
        FactSheet.load(path)
