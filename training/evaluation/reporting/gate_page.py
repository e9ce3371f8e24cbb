"""The gate's report as a page: the verdict, every rule with its number and bound, and what ratings on record say."""

from collections.abc import Iterator, Sequence

from training.evaluation.reporting.gate_report import GateReport, Rule
from training.evaluation.reporting.pages import heading, page, paragraph, picture, table, verdict
from training.evaluation.reporting.plots import before_after_plot, rules_plot
from training.evaluation.scorecard import Scorecard

GATE_PAGE = "gate.html"
_SHARES = (
    "right_plan",
    "wording_fit",
    "intent_fit",
    "language_match",
    "proper_endings",
    "unsafe",
    "invented_digits",
)


def gate_page(report: GateReport, name: str) -> str:
    """The page about one candidate."""
    return page(f"Gate report of {name}", [*gate_parts(report), *foresight_parts(report)])


def gate_parts(report: GateReport) -> Iterator[str]:
    """Verdict, rules and their plot, figures before and after."""
    num_rules, left_out = len(report.rules), [rule for rule in report.rules if rule.is_left_out]
    broken = f"Refused: {sum(not rule.passed for rule in report.rules)} of {num_rules} rules are broken."
    held = f"all {num_rules} rules hold" if not left_out else f"{num_rules - len(left_out)} of {num_rules} rules hold"
    yield verdict(report.accepted, f"Accepted: {held}{_not_measured(left_out)}.", broken)
    yield from left_out_parts(report)
    yield heading("Rules")
    yield picture(rules_plot(report.rules), "What was found (with its 95 % interval) against what is allowed (green)")
    columns = ("Rule", "Outcome", "Measured", "95 % interval", "Asked for", "In words")
    yield table("Every rule of the gate", columns, (_row(rule) for rule in report.rules))
    yield heading("Before and after")
    yield from figures_parts(report.scorecard)


def left_out_parts(report: GateReport) -> Iterator[str]:
    """What nobody has measured, and what that means, where everybody sees it."""
    yield from (paragraph(rule.sentence) for rule in report.rules if rule.is_left_out)


def outcome_of(rule: Rule) -> str:
    """In a word or two."""
    return "not measured" if rule.is_left_out else "holds" if rule.passed else "broken"


def _not_measured(rules: Sequence[Rule]) -> str:
    return f", {', '.join(rule.name for rule in rules)} could not be measured".replace("_", " ") if rules else ""


def figures_parts(card: Scorecard) -> Iterator[str]:
    """The main figures of both policies, on the same prompts."""
    pairs = {name: (getattr(card.base, name), getattr(card.candidate, name)) for name in _SHARES}
    yield picture(before_after_plot(pairs), f"Shares of replies to {card.num_prompts} held-out prompts")
    rows = [(name.replace("_", " "), f"{before}", f"{after}") for name, (before, after) in pairs.items()]
    rows += [
        ("tokens a reply", f"{card.base.num_tokens}", f"{card.candidate.num_tokens}"),
        ("variety of wording (distinct-2)", f"{card.base.distinct2:.3f}", f"{card.candidate.distinct2:.3f}"),
        ("perplexity on authored replies", f"{card.base.perplexity:.3f}", f"{card.candidate.perplexity:.3f}"),
    ]
    yield table("Figures with 95 % intervals", ("Figure", "Before", "Candidate"), rows)


def foresight_parts(report: GateReport) -> Iterator[str]:
    """What ratings on record say about the candidate, and how many more it takes to see a gain."""
    yield heading("Before anyone sees it")
    found = report.off_policy
    if found is None:
        yield paragraph("No held-back rating on record says anything about the candidate.")
    else:
        yield paragraph(found.sentence)
        rows = [
            ("ratings", f"{found.num_ratings}"),
            ("conversations they are of", f"{found.num_conversations}"),
            ("worth conversations of its own", f"{found.effective_conversations:.1f}"),
            ("mean weight (1 where all was said before)", f"{found.mean_weight}"),
            ("liked, as it was said", f"{found.logged}"),
            *(
                (label, str(figure) if figure else "not told")
                for label, figure in (
                    ("liked, by SNIPS", found.snips),
                    ("liked, doubly robust", found.doubly_robust),
                    ("gain, doubly robust", found.gain),
                )
            ),
        ]
        yield table("Off-policy estimate, intervals bootstrapped by conversation", ("Figure", "Value"), rows)
    if report.ratings_plan is not None:
        yield paragraph(report.ratings_plan.sentence)


def _row(rule: Rule) -> tuple[str, ...]:
    interval = f"{_number(rule.low)} to {_number(rule.high)}" if rule.low is not None else ""
    bounds = [
        f"{word} {_number(bound)}"
        for word, bound in (("at least", rule.at_least), ("at most", rule.at_most))
        if bound is not None
    ]
    asked = " and ".join(bounds) + (f" (by the {rule.decides} bound)" if rule.decides != "value" else "")
    return rule.name.replace("_", " "), outcome_of(rule), _number(rule.measured), interval, asked, rule.sentence


def _number(value: float | None) -> str:
    return "not kept" if value is None else f"{value:.4g}"
