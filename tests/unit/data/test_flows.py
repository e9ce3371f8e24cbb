"""Flows with branches: reading them, their paths, what the linter refuses, what is drawn from them."""

import random
from pathlib import Path

import pytest
import yaml

from model_store.contract.conversation import Role, detect_language
from training.data.domain_pack import entities_in, load_pack
from training.data.flows.flow import Flow, FlowBranches, problems
from training.data.flows.reading import parse_flow
from training.data.generator import ConversationGenerator
from training.errors import InvalidDomainPackError

BRANCHING = """
flow: late
intents: [delivery_late]
turns:
  - user: [where is it]
  - assistant: Which order is it?
    plan: delivery_late/ask_order_id
  - branches:
      - turns:
          - user: [<ORDER_ID>, it is <ORDER_ID>]
          - assistant: [Please open <ORDER_ID>.]
            plan: delivery_late
          - branches:
              - turns: [{user: [thanks]}, {assistant: [Gladly.], plan: thanks}]
              - turns: [{user: [no use]}, {assistant: [A colleague can help.], plan: human_agent}]
      - turns:
          - user: [no idea]
          - assistant: [It is in the mail.]
            plan: delivery_late/ask_order_id
  - user: [bye]
  - assistant: [Goodbye.]
    plan: goodbye
"""


def flow_of(text: str) -> Flow:
    return parse_flow(Path("flows.yaml"), "en", yaml.safe_load(text))


def test_each_choice_of_branches_is_a_path() -> None:
    """Branches nest, and the turns after them close every path."""
    paths = [[turn.wordings[0] for turn in path] for path in flow_of(BRANCHING).paths]
    start = ["where is it", "Which order is it?"]
    with_number = [*start, "<ORDER_ID>", "Please open <ORDER_ID>."]
    assert paths == [
        [*with_number, "thanks", "Gladly.", "bye", "Goodbye."],
        [*with_number, "no use", "A colleague can help.", "bye", "Goodbye."],
        [*start, "no idea", "It is in the mail.", "bye", "Goodbye."],
    ]


def test_every_path_is_drawn_and_only_those() -> None:
    """A drawn path is one of the paths, and each of them comes up."""
    flow = flow_of(BRANCHING)
    generator = random.Random(1)
    assert {flow.draw_path(generator) for _ in range(200)} == set(flow.paths)


def test_a_flow_lists_the_turns_of_every_branch() -> None:
    """Each written turn once, whatever the number of paths through it."""
    flow = flow_of(BRANCHING)
    assert [turn.plan for turn in flow.turns if turn.role is Role.ASSISTANT] == [
        "delivery_late/ask_order_id",
        "delivery_late",
        "thanks",
        "human_agent",
        "delivery_late/ask_order_id",
        "goodbye",
    ]


def test_a_straight_flow_has_one_path() -> None:
    """Without branches, the path is the turns themselves."""
    flow = flow_of("{flow: f, intents: [hi], turns: [{user: hi}, {assistant: [Hello., Hi.], plan: hi}]}")
    assert flow.paths == (flow.turns,) and flow.turns[1].wordings == ("Hello.", "Hi.")


@pytest.mark.parametrize(
    "turns",
    [
        "[{branches: [{turns: [{user: hi}]}]}]",
        "[{branches: [{turns: [{user: hi}]}, {turns: [{user: hey}]}], plan: hi}]",
        "[{branches: [{user: hi}, {user: hey}]}]",
        "[{user: []}]",
        "[{user: [{a: b}]}]",
        "[{nobody: hi}]",
        "[hi]",
    ],
)
def test_a_flow_that_cannot_be_read_is_named(turns: str) -> None:
    """One branch alone, a labelled branching, a turn without words or speaker: refused with the flow's name."""
    with pytest.raises(InvalidDomainPackError, match="lonely"):
        flow_of(f"{{flow: lonely, intents: [hi], turns: {turns}}}")


@pytest.mark.parametrize(
    ("turns", "problem"),
    [
        ("[{user: hi}, {user: hey}, {assistant: Hello.}]", "alternate"),
        ("[{user: hi}, {branches: [{turns: [{assistant: A.}]}, {turns: [{assistant: B.}, {user: c}]}]}]", "alternate"),
        ("[{user: [hi, <ORDER_ID>]}, {assistant: I see <ORDER_ID>.}]", "ORDER_ID"),
        (
            "[{user: hi}, {assistant: Which one.}, {branches: [{turns: [{user: <EMAIL>}]}, {turns: [{user: nope}]}]}, "
            "{assistant: To <EMAIL>.}]",
            "EMAIL",
        ),
    ],
)
def test_a_path_out_of_order_or_naming_what_nobody_gave_is_a_problem(turns: str, problem: str) -> None:
    """Every path alternates and ends with a reply, which names only what every wording before it gave."""
    found = list(problems(flow_of(f"{{flow: f, intents: [hi], turns: {turns}}}"), entities_in))
    assert len(found) == 1 and problem in found[0]


def test_the_shop_has_long_and_branching_flows_in_both_languages() -> None:
    """At least 120 flows a language, half of them branching; no name twice."""
    for language in ("en", "zh"):
        flows = [flow for flow in load_pack("shop").flows if flow.language == language]
        branching = [flow for flow in flows if any(isinstance(step, FlowBranches) for step in flow.steps)]
        assert len(flows) >= 120 and len(branching) * 2 >= len(flows)
        assert len({flow.name for flow in flows}) == len(flows)
        assert all(set(flow.intents) <= set(load_pack("shop").plans) for flow in flows)


def test_drawn_flows_carry_the_intent_and_the_language_of_their_last_reply() -> None:
    """Wherever a drawn flow ends, its label is what the last reply answers, in the language it answers in."""
    pack = load_pack("shop")
    generator = ConversationGenerator(pack, 11)
    for flow in pack.flows:
        drawn = generator.draw_from_flow(flow)
        assert drawn.messages[-1].role is Role.ASSISTANT
        assert drawn.plan is not None and drawn.plan.partition("/")[0] == drawn.intent
        assert drawn.language == detect_language(drawn.messages[-1].content)
