"""The demo's customers without a service: what they ask, what they rate, and how much they like a policy.

Half of each intent's asks are rated, the other half is judged by. The base was taught both: so small a network hears
hardly any wording that it was not taught (one held-out ask in seven), and there thumbs could teach it nothing.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from model_store.contract.facts import FactSheet
from model_store.contract.tokenizer import Tokenizer
from tests.benchmarks.learning.presets import PACK
from training.data.domain_pack import PACKS_DIRECTORY, DomainPack, load_pack, user_message
from training.data.feedback_rows import Example, Split
from training.evaluation.demo.simulated_customers import Ask, Customers, Taste, with_noise
from training.evaluation.held_out import HeldOutPrompt, SampledReply, Sampling, sample_replies
from training.evaluation.judge import pack_judge
from training.reformer.model import ReformerPolicy
from training.rlhf.estimators import distinct_n

NOISE = 0.1
_SPLITS: tuple[Split, ...] = ("train",) * 14 + ("validation",) * 3 + ("test",) * 3
"""Of every twenty ratings."""
_RATING_SEED = 1_000
_ORDINARY_SEED = 0
_JUDGED_SEED = 0


@dataclass(frozen=True)
class Opinion:
    """What customers truly think of replies, one draw after the other, prompts in the same order."""

    by_draw: tuple[tuple[bool, ...], ...]
    distinct2: float
    proper_endings: float

    @property
    def num_up(self) -> int:
        """Liked replies of all."""
        return sum(map(sum, self.by_draw))

    @property
    def num_replies(self) -> int:
        """All replies."""
        return sum(map(len, self.by_draw))

    @property
    def num_liked_once(self) -> int:
        """Prompts to which at least one draw was liked."""
        return sum(map(any, zip(*self.by_draw, strict=True)))


class Judges:
    """Customers and their taste."""

    def __init__(self, tokenizer: Tokenizer, num_held_out: int) -> None:
        self._tokenizer = tokenizer
        self._pack = load_pack(PACK)
        self._taste = Taste(pack_judge(PACK), FactSheet.load(PACKS_DIRECTORY / PACK / "facts.yaml"))
        self._judged = judged_prompts(self._pack, num_held_out)

    @property
    def num_held_out(self) -> int:
        """Prompts that are judged by."""
        return len(self._judged)

    def opinion(self, policy: ReformerPolicy, *, num_draws: int) -> Opinion:
        """Of replies to asks that nobody rated, drawn as the service draws; each policy gets the same draws."""
        draws = [
            sample_replies(policy, self._tokenizer, self._judged, Sampling(seed=_ORDINARY_SEED + number))
            for number in range(num_draws)
        ]
        replies = [reply for draw in draws for reply in draw]
        return Opinion(
            tuple(tuple(self._likes(reply) for reply in draw) for draw in draws),
            distinct_n([reply.token_ids for reply in replies], 2),
            sum(reply.ended for reply in replies) / len(replies),
        )

    def rate(self, policy: ReformerPolicy, num_ratings: int, *, seed: int) -> list[Example]:
        """Rated replies to asks of the kind that training knows; a tenth of the thumbs is wrong."""
        asks = Customers(half_of_asks(self._pack, 0), seed=seed).draw_masked(num_ratings)
        replies = sample_replies(
            policy, self._tokenizer, list(map(as_prompt, asks)), Sampling(seed=_RATING_SEED + seed)
        )
        noise = random.Random(seed)
        return [
            _example(number, reply, with_noise(self._likes(reply), noise, NOISE))
            for number, reply in enumerate(replies)
        ]

    def _likes(self, reply: SampledReply) -> bool:
        prompt = reply.prompt
        return self._taste.likes(Ask(prompt.intent, prompt.language, prompt.messages[-1].content), reply.text)


def half_of_asks(pack: DomainPack, first: int) -> DomainPack:
    """The pack with every second ask of each intent, from the first one or from the second one on."""
    return replace(pack, intents=tuple(replace(intent, asks=intent.asks[first::2]) for intent in pack.intents))


def judged_prompts(pack: DomainPack, num_prompts: int) -> list[HeldOutPrompt]:
    """Asks that no thumb is about, every intent in every language equally often; always the same."""
    return list(map(as_prompt, Customers(half_of_asks(pack, 1), seed=_JUDGED_SEED).draw_masked(num_prompts)))


def as_prompt(ask: Ask) -> HeldOutPrompt:
    """An ask as a network is asked it."""
    return HeldOutPrompt(ask.intent, "", ask.language, (user_message(ask.text),), ())


def _example(number: int, reply: SampledReply, is_up: bool) -> Example:
    return Example(
        split=_SPLITS[number % len(_SPLITS)],
        completion_id=f"reply-{number}",
        conversation_id=f"conversation-{number}",
        language=reply.prompt.language,
        messages=reply.prompt.messages,
        completion_text=reply.text,
        completion_token_ids=reply.token_ids,
        is_up=is_up,
        weight=1.0,
        correction=None,
    )


def first_ratings(examples: Sequence[Example], num_ratings: int) -> list[Example]:
    """The first of them. Raises ValueError when nothing of it can be learned from."""
    chosen = list(examples[:num_ratings])
    if not any(example.is_up for example in chosen if example.split == "train"):
        raise ValueError(f"none of {num_ratings} replies was rated up: the base network is too poor to learn from")
    return chosen
