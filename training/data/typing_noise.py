"""The noise of real typing: case, punctuation, typos, a greeting before or a word of thanks after."""

import random
import re

_BEFORE = {
    "en": (
        "hi, ",
        "hello, ",
        "Hi! ",
        "hey ",
        "Hello. ",
        "good morning, ",
        "Excuse me, ",
        "hi there. ",
        "um ",
        "ok so ",
    ),
    "zh": ("你好，", "您好，", "在吗？", "亲，", "请问", "你好 ", "客服在吗，", "hi，"),
}
_AFTER = {
    "en": (" please help", " thanks", " thx", " can you help?", " pls", " asap", " any idea?", " Thank you."),
    "zh": ("谢谢", "，急", "，麻烦看一下", "，谢谢", "呢", "啊", "，在线等"),
}
_PLACEHOLDER = re.compile(r"(<[A-Z_0-9]+>)")


def add_typing_noise(text: str, language: str, generator: random.Random) -> str:
    """Text as another person might have typed it; placeholders stay whole."""
    if generator.random() < 0.15:
        text = generator.choice(_BEFORE[language]) + text
    if generator.random() < 0.1:
        text = text.rstrip() + generator.choice(_AFTER[language])
    if generator.random() < 0.4:
        text = text.rstrip(".!?。！？ ") or text
    if language == "en":
        text = _english_noise(text, generator)
    return text


def _english_noise(text: str, generator: random.Random) -> str:
    pieces = _PLACEHOLDER.split(text)
    is_lower = generator.random() < 0.35
    has_typo = generator.random() < 0.12
    for index in range(0, len(pieces), 2):
        if is_lower:
            pieces[index] = pieces[index].lower().replace("'", "" if generator.random() < 0.5 else "'")
        if has_typo:
            pieces[index] = _typo(pieces[index], generator)
    return "".join(pieces)


def _typo(text: str, generator: random.Random) -> str:
    """One slip of the finger inside a word: swapped, dropped or doubled."""
    places = [i for i in range(1, len(text) - 2) if text[i].isalpha() and text[i + 1].isalpha()]
    if not places:
        return text
    place = generator.choice(places)
    slips = (
        text[:place] + text[place + 1] + text[place] + text[place + 2 :],
        text[:place] + text[place + 1 :],
        text[:place] + text[place] + text[place:],
    )
    return generator.choice(slips)
