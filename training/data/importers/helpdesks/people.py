"""The people whom an export names: customers and agents, so that their names leave the texts as well.

A name is found where its owner's help desk spells it: whole, or its parts as words of their own. Parts that are also
common English words (Will, May) count only as they are spelt. Masking a word too many loses less than a name too few.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from model_store.contract.entities import EntityPattern

_MAX_NAME_CHARS = 80
_MAX_PEOPLE = 50
_MIN_PHONE_DIGITS = 7
_MAX_PHONE_DIGITS = 20
_NAME_FIELDS = ("name", "display_name", "available_name", "alias", "sender_name", "contact_name")
_EMAIL_FIELDS = ("email", "sender_email", "contact_email")
_PHONE_FIELDS = ("phone", "phone_number", "contact_phone_number")

_LETTER = "A-Za-z0-9\u00c0-\u024f\u0370-\u04ff"
_HAN = "\u3400-\u4dbf\u4e00-\u9fff"
_HAN_NAME = re.compile(rf"[{_HAN}·]+")
_TITLE = "先生|女士|小姐|老师|太太"
_NO_NAMES = frozenset(
    "account accounts admin agent and anonymous assistance billing bot care chat client company contact customer"
    " de del delivery den department dept der desk di el email facebook from gmbh guest help helpdesk inc la le"
    " limited llc ltd mail of online operator order orders payment payments phone product refund refunds return"
    " returns sales service services shipping shop site store support team tech technical the unknown user van via"
    " visitor von warehouse web website whatsapp you your".split()
)
_ALSO_WORDS = frozenset(
    "ace amber april art august autumn baker bank best bill black bob brook brown carol case chance chase chip"
    " christian cook cross dawn day dean drew earl early faith field forest frank gay gene glen good grace grant"
    " gray green guy hall harmony heather hill holly hope house hunter ivy jack jade jasmine joy june king lane"
    " lee lily long love major marina mark mason may melody mercy miles nick olive page park parker patience pearl"
    " penny perry price prince ray read reed rich rob robin rock rose ruby sandy sky small smith star stone summer"
    " sunny terry tony trinity violet wade ward water waters west white will willow wood woods young".split()
)
_MIN_LOOSE_CHARS = 3


class Person(NamedTuple):
    """What an export says of one author; empty where it says nothing."""

    name: str = ""
    email: str = ""
    phone: str = ""


def person_of(fields: Mapping[str, Any]) -> Person:
    """The person that an author's fields describe."""
    return Person(
        _first_text(fields, _NAME_FIELDS), _first_text(fields, _EMAIL_FIELDS), _first_text(fields, _PHONE_FIELDS)
    )


def patterns_of(people: Iterable[Person]) -> list[EntityPattern]:
    """Patterns that find these people's addresses, numbers and names; whole names before their parts.

    At most 50 people count, in the order given.
    """
    known = [person for person in dict.fromkeys(people) if any(person)][:_MAX_PEOPLE]
    emails = {value for person in known for value in (person.email, person.name) if "@" in value}
    phones = {pattern for person in known for value in (person.phone, person.name) if (pattern := _phone(value))}
    names = {person.name for person in known if person.name and "@" not in person.name}
    whole = {r"\s+".join(map(re.escape, name.split())) for name in names if " " in name and _parts(name)}
    parts = {part for name in names for part in _parts(name)}
    loose = {part for part in parts if len(part) >= _MIN_LOOSE_CHARS and part.casefold() not in _ALSO_WORDS}
    han = {pattern for name in names for run in _HAN_NAME.findall(name) for pattern in _han_patterns(run)}
    found = (
        _pattern("EMAIL", map(re.escape, emails), is_loose=True),
        _pattern("PHONE", phones, is_loose=True),
        _pattern("NAME", whole, is_loose=True),
        _pattern("NAME", han, is_bounded=False),
        _pattern("NAME", map(re.escape, loose), is_loose=True),
        _pattern("NAME", map(re.escape, parts - loose)),
    )
    return [pattern for pattern in found if pattern]


def _first_text(fields: Mapping[str, Any], names: Iterable[str]) -> str:
    values = (fields.get(name) for name in names)
    return next((value.strip()[:_MAX_NAME_CHARS] for value in values if isinstance(value, str) and value.strip()), "")


def _phone(value: str) -> str:
    """The digits of a number with anything people write between them, or nothing."""
    digits = re.sub(r"\D", "", value)
    return r"\+?" + r"[\s().-]{0,3}".join(digits) if _MIN_PHONE_DIGITS <= len(digits) <= _MAX_PHONE_DIGITS else ""


def _parts(name: str) -> list[str]:
    words = re.findall(rf"[{_LETTER}][{_LETTER}'’-]+", name)
    return [word for word in words if not word.isdigit() and word.casefold() not in _NO_NAMES]


def _han_patterns(name: str) -> list[str]:
    """The whole name and, of two to four characters, the surname before a title and a given name of two."""
    if len(name) < 2:
        return []
    if len(name) > 4 or "·" in name:
        return [re.escape(name)]
    surname, given = (name[:2], name[2:]) if len(name) == 4 else (name[:1], name[1:])
    return [name, f"{surname}(?={_TITLE})", *([given] if len(given) == 2 else [])]


def _pattern(
    entity_type: str, alternatives: Iterable[str], *, is_loose: bool = False, is_bounded: bool = True
) -> EntityPattern | None:
    longest_first = sorted(alternatives, key=lambda text: (-len(text), text))
    if not longest_first:
        return None
    regex = f"(?:{'|'.join(longest_first)})"
    if is_bounded:
        regex = f"(?<![{_LETTER}]){regex}(?![{_LETTER}])"
    return EntityPattern(entity_type, re.compile(regex, re.IGNORECASE if is_loose else 0))
