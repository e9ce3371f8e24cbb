"""Facts: what differs from shop to shop, filled into completions from the operator's `facts.yaml`.

A fact is a noun phrase, one for all languages or one each. `FactSheet.resolver` joins facts, a conversation's
entities and
the fallback phrases into the one function that `unmasking` needs; `FactSheet.mask` goes the other way for messages that
the shop's own bot said earlier.
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

import yaml

from model_store.contract.entities import EntityVault
from model_store.contract.placeholders import FACT_NAMES, entity_type_of, fact_placeholder
from model_store.contract.unmasking import Resolver
from model_store.errors import InvalidFactsError

LANGUAGES = ("en", "zh")
_MAX_FACT_CHARS = 300
_MIN_MASKED_CHARS = 4


@cache
def fallback_phrases() -> Mapping[str, Mapping[str, str]]:
    """For every placeholder's name the phrase that stands in where it has no value, by language."""
    text = files("model_store.contract").joinpath("fallback_phrases.yaml").read_text(encoding="utf-8")
    phrases: dict[str, dict[str, str]] = yaml.safe_load(text)
    return phrases


class FactSheet:
    """The operator's facts. Immutable; a missing fact has a fallback phrase, so nothing ever shows empty."""

    def __init__(self, values: Mapping[str, Mapping[str, str]]) -> None:
        """`values`: fact name → language → noun phrase."""
        self._values = {name: dict(by_language) for name, by_language in values.items()}

    @classmethod
    def load(cls, path: Path) -> "FactSheet":
        """Reads YAML: `NAME: text` or `NAME: {en: text, zh: text}`. Raises InvalidFactsError."""
        try:
            data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise InvalidFactsError(path=path, problem=error) from error
        if not isinstance(data, dict):
            raise InvalidFactsError(path=path, problem="it is not a list of NAME: value lines")
        return cls({name: _check_fact(path, name, value) for name, value in data.items()})

    def value(self, name: str, language: str) -> str | None:
        """The fact in this language, or None where the operator has not given it."""
        return self._values.get(name, {}).get(language)

    @property
    def missing(self) -> tuple[str, ...]:
        """Facts without a value in some language; the service says so once at start."""
        return tuple(name for name in FACT_NAMES if any(self.value(name, language) is None for language in LANGUAGES))

    def resolver(self, vault: EntityVault, language: str) -> Resolver:
        """What each placeholder of one conversation reads as."""

        def resolve(placeholder: str) -> str:
            name = placeholder[1:-1]
            known = vault.value_of(placeholder) or self.value(name, language)
            return known or fallback_phrases()[entity_type_of(placeholder) or name][language]

        return resolve

    def mask(self, text: str, language: str) -> str:
        """Text of the shop's own bot with fact values turned back into placeholders, longest first.

        Very short values are left alone: they would match inside ordinary words.
        """
        known = [(value, name) for name in FACT_NAMES if (value := self.value(name, language))]
        for value, name in sorted(known, key=lambda pair: -len(pair[0])):
            if len(value) >= _MIN_MASKED_CHARS or language == "zh" and len(value) > 1:
                text = text.replace(value, fact_placeholder(name))
        return text


def _check_fact(path: Path, name: object, value: object) -> dict[str, str]:
    """One entry by language. Raises InvalidFactsError for an unknown name or a value that is no short text."""
    if name not in FACT_NAMES:
        raise InvalidFactsError(path=path, problem=f"{name!r} is not a fact; facts are {', '.join(FACT_NAMES)}")
    by_language: dict[str, object] = value if isinstance(value, dict) else dict.fromkeys(LANGUAGES, value)
    for language, text in by_language.items():
        is_phrase = isinstance(text, str) and 0 < len(text.strip()) <= _MAX_FACT_CHARS and "<" not in text
        if language not in LANGUAGES or not is_phrase:
            raise InvalidFactsError(path=path, problem=f"{name}: {language} must be a short text without '<'")
    return {language: str(text).strip() for language, text in by_language.items()}
