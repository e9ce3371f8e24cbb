"""How corpora write: templates, brands and contacts to placeholders, lists to sentences, lengths of time to facts.

What a sentence claims is `claims`' business.
"""

import re

_TEMPLATE = re.compile(r"[\"'“]?\{\{\s*(.*?)\s*\}\}[\"'”]?")
_BRAND = re.compile(r"\bamazon(?:\.(?:in|com))?(?: india)?(?: prime)?(?: customer (?:service|support|care))?\b", re.I)
_SENTENCE_END = re.compile(
    r"(?<=[.!?])(?<!\b[MD][rs]\.)(?<!\bMrs\.)(?<!\bNo\.)(?<!\be\.g\.)(?<!\bi\.e\.)\s+|(?<=[。！？])\s*"
)
_LIST_MARK = re.compile(r"^\s*(?:\d+[.)]|[-*•])\s*")
_PERSON = r"(?:sir|madam|ma'am|mam)(?: ?/ ?(?:sir|madam|ma'am))?|(?:mr|ms|mrs|miss)\.? [A-Z][a-z]+"
_VOCATIVE = re.compile(
    rf",? (?:dear )?(?:{_PERSON})(?=[.,!?]|$)|^(?:dear )?(?:{_PERSON}|dear (?:valued )?customer), ", re.I
)
"""How agents address whom they cannot know."""
_TWICE = re.compile(r"(<[A-Z_]+>)(?:(?:,| or| and|,? or the| and the) \1)+")
_NO_FACT = "{?}"
"""Stands for a template that no placeholder stands for; a sentence with it is no sentence."""
_TEMPLATE_PLACEHOLDERS = (
    (r"\d", r"\g<0>"),
    (r"anonymi[sz]ed|\b(?:order|purchase|tracking) (?:id|number|code)", "<ORDER_ID>"),
    (r"hours|availab|schedule", "<SUPPORT_HOURS>"),
    (r"phone", "<SUPPORT_PHONE>"),
    (r"e-?mail", "<SUPPORT_EMAIL>"),
    (r"company|brand|store name", "<BRAND>"),
    (r"website|url|portal|platform|\bapp\b", "<WEBSITE>"),
    (r"order (?:history|details|status|tracking|page|section)|my orders|purchases", "<ORDERS_PAGE>"),
    (r"billing|invoice|payment", "<BILLING_PAGE>"),
    (r"account|profile|settings|address", "<ACCOUNT_PAGE>"),
    (r"refund|return", "<RETURNS_PAGE>"),
    (r"contact|support|help|faq|chat", "<HELP_PAGE>"),
)
_SHOP_CONTACTS = (
    (re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), "<SUPPORT_EMAIL>"),
    (re.compile(r"\(\d{3}\) ?\d{3}-\d{4}|\b1-8\d\d-\d{3}-\d{4}\b"), "<SUPPORT_PHONE>"),
    (
        re.compile(r"\bavailable (?:24/7|24 hours a day|around[ -]the[ -]clock)(?:, 7 days a week)?", re.I),
        "available <SUPPORT_HOURS>",
    ),
)
_DURATION = re.compile(r"\b\d+(?:\s?(?:-|to)\s?\d+)? (?:business |working )?(?:hours|days)\b", re.I)
_DURATION_FACTS = (
    (r"\brefund", "<REFUND_TIME>"),
    (r"\b(?:return|exchange)", "<RETURN_WINDOW>"),
    (r"\bstandard (?:delivery|shipping)|\bdeliver|\bshipping\b", "<DELIVERY_TIME>"),
    (r"\brespon|\breply|\bget back", "<RESPONSE_TIME>"),
)
_QUOTES = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-", "\u00a0": " "})


def clean_request(text: str) -> str:
    """A customer's message: one line, brand as a placeholder."""
    return _BRAND.sub("<BRAND>", re.sub(r"\s+", " ", text.translate(_QUOTES))).strip()


def reply_sentences(text: str, *, is_shop: bool = True) -> list[str]:
    """An agent's message as sentences without marks of lists; `is_shop`: its contacts and times are the shop's."""
    text = _TEMPLATE.sub(lambda match: _placeholder_of(match.group(1)), text.translate(_QUOTES))
    for pattern, placeholder in _SHOP_CONTACTS if is_shop else ():
        text = pattern.sub(placeholder, text)
    text = _TWICE.sub(r"\1", _BRAND.sub("<BRAND>", text.replace("**", "")))
    lines = (re.sub(r"[ \t]+", " ", _LIST_MARK.sub("", line)).strip() for line in text.splitlines())
    sentences = [sentence for line in lines for sentence in _SENTENCE_END.split(line) if re.search(r"\w", sentence)]
    sentences = [_VOCATIVE.sub("", sentence) for sentence in sentences if _NO_FACT not in sentence]
    return [_timed(sentence) if is_shop else sentence for sentence in sentences]


def _placeholder_of(template: str) -> str:
    for pattern, placeholder in _TEMPLATE_PLACEHOLDERS:
        if re.search(pattern, template, re.I):
            return template if placeholder == r"\g<0>" else placeholder
    return f"'{template}'" if re.fullmatch(r"[A-Za-z ]{2,30}", template) else _NO_FACT


def _timed(sentence: str) -> str:
    """The sentence with the shop's fact for a length of time, where it says of what."""
    if len(_DURATION.findall(sentence)) != 1:
        return sentence
    fact = next((fact for pattern, fact in _DURATION_FACTS if re.search(pattern, sentence, re.I)), None)
    return _DURATION.sub(fact, sentence) if fact else sentence
