"""Held-out prompts and what policies answer to them.

Half of each intent's held-out asks belong to the gate, half to whoever measures from outside (`make demo`), so that a
version is not shown to be better on the very prompts that chose it. Figures are made of replies in `scorecard`.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import torch

from model_store.contract.control_tokens import EOS_ID
from model_store.contract.conversation import Message
from model_store.contract.tokenizer import Tokenizer
from model_store.phrases import PhraseBook
from model_store.sampling import DEFAULT_TEMPERATURE, DEFAULT_TOP_P, OPENING_MIN_P
from training import distributed
from training.data.domain_pack import DomainPack, Intent, held_out_prompts, user_message
from training.data.prompts import banned_ids, opening_ids, render_prompt
from training.reformer.decoder import sample_completions
from training.reformer.model import ReformerPolicy
from training.rlhf.logprobs import completion_logprobs, pack_completions

_BATCH_SIZE = 32


@dataclass(frozen=True, slots=True)
class HeldOutPrompt:
    """An authored ask that never enters training, and good replies to it, one a tone."""

    intent: str
    topic: str
    language: str
    messages: tuple[Message, ...]
    replies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SampledReply:
    """A policy's completion; `token_ids` holds the end of sequence where `ended`."""

    prompt: HeldOutPrompt
    token_ids: tuple[int, ...]
    text: str
    ended: bool


@dataclass(frozen=True, slots=True)
class Sampling:
    """How replies are drawn: as the service does, where nothing else is said. Temperature 0 is greedy."""

    temperature: float = DEFAULT_TEMPERATURE
    top_p: float = DEFAULT_TOP_P
    opening_min_p: float = OPENING_MIN_P
    max_new_tokens: int = 96
    seed: int = 0


def gate_prompts(pack: DomainPack, num_prompts: int) -> list[HeldOutPrompt]:
    """At most `num_prompts` of the gate's half, spread evenly over intents and languages; always the same."""
    return _spread(pack, first=0)[:num_prompts]


def outside_prompts(pack: DomainPack, num_prompts: int) -> list[HeldOutPrompt]:
    """At most `num_prompts` of the half that the gate never sees, spread the same way."""
    return _spread(pack, first=1)[:num_prompts]


def _spread(pack: DomainPack, *, first: int) -> list[HeldOutPrompt]:
    """Every second ask of each intent: the first of every intent, then the second of every intent, and so on."""
    by_intent: dict[tuple[str, str], list[HeldOutPrompt]] = {}
    for intent, ask in held_out_prompts(pack):
        by_intent.setdefault((intent.name, intent.language), []).append(_prompt(intent, ask))
    names = sorted({name for name, _ in by_intent})
    random.Random(0).shuffle(names)
    ordered = [by_intent[key] for name in names for key in sorted(by_intent) if key[0] == name]
    rounds = zip_longest(*(prompts[first::2] for prompts in ordered))
    return [prompt for prompts in rounds for prompt in prompts if prompt is not None]


def _prompt(intent: Intent, ask: str) -> HeldOutPrompt:
    generator = random.Random(ask)
    replies = tuple(generator.choice(texts) for texts in intent.replies_by_tone.values() if texts)
    return HeldOutPrompt(
        intent.name, intent.topic, intent.language, (user_message(ask),), replies or intent.replies[:1]
    )


def sample_replies(
    policy: ReformerPolicy, tokenizer: Tokenizer, prompts: Sequence[HeldOutPrompt], sampling: Sampling
) -> list[SampledReply]:
    """One reply to each prompt, in order, under the bans that serving uses."""
    samples = sample_completions(
        policy,
        [render_prompt(prompt.messages, tokenizer) for prompt in prompts],
        banned_ids=[banned_ids(prompt.messages, tokenizer) for prompt in prompts],
        opening_ids=[opening_ids(prompt.messages, tokenizer) for prompt in prompts],
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        opening_min_p=sampling.opening_min_p,
        max_new_tokens=sampling.max_new_tokens,
        seed=sampling.seed,
    )
    return [
        SampledReply(prompt, sample.token_ids, tokenizer.decode(sample.token_ids), sample.ended)
        for prompt, sample in zip(prompts, samples, strict=True)
    ]


def known_phrases(bundle: Path, policy: ReformerPolicy) -> PhraseBook | None:
    """What a policy's wordings are kept to where it is served out of this bundle; None for one without replies."""
    return PhraseBook.load(bundle, int(policy.config.vocab_size)) or None


@dataclass(frozen=True, slots=True)
class ScoredText:
    """A prompt and a completion of it, as token ids.

    `banned` tokens have no probability, and where the first one is an opening only openings had any.
    """

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    opening_ids: frozenset[int]
    banned: frozenset[int] = frozenset()

    @property
    def num_tokens(self) -> int:
        """Tokens of prompt and completion together."""
        return len(self.prompt_ids) + len(self.completion_ids)


def as_scored(reply: SampledReply, tokenizer: Tokenizer) -> ScoredText:
    """A sampled reply, to be scored under the bans that it was sampled under."""
    messages = reply.prompt.messages
    prompt_ids = render_prompt(messages, tokenizer)
    return ScoredText(prompt_ids, reply.token_ids, opening_ids(messages, tokenizer), banned_ids(messages, tokenizer))


def authored_texts(prompt: HeldOutPrompt, tokenizer: Tokenizer) -> list[ScoredText]:
    """The prompt's authored replies, each with the plan of its intent and with its end."""
    prompt_ids = render_prompt(prompt.messages, tokenizer)
    plan = [tokenizer.plans[prompt.intent]] if prompt.intent in tokenizer.plans else []
    completions = [(*plan, *tokenizer.encode(reply), EOS_ID) for reply in prompt.replies]
    openings = opening_ids(prompt.messages, tokenizer)
    return [ScoredText(prompt_ids, completion_ids, openings) for completion_ids in completions]


@torch.no_grad()
def log_likelihoods(policy: ReformerPolicy, texts: Sequence[ScoredText]) -> list[float]:
    """The log-probability of each completion given its prompt, in float32 at temperature 1, in nats.

    Several processes share the texts.
    """
    was_training = policy.training
    policy.eval()
    own = distributed.own_rows(len(texts))
    order = sorted(own, key=lambda index: texts[index].num_tokens)
    found = [0.0] * len(texts)
    for start in range(0, len(order), _BATCH_SIZE):
        indices = order[start : start + _BATCH_SIZE]
        chosen = [texts[index] for index in indices]
        batch = pack_completions(
            [text.prompt_ids for text in chosen],
            [text.completion_ids for text in chosen],
            [text.banned for text in chosen],
            int(policy.config.vocab_size),
            opening_ids=[text.opening_ids for text in chosen],
        )
        sums = completion_logprobs(policy, batch, 1.0).double().sum(1)
        for index, nats in zip(indices, sums.tolist(), strict=True):
            found[index] = nats
    policy.train(was_training)
    return distributed.gather([found[index] for index in own], len(texts))
