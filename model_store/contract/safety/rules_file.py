"""Safety rules as operators write them: the file that ships, and a shop's own over it.

Everything is checked when the service starts: patterns, placeholders, names of unsafe wordings, and that each rule has
what its outcome needs.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError, model_validator

from model_store.contract.placeholders import FACT_PLACEHOLDERS, LIKE_A_PLACEHOLDER
from model_store.contract.safety.rules import Outcome, SafetyRule, SafetyRules
from model_store.contract.wording.unsafe import load_rules as load_unsafe_rules
from model_store.errors import InvalidSafetyRulesError, problems_of

DEFAULT_RULES_FILE = Path(__file__).with_name("safety_rules.yaml")
_WORD_NAME = re.compile(r"(?<!P)<(\w+)>")

_Text = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


class _Replies(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    en: _Text
    zh: _Text


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: _Name
    is_on: bool = True
    outcome: Outcome = "refuse"
    words: dict[str, str] = {}
    patterns: tuple[str, ...] = ()
    excuses: tuple[str, ...] = ()
    intent: str | None = None
    min_probability: float = Field(0.9, gt=0, le=1)
    ordinary: tuple[str, ...] = ()
    in_reply: frozenset[str] = frozenset()
    plan: str | None = None
    replies: _Replies | None = None
    again: _Replies | None = None

    @model_validator(mode="after")
    def _check(self) -> "_Entry":
        if self.is_on:
            for problem in _problems(self):
                raise ValueError(problem)
        return self


_FILE: TypeAdapter[tuple[_Entry, ...]] = TypeAdapter(tuple[_Entry, ...])


def load_safety_rules(path: Path | None = None) -> SafetyRules:
    """The rules that ship, under a shop's own if `path` names some. Raises InvalidSafetyRulesError naming the field.

    A shop's rules come first and take the place of those shipped under the same name; one with `is_on: false` is none.
    """
    own = _read(path) if path is not None else ()
    names = {entry.rule for entry in own}
    shipped = tuple(entry for entry in _read(DEFAULT_RULES_FILE) if entry.rule not in names)
    return SafetyRules(tuple(_to_rule(entry) for entry in (*own, *shipped) if entry.is_on))


def _read(path: Path) -> tuple[_Entry, ...]:
    try:
        return _FILE.validate_python(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise InvalidSafetyRulesError(path=path, problem=problems_of(error)) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidSafetyRulesError(path=path, problem=f"{type(error).__name__}: {error}") from error


def _problems(entry: _Entry) -> list[str]:
    """What makes an entry no rule."""
    problems = []
    if not (entry.patterns or entry.intent or entry.in_reply):
        problems.append("nothing sets the rule off: it needs patterns, an intent or in_reply")
    if entry.ordinary and entry.intent is None:
        problems.append("ordinary says what the intent model mishears: it needs an intent")
    if entry.outcome == "soften" and entry.in_reply:
        problems.append("what the bot was about to say cannot be softened: refuse it or hand over")
    if entry.plan is not None and entry.outcome != "soften":
        problems.append("only outcome soften has a plan")
    if entry.outcome == "soften" and entry.plan is None:
        problems.append("outcome soften needs a plan, and replies for models that do not have it")
    if entry.replies is None:
        problems.append("it needs replies: what is said, in en and zh")
    problems += _problems_of_words(entry)
    known = {rule.name for rule in load_unsafe_rules()}
    problems += [f"in_reply knows no {name!r}, only {', '.join(sorted(known))}" for name in entry.in_reply - known]
    try:
        _to_rule(entry)
    except (re.error, KeyError) as error:
        problems.append(f"a pattern is broken ({type(error).__name__}: {error})")
    return problems


def _problems_of_words(entry: _Entry) -> Iterator[str]:
    if entry.again and entry.outcome == "soften":
        yield "a softened reply is the model's: only refuse and hand_over have words to say again"
    texts = [text for said in (entry.replies, entry.again) if said for text in (said.en, said.zh)]
    shapes = [shape for text in texts for shape in LIKE_A_PLACEHOLDER.findall(text)]
    yield from (f"{shape} in replies is not one of the facts" for shape in shapes if shape not in FACT_PLACEHOLDERS)


def _to_rule(entry: _Entry) -> SafetyRule:
    """Raises re.error, and KeyError for a word that the rule does not have."""
    expressions = _expand_words(entry.words)
    return SafetyRule(
        name=entry.rule,
        outcome=entry.outcome,
        patterns=tuple(_compile([pattern], expressions) for pattern in entry.patterns),
        excuse=_compile(entry.excuses, expressions) if entry.excuses else None,
        intent=entry.intent,
        min_probability=entry.min_probability,
        ordinary=_compile(entry.ordinary, expressions) if entry.ordinary else None,
        in_reply=entry.in_reply,
        plan=entry.plan,
        replies=_by_language(entry.replies),
        again=_by_language(entry.again),
    )


def _by_language(said: _Replies | None) -> dict[str, str]:
    return {"en": said.en, "zh": said.zh} if said else {}


def _expand_words(words: Mapping[str, str]) -> dict[str, str]:
    """Each word's expression; a word may use those above it."""
    expressions: dict[str, str] = {}
    for name, expression in words.items():
        expressions[name] = _fill_in(expression, expressions)
    return expressions


def _fill_in(pattern: str, expressions: Mapping[str, str]) -> str:
    """The pattern with each `<word>` spelled out. Raises KeyError for a word that the rule does not have."""
    return _WORD_NAME.sub(lambda found: f"(?:{expressions[found[1]]})", pattern)


def _compile(patterns: Sequence[str], expressions: Mapping[str, str]) -> re.Pattern[str]:
    """One expression for any of these."""
    joined = "|".join(f"(?:{_fill_in(pattern, expressions)})" for pattern in patterns)
    # ASCII: a Han character next to a Latin word is a word boundary, which Unicode's \b denies.
    return re.compile(joined, re.IGNORECASE | re.ASCII)
