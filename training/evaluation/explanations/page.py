"""The explanation as one page to read: no scripts, nothing loaded, every text escaped."""

from html import escape

from training.evaluation.explanations.explanation import Explanation, Neighbour
from training.evaluation.explanations.words import Word

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; } td, th { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
.words { line-height: 2.2; } .words span { border-radius: .2rem; padding: .15rem .1rem; white-space: pre-wrap; }
.up { background: rgb(0 114 178 / var(--s)); } .down { background: rgb(213 94 0 / var(--s)); }
.marker { font-size: .75rem; border: 1px solid #8888; padding: 0 .3rem; margin: 0 .15rem; }
.turn { display: block; margin-top: .4rem; } .muted { opacity: .75; }
"""
_MAX_SHADE = 0.65
_NUM_STRONGEST = 8


def explanation_page(found: Explanation) -> str:
    """HTML. Shades say how much a word moved the score, the list beside them says it in numbers."""
    neighbours = "".join(map(_neighbour, found.neighbours)) or "<p>None has a word in common."
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>Why {escape(found.completion_id)} scored as it did</title><style>{_STYLE}</style>",
        f"<h1>Why <code>{escape(found.completion_id)}</code> scored as it did</h1>",
        f"<p>A thumb up is expected with a probability of <b>{found.probability:.0%}</b> (score {found.score:+.2f}; the"
        f" heads differ by {found.spread:.2f}, so that a policy learns from {found.pessimistic_score:+.2f}).",
        f"<h2>Reward by term</h2>{_terms(found)}",
        f"<h2>Words that raised or lowered the score</h2>{_words(found)}",
        f"<h2>The nearest rated replies</h2>{neighbours}",
        "</html>\n",
    ]
    return "\n".join(parts)


def _terms(found: Explanation) -> str:
    rows = "".join(
        f"<tr><td>{escape(name.replace('_', ' '))}<td class=n>{value + 0.0:+.3f}" for name, value in found.terms.items()
    )
    return f"<table>{rows}<tr><th>together<td class=n><b>{found.reward:+.3f}</b></table>"


def _words(found: Explanation) -> str:
    largest = max((abs(word.share) for word in found.words), default=0.0) or 1.0
    shaded = "".join(_word(word, largest) for word in found.words)
    strongest = sorted(found.words, key=lambda word: -abs(word.share))[:_NUM_STRONGEST]
    rows = "".join(
        f"<tr><td>{escape(word.text.strip() or repr(word.text))}<td class=n>{word.share:+.3f}" for word in strongest
    )
    note = (
        f"Blue raised, orange lowered. Without any word the score would be {found.score_without_words:+.2f}; the words"
        f" bring {found.score - found.score_without_words:+.2f}, {abs(found.attribution_error):.3f} of it unexplained."
    )
    return f"<p class=words>{shaded}</p><p class=muted>{note}</p><table>{rows}</table>"


def _word(word: Word, largest: float) -> str:
    way = "up" if word.share > 0 else "down"
    style = f"--s:{_MAX_SHADE * abs(word.share) / largest:.2f}"
    is_turn = word.kind == "marker" and word.text in ("system", "customer", "bot")
    kind = f" {word.kind}" if word.kind == "marker" else ""
    start = "<span class=turn></span>" if is_turn else ""
    return f'{start}<span class="{way}{kind}" style="{style}" title="{word.share:+.3f}">{escape(word.text)}</span>'


def _neighbour(each: Neighbour) -> str:
    thumb = "👍" if each.rating == "up" else "👎"
    reasons = f" ({escape(', '.join(each.reasons))})" if each.reasons else ""
    correction = f"<br>Should have been: {escape(each.correction)}" if each.correction else ""
    return (
        f"<p>{thumb}{reasons} <code>{escape(each.completion_id)}</code><br>"
        f"<span class=muted>{escape(each.message)}</span><br>{escape(each.reply)}{correction}</p>"
    )
