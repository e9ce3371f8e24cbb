"""The training report: a run as a story, from the ratings it began with to the candidate and its gate.

No times of day and no durations: the page travels in the bundle, and the same run must give the same bytes.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training.evaluation.reporting.curves import FIRST
from training.evaluation.reporting.gate_page import figures_parts, foresight_parts, left_out_parts, outcome_of
from training.evaluation.reporting.gate_report import GateReport
from training.evaluation.reporting.pages import heading, page, paragraph, picture, table, verdict
from training.evaluation.reporting.plots import Curve, curves_plot

TRAINING_PAGE = "training_report.html"
_NUM_REPLIES = 12
_MAX_ROWS = 60
_LEFT_OUT = frozenset({"seconds", "bins"})


@dataclass(frozen=True)
class RunStory:
    """What a run found out, stage by stage."""

    name: str
    results: Mapping[str, Mapping[str, Any]]
    """By stage."""
    gate: GateReport
    curves: Mapping[str, Mapping[str, Curve]]
    """By stage, then by name."""
    replies: Sequence[Mapping[str, str]]
    """Both policies' replies to the same asks: `intent`, `ask`, `base`, `candidate`."""
    plots: Mapping[str, bytes]
    """SVG that stages drew themselves, by description."""


def training_page(story: RunStory) -> str:
    """The page about one run."""
    parts = [
        *_data_parts(story),
        *_reward_parts(story),
        *_policy_parts(story),
        *_gate_parts(story),
        *foresight_parts(story.gate),
        *_reply_parts(story.replies),
    ]
    return page(f"How {story.name} was trained", parts)


def _data_parts(story: RunStory) -> Iterator[str]:
    snapshot, curated = story.results.get("snapshot", {}), story.results.get("curate", {})
    yield heading("What people said")
    yield paragraph(
        f"The run began with {snapshot.get('num_rows', 'no')} ratings on record and the version "
        f"{str(snapshot.get('parent_name', ''))} {str(snapshot.get('parent', ''))[:12]}. Curation left "
        f"{curated.get('num_examples', 'no')} examples, {curated.get('num_up', 'none')} of them thumbs up."
    )
    yield table("Curation", ("Figure", "Value"), flat_rows(curated))


def _reward_parts(story: RunStory) -> Iterator[str]:
    result = story.results.get("reward_model", {})
    yield heading("What was learned about their taste")
    yield paragraph(
        "A reward model learned to tell liked replies from disliked ones; beside it stand a bag of words and the "
        "majority, which it has to beat on ratings that none of them has seen."
    )
    yield from _curve_parts(story.curves.get("reward_model", {}), "Loss of the reward model")
    for description, svg in story.plots.items():
        yield picture(svg, description)
    yield table("Reward model", ("Figure", "Value"), flat_rows(result))


def _policy_parts(story: RunStory) -> Iterator[str]:
    result, curves = story.results.get("policy", {}), story.curves.get("policy", {})
    yield heading("How the policy moved")
    yield paragraph(
        f"{str(result.get('algorithm', 'The policy')).upper()} took {result.get('num_steps', 0)} steps and stopped by "
        f"“{result.get('stopped_by', 'nothing')}”, {float(result.get('kl', 0.0)):.2f} nats a reply away from where it "
        "began. Early signs of a policy that games its reward: KL that runs away, entropy that falls to nothing, "
        "replies that grow or shrink, a reward that rises while the independent judge does not follow."
    )
    yield from _curve_parts({name: curves[name] for name in FIRST if name in curves}, "Early signs, step by step")
    rest = {name: curve for name, curve in curves.items() if name not in FIRST}
    yield from _curve_parts(rest, "Terms of the reward and what else was noted")
    before, after = result.get("before", {}), result.get("after", {})
    rows = [(name, _text(value), _text(after.get(name))) for name, value in before.items() if name not in _LEFT_OUT]
    yield table("On prompts that no step saw", ("Figure", "Before", "After"), rows)
    others = {name: value for name, value in result.items() if name not in ("before", "after")}
    yield table("The ladder", ("Figure", "Value"), flat_rows(others))


def _gate_parts(story: RunStory) -> Iterator[str]:
    gate = story.gate
    yield heading("What the gate said")
    yield verdict(gate.accepted, "The gate accepted the candidate.", "The gate refused the candidate.")
    yield from left_out_parts(gate)
    rows = [(rule.name.replace("_", " "), outcome_of(rule), rule.sentence) for rule in gate.rules]
    yield table("Rules", ("Rule", "Outcome", "In words"), rows)
    yield from figures_parts(gate.scorecard)


def _reply_parts(replies: Sequence[Mapping[str, str]]) -> Iterator[str]:
    changed = [each for each in replies if each["base"] != each["candidate"]]
    yield heading("In their own words")
    yield paragraph(
        f"{len(changed)} of {len(replies)} replies to held-out asks differ; here are the first. Placeholders are not "
        "filled in."
    )
    rows = [(each["ask"], each["base"], each["candidate"]) for each in changed[:_NUM_REPLIES]]
    yield table("Replies", ("Asked", "Before", "Candidate"), rows)


def _curve_parts(curves: Mapping[str, Curve], description: str) -> Iterator[str]:
    if curves:
        yield picture(curves_plot(curves), description)


def flat_rows(result: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A stage's result as rows of name and value; durations and long lists are left out."""
    rows: list[tuple[str, str]] = []
    for name, value in result.items():
        if name in _LEFT_OUT:
            continue
        label = f"{prefix}{name}".replace("_", " ")
        if isinstance(value, Mapping):
            rows += flat_rows(value, f"{label} · ")
        elif not isinstance(value, list) or len(json.dumps(value)) <= _MAX_ROWS:
            rows.append((label, _text(value)))
    return rows[:_MAX_ROWS]


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "–" if value is None else str(value)
