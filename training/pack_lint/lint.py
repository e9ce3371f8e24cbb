"""The linter: everything that a pack should mend before it is served, and its sizes as a table.

START READING HERE. What makes a pack unusable is refused by `load_pack` before this runs.
"""

from collections import Counter
from pathlib import Path

from training.data.domain_pack import TONES, DomainPack
from training.pack_lint.contradictions import contradictions
from training.pack_lint.fitting_rules import fitting_problems, share_spoken_to
from training.pack_lint.opposites import opposite_problems, read_opposites
from training.pack_lint.problem import Problem
from training.pack_lint.reply_rules import reply_problems
from training.pack_lint.sentiment_rules import sentiment_problems
from training.pack_lint.size_rules import size_problems

_COLUMNS = ("intents", "asks", "held-out", *TONES, "given", "missing", "bad", "flows", "branches", "articles", "unseen")


def lint(pack: DomainPack, directory: Path) -> tuple[Problem, ...]:
    """All problems; `directory` is where the pack lies. Raises InvalidDomainPackError for a broken file in it."""
    pairs = read_opposites(directory)
    return (
        *size_problems(pack),
        *opposite_problems(pack, pairs),
        *contradictions(pack),
        *reply_problems(pack),
        *fitting_problems(pack),
        *sentiment_problems(directory, pack.languages),
    )


def size_table(pack: DomainPack) -> str:
    """A row a language, and below it how often each reason of a bad reply occurs."""
    widths = [max(8, len(column) + 2) for column in _COLUMNS]
    lines = ["language" + "".join(f"{column:>{width}}" for column, width in zip(_COLUMNS, widths, strict=True))]
    for language in pack.languages:
        cells = zip(_sizes(pack, language), widths, strict=True)
        lines.append(f"{language:8}" + "".join(f"{size:>{width}}" for size, width in cells))
    for language in pack.languages:
        intents = [intent for intent in pack.intents if intent.language == language]
        reasons = Counter(reason for intent in intents for _, reason in intent.bad_replies)
        shown = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
        lines.append(f"{language} bad replies: {shown or 'none'}")
        num_said, num_assumed = (
            sum(len(replies) for replies in of_kind)
            for of_kind in zip(*((each.fitting.said, each.fitting.assumed) for each in intents), strict=True)
        )
        if num_said:
            lines.append(
                f"{language} replies for what some customers say: {num_said}, and {num_assumed} of the others suppose"
                f" something; of the development asks, {100 * share_spoken_to(pack, language):.0f} % are spoken to"
            )
    return "\n".join(lines)


def _sizes(pack: DomainPack, language: str) -> tuple[int, ...]:
    """The numbers of a language, in the order of the columns.

    A branch is one way through a flow; unseen articles are for evaluation.
    """
    intents = [intent for intent in pack.intents if intent.language == language]
    flows = [flow for flow in pack.flows if flow.language == language]
    return (
        len(intents),
        sum(len(intent.asks) for intent in intents),
        sum(len(intent.held_out_asks) for intent in intents),
        *(sum(len(intent.replies_by_tone[tone]) for intent in intents) for tone in TONES),
        sum(len(texts) for intent in intents for texts in intent.replies_given.values()),
        sum(len(texts) for intent in intents for texts in intent.replies_missing.values()),
        sum(len(intent.bad_replies) for intent in intents),
        len(flows),
        sum(len(flow.paths) for flow in flows),
        sum(article.language == language for article in pack.articles),
        sum(article.language == language for article in pack.held_out_articles),
    )
