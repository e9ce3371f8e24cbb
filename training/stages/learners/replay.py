"""Replay: authored replies among what a policy learns from, so that it does not forget what thumbs do not speak of.

The supervised mix of Ouyang et al. 2022, section 3.5, with the base's last corpus in place of its first one. Held-out
asks never enter: they come from `ConversationGenerator`, which has none.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from model_store.contract.control_tokens import EOS_ID
from model_store.contract.tokenizer import Tokenizer
from training import distributed
from training.data.generator import ConversationGenerator, LabelledConversation
from training.data.prompts import Prompt, build_prompt
from training.rlhf.logprobs import CompletionBatch, completion_logprobs
from training.rlhf.losses import supervised_loss
from training.rlhf.rollout import Actors

_NUM_CONVERSATIONS = 512


@dataclass(frozen=True, slots=True)
class AuthoredReply:
    """A prompt and what its author answers, plan and end included."""

    prompt: Prompt
    completion_ids: tuple[int, ...]


def authored_replies(
    generator: ConversationGenerator, tokenizer: Tokenizer, *, max_positions: int, count: int = _NUM_CONVERSATIONS
) -> list[AuthoredReply]:
    """What is usable of the generator's next `count` conversations.

    A reply without a plan is not, where the model plans: the service never lets one begin like that. Nor is one with
    an entity that its prompt does not name, which the service would ban.
    """
    drawn = (_as_reply(generator.draw(), tokenizer) for _ in range(count))
    return [
        reply
        for reply in drawn
        if reply is not None
        and len(reply.prompt.token_ids) + len(reply.completion_ids) <= max_positions
        and not (reply.prompt.banned_ids - reply.prompt.opening_ids).intersection(reply.completion_ids)
    ]


def _as_reply(conversation: LabelledConversation, tokenizer: Tokenizer) -> AuthoredReply | None:
    *earlier, last = conversation.messages
    prompt = build_prompt(earlier, tokenizer)
    plan_id = tokenizer.plans.get(conversation.plan or "")
    if prompt.opening_ids and plan_id not in prompt.opening_ids:
        return None
    plan = () if plan_id is None else (plan_id,)
    return AuthoredReply(prompt, (*plan, *tokenizer.encode(last.content), EOS_ID))


@dataclass(frozen=True, slots=True)
class Replayed:
    """The authored replies of a step that this process learns from."""

    batch: CompletionBatch | None
    """None where other processes have them all."""
    part: float
    """Of the tokens of all of the step's authored replies."""
    share: float
    """Of authored replies in the step's loss."""


NONE_REPLAYED = Replayed(None, 0.0, 0.0)


class Replay:
    """Mixes the loss of authored replies into that of an algorithm."""

    def __init__(self, replies: Sequence[AuthoredReply], share: float, seed: int) -> None:
        """`share` is that of authored replies in an update, and their loss's weight; 0 mixes nothing in."""
        self._replies = replies if share else ()
        self._share = share
        self._seed = seed

    def draw(self, actors: Actors, step: int, num_completions: int) -> Replayed:
        """Authored replies for one step that learns from `num_completions` others; the same ones for the same step."""
        if not self._replies:
            return NONE_REPLAYED
        count = max(1, round(num_completions * self._share / (1 - self._share)))
        drawn = random.Random(f"{self._seed}-replay-{step}").choices(self._replies, k=count)
        own = [drawn[place] for place in distributed.own_rows(count)]
        if not own:
            return Replayed(None, 0.0, self._share)
        num_own_tokens, num_tokens = (sum(len(reply.completion_ids) for reply in replies) for replies in (own, drawn))
        batch = actors.pack([reply.prompt for reply in own], [reply.completion_ids for reply in own])
        return Replayed(batch, distributed.part_of_mean(num_own_tokens, num_tokens), self._share)

    def mixed(self, loss: Tensor, actors: Actors, replayed: Replayed) -> Tensor:
        """The algorithm's loss and that of the authored replies, by share; the algorithm's alone where none are.

        `loss` is this process's part of the algorithm's, and so is what comes of it.
        """
        algorithms = (1 - replayed.share) * loss
        if replayed.batch is None:
            return algorithms
        logprobs = completion_logprobs(actors.policy, replayed.batch, 1.0)
        return algorithms + replayed.share * replayed.part * supervised_loss(logprobs, replayed.batch.mask)


NO_REPLAY = Replay((), 0.0, 0)
