"""The reward function of a run: the reward model's pessimistic score with the configured terms around it."""

from collections.abc import Sequence
from dataclasses import replace

from model_store.contract.conversation import Message, Role
from model_store.contract.tokenizer import Tokenizer
from model_store.replies import PERSON_PLAN
from training.config import RewardConfig, TrainingConfig
from training.data.domain_pack import intent_of
from training.evaluation.rewarding.plan_words import pack_plan_words
from training.reformer.decoder import Sample
from training.reformer.heads import RewardModel, score_batches
from training.rlhf.rewards import RatedCompletion, RewardTerms, RewardWeights, reward_terms
from training.rlhf.rollout import RolloutPrompt
from training.rlhf.terms.hand_over import asks_for_person


class CompositeReward:
    """What a completion earns, term by term."""

    def __init__(self, model: RewardModel, tokenizer: Tokenizer, config: TrainingConfig) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._weights = reward_weights(config.reward)
        self._pessimism = config.reward.pessimism
        self._max_tokens = config.policy.max_completion_tokens
        self._words = pack_plan_words(config.corpus.domain_pack) if config.reward.off_plan_penalty else None

    def __call__(self, prompts: Sequence[RolloutPrompt], samples: Sequence[Sample]) -> list[RewardTerms]:
        """Terms of each completion."""
        sequences = [[*p.token_ids, *sample.token_ids] for p, sample in zip(prompts, samples, strict=True)]
        scores = score_batches(self._model, sequences, pessimism=self._pessimism).tolist()
        rated = [self._rated(*row) for row in zip(prompts, samples, scores, strict=True)]
        return [reward_terms(each, self._weights, max_tokens=self._max_tokens) for each in self._off_plan_marked(rated)]

    def _off_plan_marked(self, rated: Sequence[RatedCompletion]) -> list[RatedCompletion]:
        if self._words is None:
            return list(rated)
        fits = self._words.fit([each.plan for each in rated], [each.text for each in rated])
        return [replace(each, is_off_plan=not is_fit) for each, is_fit in zip(rated, fits, strict=True)]

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
        off_plan=config.off_plan_penalty,
        flattery=config.flattery_penalty,
        bias=config.bias_penalty,
        hand_over=config.hand_over_penalty,
    )
