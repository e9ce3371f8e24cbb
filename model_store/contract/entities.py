"""Entities: finding a customer's own data in text and taking it out before the model or the store sees it.

Detection is by kept libraries (phonenumbers, python-stdnum) where a checksum or a numbering plan decides, and by
patterns
elsewhere; an operator can add patterns. Values live in an `EntityVault`, in memory, for one conversation at a time.
Putting them back: `unmasking`.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import phonenumbers
from stdnum import iban, luhn

from model_store.contract.placeholders import (
    ENTITY_TYPES,
    MAX_ENTITIES_PER_TYPE,
    REDACTED,
    entity_placeholder,
    entity_type_of,
    escape_lookalikes,
    split_masked,
)

DEFAULT_PHONE_REGIONS = ("US", "GB", "CN", "DE")
"""Numbering plans tried for numbers without a country code."""

_CODE = r"(?=[A-Z0-9-]*\d[A-Z0-9-]*\d[A-Z0-9-]*\d)[A-Z0-9](?:[A-Z0-9-]{2,28})[A-Z0-9]"
# Bounded on purpose: four unbounded runs of white space in a row take O(n^4) steps on "order" and 8,000 spaces.
_LINK = (
    r"\s{0,4}(?:number|num|no\.?|nr\.?|id|code|ref(?:erence)?|编号|号码|号)?"
    r"\s{0,4}(?:is|was|是|为|:|：|=|#)?\s{0,4}#?\s{0,4}"
)
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)"
)
_CURRENCY = r"(?:US\$|USD|EUR|GBP|CNY|RMB|INR|Rs\.?|[$€£¥￥₹])"
_CURRENCY_WORD = (
    r"(?:dollars?|bucks|euros?|pounds?|quid|rupees?|usd|eur|gbp|rmb|cny|yuan|[$€£¥￥₹]|块钱|元钱|人民币|元|块)"
)
_NAME_WORD = r"[A-Z][a-zà-ÿ'’-]{1,20}"
_SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔"
    "钟谭陆汪范金石廖贾夏韦傅方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤"
)
"""The hundred most common ones: behind a bare 姓名 or 收件人 they open a name, and 姓名贴 and 收件人地址 are none."""


class EntityPattern(NamedTuple):
    """A way to recognise a type: the match's group `value`, or the whole match, is the entity."""

    entity_type: str
    regex: re.Pattern[str]
    is_valid: Callable[[str], bool] = lambda value: True


class _Span(NamedTuple):
    start: int
    end: int
    entity_type: str


def _pattern(entity_type: str, regex: str, is_valid: Callable[[str], bool] = lambda value: True) -> EntityPattern:
    # ASCII: a Han character next to a number is a word boundary, which Unicode's \b denies.
    return EntityPattern(entity_type, re.compile(regex, re.IGNORECASE | re.ASCII), is_valid)


def _has_card_checksum(value: str) -> bool:
    digits = re.sub(r"[ -]", "", value)
    return 13 <= len(digits) <= 19 and luhn.is_valid(digits)


_BEFORE_PHONES = (
    _pattern("EMAIL", r"(?<![A-Z0-9._%+-])[A-Z0-9._%+-]+\s?@\s?[A-Z0-9-]+(?:\.[A-Z0-9-]+)+"),
    _pattern("URL", r"(?:https?://|www\.)[A-Z0-9._~:/?#@!$&'*+,;=%-]*[A-Z0-9/=&]"),
    _pattern(
        "URL", r"\b[A-Z0-9][A-Z0-9-]*\.(?:com|net|org|io|shop|store|cn|de|fr|co\.uk|com\.cn)\b(?:/[A-Z0-9._~/?=&%-]*)?"
    ),
    _pattern("IBAN", r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b", iban.is_valid),
    _pattern("CARD", r"\b(?:\d[ -]?){12,18}\d\b", _has_card_checksum),
    _pattern("TRACKING_ID", r"\b(?:1Z[0-9A-Z]{16}|[A-Z]{2}\d{9}[A-Z]{2}|(?:SF|YT|ZTO|STO|JDV?|JT|YD|DPK)\d{10,18})\b"),
    _pattern("TRACKING_ID", rf"(?:tracking|parcel|consignment|shipment|快递单|物流单|运单){_LINK}(?P<value>{_CODE})\b"),
    _pattern(
        "ORDER_ID",
        r"(?:order|booking|reference|purchase|confirmation|invoice|ticket|case|return|RMA|订单|预订|发票|单号|编号)"
        rf"{_LINK}(?P<value>{_CODE})\b",
    ),
    _pattern("AMOUNT", rf"{_CURRENCY}\s?\d[\d,]*(?:\.\d+)?\b"),
    _pattern("AMOUNT", rf"\b\d[\d,]*(?:\.\d+)?\s?{_CURRENCY_WORD}(?![A-Z])"),
    _pattern("DATE", r"\d{2,4}年\d{1,2}月(?:\d{1,2}[日号])?|\d{1,2}月\d{1,2}[日号]?"),
    _pattern("DATE", r"\b(?:\d{4}[/.-]\d{1,2}[/.-]\d{1,2}|\d{1,2}[/.-]\d{1,2}[/.-](?:\d{4}|\d{2}))\b"),
    _pattern("DATE", rf"\b\d{{1,2}}(?:st|nd|rd|th)?(?: of)? {_MONTH}\b(?:,? (?:19|20)\d\d)?"),
    _pattern("DATE", rf"\b{_MONTH}\.? (?:the )?\d{{1,2}}(?:st|nd|rd|th)?\b(?:,? (?:19|20)\d\d)?"),
)
_AFTER_PHONES = (
    _pattern("POSTCODE", r"\b[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}\b"),
    _pattern(
        "POSTCODE",
        r"(?:post ?code|zip(?: ?code)?|邮编|邮政编码)\s{0,4}(?:is|是|为|:|：)?\s{0,4}"
        r"(?P<value>\d[A-Z0-9-]{2,8}[A-Z0-9])\b",
    ),
    _pattern("ORDER_ID", r"#\s?(?P<value>[A-Z0-9-]*\d[A-Z0-9-]{2,})\b|\b\d{3}-\d{6,7}-\d{7}\b|\b\d{6,24}\b"),
    _pattern("ORDER_ID", r"\b(?=[A-Z0-9]{0,7}\d)[A-Z0-9]{3,8}-\d{4,12}\b"),
    _pattern("ORDER_ID", r"\b[A-Z]{1,5}-?\d{4,16}\b"),
    # A word with one or two digits behind it, such as SPRING15, is what vouchers are called.
    _pattern("ORDER_ID", r"\b(?![A-Z]{4,}\d{1,2}\b)(?=[A-Z0-9]*\d{2})(?=[A-Z0-9]*[A-Z])[A-Z0-9]{8,20}\b"),
    EntityPattern(
        "NAME",
        re.compile(
            rf"(?:[Mm]y name is|[Mm]y name's|[Nn]ame\s?:|[Tt]his is|I am called)\s{{1,4}}"
            rf"(?P<value>{_NAME_WORD}(?: {_NAME_WORD}){{0,2}})"
        ),
    ),
    EntityPattern(
        "NAME",
        re.compile(
            r"(?:我叫|我的名字是|名字叫|(?:姓名|收件人)(?:[是为:：]|(?=\s)))\s{0,4}"
            r"(?P<value>[\u4e00-\u9fa5·]{2,4})(?![\u4e00-\u9fa5])"
        ),
    ),
    EntityPattern(
        "NAME",
        re.compile(rf"(?:姓名|收件人)(?P<value>[{_SURNAMES}][\u4e00-\u9fa5·]{{1,3}})(?![\u4e00-\u9fa5])"),
    ),
    EntityPattern("NAME", re.compile(r"我姓(?P<value>[\u4e00-\u9fa5])")),
)
_MIN_PHONE_DIGITS = 7


class EntityVault:
    """The values behind one conversation's placeholders. Same value, same placeholder, however it was spaced."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        """`taken` placeholders stand for values that nobody knows any more; new values get other ones."""
        self._values: dict[str, str] = {}
        self._placeholders: dict[tuple[str, str], str] = {}
        self._taken = set(taken)

    @classmethod
    def of_masked(cls, placeholders: Iterable[str]) -> "EntityVault":
        """A vault of a text that was masked before: its placeholders may be used, and read as themselves."""
        vault = cls(placeholders)
        vault._values = {placeholder: placeholder for placeholder in vault._taken}
        return vault

    def placeholder_for(self, entity_type: str, value: str) -> str:
        """The placeholder of a value, new or known; `REDACTED` once a type has run out of numbers."""
        key = (entity_type, re.sub(r"[\s-]", "", value).casefold())
        if key not in self._placeholders:
            names = (entity_placeholder(entity_type, number) for number in range(1, MAX_ENTITIES_PER_TYPE + 1))
            placeholder = next((name for name in names if name not in self._taken), None)
            if placeholder is None:
                return REDACTED
            self._taken.add(placeholder)
            self._placeholders[key] = placeholder
            self._values[placeholder] = value
        return self._placeholders[key]

    def value_of(self, placeholder: str) -> str | None:
        """The value as it was first written, or None."""
        return self._values.get(placeholder)

    @property
    def placeholders(self) -> frozenset[str]:
        """The placeholders that have a value; the only entity placeholders a completion may use."""
        return frozenset(self._values)


class EntityMasker:
    """Finds entities in text and replaces them. Immutable; one for the whole service."""

    def __init__(
        self, operator_patterns: Iterable[EntityPattern] = (), phone_regions: Sequence[str] = DEFAULT_PHONE_REGIONS
    ) -> None:
        """Operator patterns go first, so a shop's own order-number format beats the general ones."""
        self._before_phones = (*operator_patterns, *_BEFORE_PHONES)
        self._phone_regions = tuple(phone_regions)

    def mask(self, text: str, vault: EntityVault) -> str:
        """Text with every entity replaced by its placeholder; the values go into `vault`."""
        pieces: list[str] = []
        end = 0
        for span in sorted(self._find(text)):
            pieces.append(escape_lookalikes(text[end : span.start]))
            pieces.append(vault.placeholder_for(span.entity_type, text[span.start : span.end]))
            end = span.end
        return "".join(pieces) + escape_lookalikes(text[end:])

    def mask_keeping_placeholders(self, text: str, vault: EntityVault) -> str:
        """`mask` for text that already holds placeholders, such as the shop's own with its facts masked: they stay."""
        return "".join(
            segment.text if segment.is_placeholder else self.mask(segment.text, vault) for segment in split_masked(text)
        )

    def _find(self, text: str) -> list[_Span]:
        """Non-overlapping spans; an earlier detector beats a later one."""
        taken: list[_Span] = []
        for span in self._candidates(text):
            if all(span.end <= other.start or span.start >= other.end for other in taken):
                taken.append(span)
        return taken

    def _candidates(self, text: str) -> Iterator[_Span]:
        yield from _matches(text, self._before_phones)
        if sum(character.isdigit() for character in text) >= _MIN_PHONE_DIGITS:
            for region in self._phone_regions:
                for match in phonenumbers.PhoneNumberMatcher(text, region):
                    yield _Span(match.start, match.end, "PHONE")
        yield from _matches(text, _AFTER_PHONES)


def _matches(text: str, patterns: Iterable[EntityPattern]) -> Iterator[_Span]:
    for pattern in patterns:
        for match in pattern.regex.finditer(text):
            group: str | int = "value" if match.groupdict().get("value") else 0
            if pattern.is_valid(match.group(group)):
                yield _Span(match.start(group), match.end(group), pattern.entity_type)


def compile_operator_pattern(entity_type: str, regex: str) -> EntityPattern:
    """An operator's own pattern. Raises ValueError for an unknown type or a broken expression."""
    if entity_type not in ENTITY_TYPES:
        raise ValueError(f"{entity_type!r} is not one of {', '.join(ENTITY_TYPES)}")
    try:
        return _pattern(entity_type, regex)
    except re.error as error:
        raise ValueError(f"{regex!r} is not a regular expression: {error}") from error


def entity_types_in(placeholders: Iterable[str]) -> frozenset[str]:
    """The entity types among placeholders; facts are left out."""
    return frozenset(found for placeholder in placeholders if (found := entity_type_of(placeholder)))
