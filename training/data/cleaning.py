"""Cleaning real dialogues: brands and templates to placeholders, unbacked claims out, long answers cut.

A model that reads "I have initiated a full refund" learns to say it; such sentences go before it can.
"""

import re

_MAX_REPLY_CHARS = 420
_TEMPLATE = re.compile(r"[\"'“]?\{\{\s*(.*?)\s*\}\}[\"'”]?")
_BRAND = re.compile(r"\bamazon(?:\.(?:in|com))?(?: india)?(?: prime)?(?: customer (?:service|support|care))?\b", re.I)
_SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s+")
_CLAIM = re.compile(
    r"\b(?:I|we)(?:'ve| have| just| am| are| will|'ll)? (?:already |now |personally |also )*"
    r"(?:initiat|process|escalat|refund|credit|issu|arrang|schedul|cancel|updat|ensur|expedit|sent|sending"
    r"|confirm(?:ed|ing) (?:that|your))"
    r"|\b(?:has|have) been (?:initiat|process|refund|credit|issu|escalat|cancel|updat|shipp|deliver)"
    r"|\bI (?:see|can see) that\b|\bour records\b|\bmy system\b",
    re.I,
)
_TEMPLATE_FACTS = (
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
_QUOTES = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-", "\u00a0": " "})


def clean_request(text: str) -> str:
    """A customer's message: one line, brand as a placeholder."""
    return _BRAND.sub("<BRAND>", re.sub(r"\s+", " ", text.translate(_QUOTES))).strip()


def clean_reply(text: str) -> str:
    """An agent's message: templates and brands as placeholders, no lists, no unbacked claim, a few sentences."""
    text = _TEMPLATE.sub(lambda match: _fact_of_template(match.group(1)), text.translate(_QUOTES))
    text = _BRAND.sub("<BRAND>", text.replace("**", ""))
    lines = (re.sub(r"^\s*(?:\d+[.)]|[-*•])\s*", "", line).strip() for line in text.splitlines())
    kept: list[str] = []
    for sentence in (s for line in lines for s in _SENTENCE_END.split(line) if s):
        if _CLAIM.search(sentence):
            continue
        if sum(map(len, kept)) + len(sentence) > _MAX_REPLY_CHARS:
            break
        kept.append(sentence)
    return " ".join(kept).strip()


def _fact_of_template(name: str) -> str:
    for pattern, placeholder in _TEMPLATE_FACTS:
        if re.search(pattern, name, re.I):
            return placeholder
    return f"'{name}'" if re.fullmatch(r"[A-Za-z ]{2,30}", name) else ""
