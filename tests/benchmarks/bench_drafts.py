"""`python -m tests.benchmarks.bench_drafts`: what guessing ahead and keeping to phrases cost and save, on one core.

Three tables, of what ships: the time of a step by the positions that it computes; the time of whole replies, drawn as
people get them, to asks that training has seen, worded freely, kept to authors' phrases, and with drafts; and of
replies that are made together, which get no drafts, the steps that make a token for each. All by the CPU time of the
thread, in turns, medians. Drafted replies are compared: one that changed a token would end this with an error.
"""

import argparse
import os
import random
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from model_store.contract.conversation import Message, Role
from model_store.contract.manifest import MANIFEST_NAME, Manifest
from model_store.contract.tokenizer import Tokenizer
from model_store.sampling import DEFAULT_TEMPERATURE, DEFAULT_TOP_P, OPENING_MIN_P
from model_store.store import DEFAULT_BUNDLE
from service.engine.engine import MODEL_NAME, Engine
from service.engine.ort_session import ModelInputs, OrtSession
from service.engine.types import CompletionRequest, Delta, EngineOptions, SamplingParams
from training.data.domain_pack import DomainPack, load_pack
from training.data.prompts import Prompt, build_prompt

_POSITIONS = (1, 2, 3, 4, 5, 6, 8)
_STARTS = range(130, 180)
"""Contexts, inside one local chunk."""
_COMPANY = (2, 3, 4)
"""Replies that are made together."""
_MOST_DRAFTED = 3
"""What a service is set to that guesses."""
_MANIFEST = Manifest.model_validate_json((DEFAULT_BUNDLE / MANIFEST_NAME).read_bytes())


@dataclass
class Way:
    """A way to make replies, and what it came to."""

    name: str
    engine: Engine
    keeps_to_phrases: bool = True
    seconds: list[float] = field(default_factory=list)
    """CPU time of each reply behind its first token."""
    deltas: list[Delta] = field(default_factory=list)
    _per_token: list[float] = field(default_factory=list)

    def make(self, prompt: Prompt, seed: int) -> list[int]:
        """One reply, alone."""
        self.engine.submit(_request(prompt, seed, keeps_to_phrases=self.keeps_to_phrases))
        made: list[Delta] = []
        while not made:
            made += self.engine.step()
        started = time.thread_time()
        while self.engine.has_work:
            made += self.engine.step()
        self.seconds.append(time.thread_time() - started)
        self.deltas += made[1:]
        self._per_token.append(self.seconds[-1] / max(1, len(made) - 1))
        return [delta.token_id for delta in made]

    def row(self, base: "Way") -> str:
        """Its figures beside another's."""
        drafted = sum(delta.num_drafted for delta in self.deltas)
        accepted = sum(delta.num_accepted for delta in self.deltas)
        ratios = [mine / other for mine, other in zip(self._per_token, base._per_token, strict=True) if other]
        speed = len(self.deltas) / sum(self.seconds)
        per_step = len(self.deltas) / (len(self.deltas) - accepted)
        share = f"{accepted / drafted:8.0%}" if drafted else "       –"
        return f"{self.name:34} {speed:8.0f} {1 / statistics.median(ratios):8.2f} {per_step:8.2f} {share}"


def main(arguments: list[str] | None = None) -> int:
    """Prints both tables; returns the exit code, 1 where a reply was another one."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.bench_drafts", description=__doc__)
    parser.add_argument("--replies", type=int, default=400, help="default: 400")
    parser.add_argument("--rounds", type=int, default=200, help="of the table of steps; default: 200")
    parser.add_argument("--draft-tokens", type=int, nargs="+", default=[1, 2, 3, 4], help="default: 1 2 3 4")
    options = parser.parse_args(arguments)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print_steps(options.rounds)
    pack, tokenizer = load_pack("shop"), Tokenizer.load(DEFAULT_BUNDLE / "tokenizer.json")
    prompts = _prompts(pack, tokenizer, options.replies)
    exit_code = print_replies(prompts, options.draft_tokens)
    print_company(prompts)
    return exit_code


def print_steps(num_rounds: int) -> None:
    """The time of one step by its positions."""
    engine_options = EngineOptions(num_slots=1, max_draft_tokens=max(_POSITIONS) - 1)
    session = OrtSession(DEFAULT_BUNDLE / MODEL_NAME, _MANIFEST.architecture, engine_options)
    tokens = tuple(range(1000, 1000 + max(_POSITIONS)))
    seconds: dict[int, list[float]] = {positions: [] for positions in _POSITIONS}
    for number in range(num_rounds):
        position = _STARTS[number % len(_STARTS)]
        for length, times in seconds.items():
            inputs = ModelInputs(tokens[:1], (position,), None, (tokens[:2],), tokens[1:length])
            session.run(inputs)
            started = time.thread_time()
            session.run(inputs)
            times.append(time.thread_time() - started)
    print("positions  microseconds  of one")
    one = statistics.median(seconds[1])
    for length, times in seconds.items():
        print(f"{length:9} {1e6 * statistics.median(times):13.0f} {statistics.median(times) / one:7.2f}", flush=True)


def print_replies(prompts: Sequence[Prompt], draft_tokens: Sequence[int]) -> int:
    """The time of whole replies by way; 1 where two ways that keep to phrases said different things."""
    free, kept = Way("worded freely, no drafts", _open(0), keeps_to_phrases=False), Way("kept to phrases", _open(0))
    ways = [free, kept, *(Way(f"kept to phrases, {number} drafted", _open(number)) for number in draft_tokens)]
    for seed, prompt in enumerate(prompts):
        order = ways[seed % len(ways) :] + ways[: seed % len(ways)]
        replies = {way.name: way.make(prompt, seed) for way in order}
        if any(replies[way.name] != replies[kept.name] for way in ways if way.keeps_to_phrases):
            print(f"with and without drafts, reply {seed} is another one", file=sys.stderr)
            return 1
    print(f"\n{len(prompts)} replies{'':23} tokens/s  x median  a step accepted")
    for way in ways:
        print(way.row(kept))
    return 0


def print_company(prompts: Sequence[Prompt]) -> None:
    """The time of a step that makes a token for each of several replies, where drafts are off and where they are on."""
    print(f"\ntogether  microseconds  {_MOST_DRAFTED} drafts on  of off")
    for size in _COMPANY:
        engines = (_open(0, num_slots=size), _open(_MOST_DRAFTED, num_slots=size))
        seconds: tuple[list[float], list[float]] = ([], [])
        for turn, first in enumerate(range(0, len(prompts) - size + 1, size)):
            for way in (0, 1) if turn % 2 else (1, 0):
                seconds[way].extend(_steps_together(engines[way], prompts[first : first + size]))
        off, on = (1e6 * statistics.median(times) for times in seconds)
        # The tokens are the same, hence so are the steps, and each is held against its own twin.
        ratio = statistics.median(drafting / plain for plain, drafting in zip(*seconds, strict=True))
        print(f"{size:8} {off:13.0f} {on:12.0f} {ratio:7.3f}", flush=True)


def _steps_together(engine: Engine, prompts: Sequence[Prompt]) -> Iterator[float]:
    """CPU time of each step that makes a token for every one of them and reads nothing."""
    for seed, prompt in enumerate(prompts):
        engine.submit(_request(prompt, seed))
    were_all = False
    while engine.has_work:
        started = time.thread_time()
        num_made = len({delta.request_id for delta in engine.step()})
        if were_all and num_made == len(prompts):
            yield time.thread_time() - started
        were_all = num_made == len(prompts)


def _request(prompt: Prompt, seed: int, *, keeps_to_phrases: bool = True) -> CompletionRequest:
    sampling = SamplingParams(
        temperature=DEFAULT_TEMPERATURE,
        top_p=DEFAULT_TOP_P,
        seed=seed,
        max_tokens=96,
        banned_token_ids=prompt.banned_ids,
        keeps_to_phrases=keeps_to_phrases,
        opening_token_ids=prompt.opening_ids,
        opening_min_p=OPENING_MIN_P,
    )
    return CompletionRequest(f"reply {seed}", prompt.token_ids, sampling)


def _open(max_draft_tokens: int, num_slots: int = 1) -> Engine:
    options = EngineOptions(num_slots=num_slots, max_draft_tokens=max_draft_tokens, knows_phrases=True)
    return Engine.open(DEFAULT_BUNDLE, _MANIFEST, options)


def _prompts(pack: DomainPack, tokenizer: Tokenizer, number: int) -> list[Prompt]:
    asks = random.Random(0).sample([ask for intent in pack.intents for ask in intent.asks if "{" not in ask], number)
    return [build_prompt([Message(Role.USER, ask)], tokenizer) for ask in asks]


if __name__ == "__main__":
    sys.exit(main())
