"""Customers who change from round to round: what they ask about, and what they like to read.

Both tastes want the question answered, in its language; the warm one a reply that acknowledges the person and goes on
(`demo.simulated_customers`), the brief one a short reply. Two topics are nobody's: what happens to them is forgetting.
"""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import fmean, median

import torch
from pydantic import BaseModel

from model_store.contract.facts import FactSheet
from model_store.contract.tokenizer import Tokenizer
from tests.benchmarks.learning.customers import as_prompt, half_of_asks, judged_prompts
from tests.benchmarks.learning.presets import PACK
from training.data.domain_pack import PACKS_DIRECTORY, load_pack
from training.data.feedback_rows import RawRow
from training.evaluation.demo.simulated_customers import Ask, Customers, is_warm, with_noise
from training.evaluation.held_out import (
    HeldOutPrompt,
    SampledReply,
    Sampling,
    as_scored,
    log_likelihoods,
    outside_prompts,
    sample_replies,
)
from training.evaluation.judge import language_of, pack_judge
from training.evaluation.scorecard import worded_freely
from training.reformer.model import ReformerPolicy
from training.rlhf.estimators import distinct_n

NOISE = 0.1
_FOCUS = 0.7
"""Share of a crowd's asks that are about its own topics."""
_RESERVED = frozenset({"settings", "safety"})
_NUM_RATERS = 40
_RATING_SEED = 1_000
_BEGIN = datetime(2026, 1, 1)


@dataclass(frozen=True)
class Crowd:
    """Who rates in a round."""

    name: str
    topics: frozenset[str]
    """What they ask about most; empty: about everything alike."""
    warm_share: float
    """Share of them that likes warm replies; the others like brief ones."""


CROWDS = (
    Crowd("1: cards, warm", frozenset({"cards"}), 1.0),
    Crowd("2: payments, 3/4 warm", frozenset({"payments"}), 0.75),
    Crowd("3: talk, half", frozenset({"talk"}), 0.5),
    Crowd("4: blocking, 3/4 brief", frozenset({"blocking"}), 0.25),
    Crowd("5: anything, brief", frozenset(), 0.0),
)


class Scores(BaseModel):
    """What a version is worth to everybody, on asks that no thumb is about."""

    thumbs_up: dict[str, float]
    """By crowd: share of replies that it would rate up, by its own mix of asks and tastes, without noise."""
    gold: tuple[float, ...]
    """By held-out ask, which neither training nor the gate sees, in one order for all versions: share of replies that
    answer it, whole, in its language."""
    reserved: float
    """The same over asks that training knows of topics that no crowd asks about: what forgetting shows in."""
    kl_from_first: float
    """Nats a completion from the first version."""
    distinct2: float

    @property
    def gold_share(self) -> float:
        """Over all held-out asks."""
        return fmean(self.gold)


class Audience:
    """All crowds: their asks, their thumbs, and their judges."""

    def __init__(self, tokenizer: Tokenizer, *, num_held_out: int) -> None:
        self._tokenizer, self._pack, self._judge = tokenizer, load_pack(PACK), pack_judge(PACK)
        self._facts = FactSheet.load(PACKS_DIRECTORY / PACK / "facts.yaml")
        self._topics = {intent.name: intent.topic for intent in self._pack.intents}
        self._judged = judged_prompts(self._pack, num_held_out)
        self._held_out = outside_prompts(self._pack, num_held_out)
        lengths: dict[str, list[int]] = {}
        for intent in self._pack.intents:
            lengths.setdefault(intent.language, []).extend(map(len, intent.replies))
        self._brief = {language: median(found) for language, found in lengths.items()}

    def rate(
        self, policy: ReformerPolicy, crowd: Crowd, num_ratings: int, *, round_number: int, digest: str
    ) -> list[RawRow]:
        """Rated replies as the service would export them; a tenth of the thumbs is wrong."""
        generator = random.Random(round_number)
        asks = list(self._asks(crowd, num_ratings, generator))
        prompts = list(map(as_prompt, asks))
        replies = sample_replies(policy, self._tokenizer, prompts, Sampling(seed=_RATING_SEED + round_number))
        rows = []
        for number, reply in enumerate(replies):
            is_warm_one = generator.random() < crowd.warm_share
            likes = self._answers(reply) and self._tastes(reply)[0 if is_warm_one else 1]
            is_up = with_noise(likes, generator, NOISE)
            rows.append(_row(reply, is_up, number=number, round_number=round_number, digest=digest))
        return rows

    def scores(self, policy: ReformerPolicy, first: ReformerPolicy, *, num_draws: int) -> Scores:
        """Of replies drawn as the service draws; the same draws are the same for every version."""
        warm, brief, right = [], [], []
        judged = self._draws(policy, self._judged, num_draws)
        for replies in zip(*judged, strict=True):  # to one ask
            liked = [[self._answers(reply) and tastes for tastes in self._tastes(reply)] for reply in replies]
            warm.append(fmean(by_taste[0] for by_taste in liked))
            brief.append(fmean(by_taste[1] for by_taste in liked))
            right.append(self._share_right(replies))
        held_out = self._draws(policy, self._held_out, num_draws)
        topics = [self._topics[prompt.intent] for prompt in self._judged]
        reserved = [share for topic, share in zip(topics, right, strict=True) if topic in _RESERVED]
        return Scores(
            thumbs_up={
                crowd.name: self._mixed(crowd, [crowd.warm_share * w + (1 - crowd.warm_share) * b for w, b in both])
                for both in [list(zip(warm, brief, strict=True))]
                for crowd in CROWDS
            },
            gold=tuple(map(self._share_right, zip(*held_out, strict=True))),
            reserved=fmean(reserved) if reserved else 0.0,
            kl_from_first=self._kl(policy, first),
            distinct2=distinct_n([reply.token_ids for reply in judged[0]], 2),
        )

    def _draws(
        self, policy: ReformerPolicy, prompts: Sequence[HeldOutPrompt], num_draws: int
    ) -> list[list[SampledReply]]:
        return [sample_replies(policy, self._tokenizer, prompts, Sampling(seed=number)) for number in range(num_draws)]

    def _share_right(self, replies: Sequence[SampledReply]) -> float:
        """Of replies to one ask, those that answer it and are whole."""
        return fmean(self._answers(reply) and reply.ended for reply in replies)

    def _asks(self, crowd: Crowd, num_asks: int, generator: random.Random) -> Iterator[Ask]:
        """Of the kind that training knows, mixed as the crowd mixes them."""
        own: list[Ask] = []
        others: list[Ask] = []
        customers = Customers(half_of_asks(self._pack, 0), seed=generator.randrange(2**31))
        for _ in range(num_asks):
            wanted = own if generator.random() < _FOCUS or not crowd.topics else others
            while not wanted:
                for ask in customers.draw_masked(100):
                    if (topic := self._topics[ask.intent]) not in _RESERVED:
                        (own if topic in crowd.topics or not crowd.topics else others).append(ask)
            yield wanted.pop(0)

    def _mixed(self, crowd: Crowd, by_prompt: Sequence[float]) -> float:
        """The mean over asks, mixed as the crowd mixes its own."""
        own, others = [], []
        for prompt, share in zip(self._judged, by_prompt, strict=True):
            if (topic := self._topics[prompt.intent]) not in _RESERVED:
                (own if topic in crowd.topics or not crowd.topics else others).append(share)
        if not own or not others:
            return fmean(own or others or [0.0])
        return _FOCUS * fmean(own) + (1 - _FOCUS) * fmean(others)

    def _answers(self, reply: SampledReply) -> bool:
        prompt, masked = reply.prompt, self._facts.mask(reply.text, reply.prompt.language)
        return language_of(masked) == prompt.language and self._judge.intents_of([masked]) == [prompt.intent]

    def _tastes(self, reply: SampledReply) -> tuple[bool, bool]:
        """Whether it is warm, and whether it is brief."""
        language = reply.prompt.language
        masked = self._facts.mask(reply.text, language)
        return is_warm(masked, language), len(reply.text) <= self._brief[language]

    @torch.no_grad()
    def _kl(self, policy: ReformerPolicy, first: ReformerPolicy) -> float:
        """The mean log-ratio over the version's own samples at temperature 1 (k1, unbiased)."""
        whole = Sampling(temperature=1.0, top_p=1.0, opening_min_p=0.0)
        with worded_freely(policy):  # of networks: what both are kept to says nothing about either
            replies = sample_replies(policy, self._tokenizer, self._judged, whole)
        texts = [as_scored(reply, self._tokenizer) for reply in replies]
        ours, theirs = log_likelihoods(policy, texts), log_likelihoods(first, texts)
        return fmean(our - their for our, their in zip(ours, theirs, strict=True))


def _row(reply: SampledReply, is_up: bool, *, number: int, round_number: int, digest: str) -> RawRow:
    """Ratings of a round come a minute after one another, and rounds a week."""
    name = f"{round_number}-{number}"
    moment = f"{_BEGIN + timedelta(weeks=round_number, minutes=number):%Y-%m-%dT%H:%M:%S.%fZ}"
    return {
        "completion_id": f"chatcmpl-{name}",
        "conversation_id": f"conversation-{name}",
        "created_at": moment,
        "model_digest": digest,
        "language": reply.prompt.language,
        "prompt_messages": json.dumps([message.as_dict() for message in reply.prompt.messages], ensure_ascii=False),
        "completion_text": reply.text,
        "completion_token_ids": json.dumps(reply.token_ids),
        "token_logprobs": "[]",  # so the gate estimates nothing from replies on record
        "sampling": "{}",
        "finish_reason": "stop" if reply.ended else "length",
        "rater": f"customer-{round_number}-{number % _NUM_RATERS}",
        "rating": "up" if is_up else "down",
        "reasons": "[]",
        "comment": None,
        "correction": None,
        "rated_at": moment,
        "tenant": "default",
        "origin": "",
        "gold": None,
        "ruling": None,
    }
