"""The reward function of a run: the reward model's pessimistic score with the configured terms around it."""

from collections.abc import Sequence

from model_store.contract.conversation import Message, Role
from model_store.contract.tokenizer import Tokenizer
from training.config import RewardConfig, TrainingConfig
from training.data.domain_pack import intent_of
from training.reformer.decoder import Sample
from training.reformer.heads import RewardModel, score_batches
from training.rlhf.rewards import RatedCompletion, RewardTerms, RewardWeights, reward_terms
from training.rlhf.rollout import RolloutPrompt
from training.rlhf.terms.hand_over import PERSON_PLAN, asks_for_person


class CompositeReward:
    """What a completion earns, term by term."""

    def __init__(self, model: RewardModel, tokenizer: Tokenizer, config: TrainingConfig) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._weights = reward_weights(config.reward)
        self._pessimism = config.reward.pessimism
        self._max_tokens = config.policy.max_completion_tokens

    def __call__(self, prompts: Sequence[RolloutPrompt], samples: Sequence[Sample]) -> list[RewardTerms]:
        """Terms of each completion."""
        sequences = [[*p.token_ids, *sample.token_ids] for p, sample in zip(prompts, samples, strict=True)]
        scores = score_batches(self._model, sequences, pessimism=self._pessimism).tolist()
        return [
            reward_terms(self._rated(prompt, sample, score), self._weights, max_tokens=self._max_tokens)
            for prompt, sample, score in zip(prompts, samples, scores, strict=True)
        ]

    def _rated(self, prompt: RolloutPrompt, sample: Sample, score: float) -> RatedCompletion:
        plan = self._tokenizer.plan_of(sample.token_ids)
        return RatedCompletion(
            text=self._tokenizer.decode(sample.token_ids),
            token_ids=sample.token_ids,
            ended=sample.ended,
            score=score,
            references=prompt.references,
            has_wrong_plan=plan is not None and bool(prompt.intents) and intent_of(plan) not in prompt.intents,
            plan=plan,
            is_person_asked_for=is_person_asked_for(prompt.messages, prompt.intents),
            earlier_replies=tuple(m.content for m in prompt.messages if m.role is Role.ASSISTANT),
        )


def is_person_asked_for(messages: Sequence[Message], intents: frozenset[str]) -> bool:
    """Whether the customer's last message asks for a person: by its author's word, else by patterns."""
    if intents:
        return PERSON_PLAN in intents
    said = [message.content for message in messages if message.role is Role.USER]
    return bool(said) and asks_for_person(said[-1])


def reward_weights(config: RewardConfig) -> RewardWeights:
    """The weights of the terms, as configured."""
    return RewardWeights(
        overlap=config.overlap_weight,
        unsafe=config.unsafe_penalty,
        empty=config.empty_penalty,
        overlong=config.overlong_penalty,
        repetition=config.repetition_penalty,
        improper_ending=config.improper_ending_penalty,
        wrong_plan=config.wrong_plan_penalty,
        flattery=config.flattery_penalty,
        bias=config.bias_penalty,
        hand_over=config.hand_over_penalty,
    )
