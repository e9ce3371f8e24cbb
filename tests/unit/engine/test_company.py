"""Greedy completions keep every bit whoever comes, goes or gives up beside them: the property that `exact` promises."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_store.contract.control_tokens import EOS_ID
from model_store.contract.manifest import Manifest
from service.engine.engine import Engine
from service.engine.types import CompletionRequest, Delta, EngineOptions, SamplingParams
from tests.unit.engine.tiny_reformer import chat_ids, write_bundle_files

BESIDE_BORDERS = (1, 2, 63, 64, 65, 127, 128, 129, 191, 193)
MAX_SLOTS = 4


@dataclass(frozen=True)
class Visit:
    """A request, the step before which it comes, and how many steps later its client gives up, if it does."""

    prompt_length: int
    max_tokens: int
    arrives: int
    patience: int | None = None

    def request(self, request_id: str) -> CompletionRequest:
        """A greedy request that cannot end before its length."""
        sampling = SamplingParams(0, max_tokens=self.max_tokens, banned_token_ids=frozenset({EOS_ID}))
        return CompletionRequest(request_id, chat_ids(self.prompt_length, seed=self.prompt_length), sampling)


VISITS = st.lists(
    st.builds(
        Visit,
        prompt_length=st.sampled_from(BESIDE_BORDERS) | st.integers(1, 260),
        max_tokens=st.integers(1, 12),
        arrives=st.integers(0, 12),
        patience=st.none() | st.integers(0, 10),
    ),
    min_size=2,
    max_size=6,
)


class House:
    """Engines of one bundle, opened once, and what each request becomes when nobody else is there."""

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self._bundle = (directory, manifest)
        self.engine = cache(self._open)
        self.alone = cache(self._alone)

    def _open(self, num_slots: int) -> Engine:
        return Engine.open(*self._bundle, EngineOptions(num_slots=num_slots))

    def _alone(self, prompt_length: int, max_tokens: int) -> list[Delta]:
        return serve(self.engine(1), [Visit(prompt_length, max_tokens, arrives=0)])["0"]


def serve(engine: Engine, visits: Sequence[Visit]) -> dict[str, list[Delta]]:
    """Steps until everybody has come and nobody is left; the deltas by a request's number."""
    found: dict[str, list[Delta]] = defaultdict(list)
    last_arrival = max(visit.arrives for visit in visits)
    for step in count():
        for number, visit in enumerate(visits):
            if step == visit.arrives:
                engine.submit(visit.request(str(number)))
            if visit.patience is not None and step == visit.arrives + visit.patience:
                engine.cancel(str(number))
        if engine.has_work:
            for delta in engine.step():
                found[delta.request_id].append(delta)
        elif step > last_arrival:
            return found
    raise AssertionError("unreachable")


@pytest.fixture(scope="module", params=["plain", "summary"])
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> House:
    """The int8 bundle of a stock Reformer, and of one with n-gram tables and a message summary."""
    directory = tmp_path_factory.mktemp(request.param)
    return House(directory, write_bundle_files(directory, "int8", request.param))


def what_it_says(deltas: Sequence[Delta]) -> list[tuple[int, float]]:
    """Tokens and their log-probabilities, to the last bit."""
    return [(delta.token_id, delta.logprob) for delta in deltas]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(num_slots=st.integers(2, MAX_SLOTS), visits=VISITS)
def test_a_completion_is_the_same_alone_and_in_any_company(house: House, num_slots: int, visits: list[Visit]) -> None:
    """Other prompts are read, others end and slots close up; who gives up has heard the beginning of the same."""
    found = serve(house.engine(num_slots), visits)
    for number, visit in enumerate(visits):
        expected = what_it_says(house.alone(visit.prompt_length, visit.max_tokens))
        heard = what_it_says(found[str(number)])
        assert heard == (expected if visit.patience is None else expected[: len(heard)])


@pytest.mark.parametrize("length", BESIDE_BORDERS)
def test_reading_a_prompt_beside_a_border_leaves_a_running_completion_alone(house: House, length: int) -> None:
    """Somebody decodes while a prompt of this length is read, and both say what they say alone."""
    visits = [Visit(20, 30, arrives=0), Visit(length, 10, arrives=5)]
    found = serve(house.engine(2), visits)
    for number, visit in enumerate(visits):
        assert what_it_says(found[str(number)]) == what_it_says(house.alone(visit.prompt_length, visit.max_tokens))
