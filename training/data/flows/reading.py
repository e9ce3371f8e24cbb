"""Flows out of their YAML form (`domain/README.md`)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from model_store.contract.conversation import Role
from training.data.flows.flow import Flow, FlowBranches, FlowStep, FlowTurn
from training.errors import InvalidDomainPackError

_FEWEST_BRANCHES = 2


def parse_flow(path: Path, language: str, entry: Mapping[str, Any]) -> Flow:
    """The flow of one YAML entry. Raises InvalidDomainPackError, naming the flow."""
    try:
        return Flow(entry["flow"], language, tuple(entry["intents"]), _parse_steps(entry["turns"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidDomainPackError(path=path, problem=f"{entry.get('flow')}: {error!r}") from error


def _parse_steps(entries: Sequence[Mapping[str, Any]]) -> tuple[FlowStep, ...]:
    return tuple(_parse_branches(entry) if "branches" in entry else _parse_turn(entry) for entry in entries)


def _parse_turn(entry: Mapping[str, Any]) -> FlowTurn:
    ((role, wordings),) = ((key, texts) for key, texts in entry.items() if key != "plan")
    texts = (wordings,) if isinstance(wordings, str) else tuple(wordings)
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise ValueError(f"a turn without words, or with something else: {texts}")
    return FlowTurn(Role(role), texts, entry.get("plan"))


def _parse_branches(entry: Mapping[str, Any]) -> FlowBranches:
    continuations = tuple(_parse_steps(branch["turns"]) for branch in entry["branches"])
    if len(entry) != 1 or len(continuations) < _FEWEST_BRANCHES:
        raise ValueError(f"branches stand alone and are {_FEWEST_BRANCHES} or more")
    return FlowBranches(continuations)
