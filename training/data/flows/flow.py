"""A flow: turns with several wordings each, and places where the conversation can go on in different ways.

What a flow may say is checked by `domain_pack.check_pack` (texts, plans) and by `problems` here (order, entities).
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from model_store.contract.conversation import Role


@dataclass(frozen=True)
class FlowTurn:
    """What one side may say next; `plan` is what the reply does, where it is the assistant's and was labelled."""

    role: Role
    wordings: tuple[str, ...]
    plan: str | None = None


@dataclass(frozen=True)
class FlowBranches:
    """Ways in which the conversation can go on; what follows the branches follows each of them."""

    continuations: tuple[tuple["FlowStep", ...], ...]


FlowStep = FlowTurn | FlowBranches
Path = tuple[FlowTurn, ...]


@dataclass(frozen=True)
class Flow:
    """A multi-turn conversation with several wordings a turn and, perhaps, several ways to go on."""

    name: str
    language: str
    intents: tuple[str, ...]
    steps: tuple[FlowStep, ...]

    @property
    def turns(self) -> Path:
        """Every turn of every branch, in the order they are written in."""
        return tuple(_turns_of(self.steps))

    @cached_property
    def paths(self) -> tuple[Path, ...]:
        """Every conversation from the first turn to the last, one for each choice of branches."""
        return tuple(_paths_through(self.steps))

    def draw_path(self, generator: random.Random) -> Path:
        """One conversation from the first turn to the last: at each branching a continuation at random."""
        return tuple(_draw(self.steps, generator))


def problems(flow: Flow, entities_in: Callable[[str], frozenset[str]]) -> Iterator[str]:
    """What is wrong with the order of turns, or with a reply that names what the customer may not have given."""
    for path in flow.paths:
        roles = [turn.role for turn in path]
        if roles != [Role.USER, Role.ASSISTANT] * (len(roles) // 2) or not roles:
            yield f"turns do not alternate from the customer to a last reply: {[role.value for role in roles]}"
        said: frozenset[str] = frozenset()
        for turn in path:
            named = [entities_in(wording) for wording in turn.wordings]
            if turn.role is Role.USER:
                said |= frozenset.intersection(*named)
            for wording, entities in zip(turn.wordings, named, strict=True):
                if turn.role is Role.ASSISTANT and not entities <= said:
                    yield f"a reply names {sorted(entities - said)}, which not every wording before gives: {wording!r}"


def _turns_of(steps: Sequence[FlowStep]) -> Iterator[FlowTurn]:
    for step in steps:
        if isinstance(step, FlowTurn):
            yield step
        else:
            for continuation in step.continuations:
                yield from _turns_of(continuation)


def _paths_through(steps: Sequence[FlowStep]) -> Iterator[Path]:
    if not steps:
        yield ()
        return
    first, rest = steps[0], list(_paths_through(steps[1:]))
    heads = [(first,)] if isinstance(first, FlowTurn) else [p for c in first.continuations for p in _paths_through(c)]
    yield from (head + tail for head in heads for tail in rest)


def _draw(steps: Sequence[FlowStep], generator: random.Random) -> Iterator[FlowTurn]:
    for step in steps:
        if isinstance(step, FlowTurn):
            yield step
        else:
            yield from _draw(generator.choice(step.continuations), generator)
