"""Configuration: YAML to frozen pydantic. A stage receives its own section, an algorithm plain arguments.

Here: the learning loop's sections and the whole. Those of the first model: `base_config`.
"""

import hashlib
import json
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from model_store.contract.manifest import WeightFormat
from training.base_config import (
    CorpusConfig,
    LanguageModelConfig,
    LengtheningConfig,
    MessageSummaryConfig,
    ModelConfig,
    PlanTeacherConfig,
    PruningConfig,
    Section,
)
from training.errors import InvalidConfigError


class FeedbackConfig(Section):
    """Where thumbs come from and what they count."""

    min_ratings: int = Field(60, ge=1)
    """Fewer usable ratings than this: nothing is trained, and the run says how many are missing."""
    min_per_class: int = Field(12, ge=1)
    """Thumbs of the rarer kind that are needed."""
    max_ratings: int = Field(20_000, ge=1)
    """The newest that a run reads; out of Parquet, where all are judged on disk, the newest that count."""
    learn_customer_corrections: bool = False
    """Whether a correction of somebody without a staff key is a reply to learn from: anybody could write anything."""
    max_share_per_rater: float = Field(0.2, gt=0, le=1)
    """Share of the total weight that one named rater may have; anonymous ratings are not one rater."""
    max_weight_per_rater: float = Field(50.0, gt=0)
    """The same in weight, for customers; who reviews has a key, and may rate more."""
    max_share_per_origin: float = Field(1.0, gt=0, le=1)
    """Of what came through one web page or key. Bounds every shop that has two of very different size: 1 is off."""
    max_weight_per_origin: float = Field(5_000.0, gt=0)
    max_share_per_tenant: float = Field(1.0, gt=0, le=1)
    max_weight_per_tenant: float = Field(10_000.0, gt=0)
    max_share_anonymous: float = Field(0.5, gt=0, le=1)
    """Of all anonymous ratings together, beyond what `anonymous_allowance` allows them anyway."""
    max_weight_anonymous: float = Field(1_000.0, gt=0)
    anonymous_allowance: float = Field(200.0, ge=0)
    max_weight_per_text: float = Field(20.0, gt=0)
    """Of all thumbs of one kind on the same reply, whoever gave them, and whatever was asked."""
    max_weight_per_rater_and_text: float = Field(2.0, gt=0)
    """The same of one customer: who likes one reply to everything wants something."""
    max_group_weight: float = Field(0.5, gt=0)
    """Of accounts all but whose every rating has a word or a thumb that others' seldom have, in what as many other
    accounts weigh that have rated more than once; as much as one of them anyway."""
    min_accounts_per_word: int = Field(5, ge=1)
    """Customers who must have said a word before it is learned from, if no author of the pack has written it; otherwise
    it is left out. 1, and no share: all words are learned from."""
    min_share_of_accounts_per_word: float = Field(0.05, ge=0, le=1)
    """The same as a share of all customers; the larger number holds."""
    max_share_implicit: float = Field(0.25, gt=0, le=1)
    """Of everything that was concluded from what people did who gave no thumb."""
    regeneration_weight: float = Field(0.3, ge=0, le=1)
    """Of a reply that was asked for again (as a thumb down), and of the one that was kept (as a thumb up)."""
    hand_over_weight: float = Field(0.2, ge=0, le=1)
    """Of the reply after which a person was asked for, as a thumb down."""
    repeat_weight: float = Field(0.2, ge=0, le=1)
    """Of the reply after which the customer said the same again, as a thumb down."""
    max_turns: int = Field(50_000, ge=0)
    """Replies, the newest, that are looked through for these."""
    expected_reliability: float = Field(0.8, gt=0.5, lt=1)
    """How often a rater is taken to be right of whom nothing is known."""
    reliability_strength: float = Field(10.0, gt=0)
    """How many ratings that expectation is worth."""
    flood_ratings_per_day: int = Field(60, ge=2)
    """More ratings of one customer within 24 hours are set aside, all of them."""
    burst_ratings_per_minute: int = Field(20, ge=2)
    """As above, within a minute."""
    copied_remark_raters: int = Field(3, ge=2)
    """So many customers with the same remark or correction, word for word, are taken for one."""
    poison_phrases: tuple[str, ...] = ()
    """Ratings with one of these in question, remark or correction are set aside."""
    validation_share: float = Field(0.15, gt=0, lt=0.5)
    test_share: float = Field(0.15, gt=0, lt=0.5)
    """The newest conversations."""
    correction_weight: float = Field(2.0, ge=0)


class RewardConfig(Section):
    """The reward model, and the terms around its score."""

    lr: float = Field(2e-4, gt=0)
    num_epochs: int = Field(4, ge=1)
    min_steps: int = Field(1, ge=1)
    """Passes go on until so many batches were learned from: few ratings are few batches."""
    batch_size: int = Field(32, ge=2)
    contrast_share: float = Field(0.25, ge=0, lt=0.5)
    """Share of authored contrasts (a good reply and a bad one to the same ask) in what an epoch learns from, and their
    weight in the loss: always less than people's thumbs. 0: thumbs alone."""
    num_heads: int = Field(5, ge=1, le=64)
    """Heads of the ensemble; each learns from a bootstrap sample of the ratings."""
    pessimism: float = Field(0.5, ge=0)
    """Standard deviations over the heads that are taken off a reply's score when a policy learns from it."""
    overlap_weight: float = Field(0.2, ge=0)
    """Weight of BLEU/ROUGE against corrections and references, where they exist."""
    unsafe_penalty: float = Field(1.0, ge=0)
    empty_penalty: float = Field(1.0, ge=0)
    overlong_penalty: float = Field(0.5, ge=0)
    repetition_penalty: float = Field(0.5, ge=0)
    improper_ending_penalty: float = Field(0.5, ge=0)
    wrong_plan_penalty: float = Field(0.5, ge=0)
    """For setting out to answer something else than an authored prompt asks; what a person asked nobody knows."""
    off_plan_penalty: float = Field(0.5, ge=0)
    """For words that are not those of the plan which a reply opens with; 0 also spares learning the plans' words."""
    flattery_penalty: float = Field(0.3, ge=0)
    """For praise of the customer: thumbs alone teach it."""
    bias_penalty: float = Field(1.0, ge=0)
    """For speaking of, or assuming, a group that the customer belongs to."""
    hand_over_penalty: float = Field(0.3, ge=0)
    """For no person where one is asked for; half of it for a planned hand-over that nobody asked for."""


class QLearningConfig(Section):
    """Implicit language Q-learning: the critic, and how the policy is drawn from it."""

    lr: float = Field(2e-4, gt=0)
    """Of the critic."""
    num_epochs: int = Field(4, ge=1)
    """The critic's passes over the ratings; the policy's own come after them."""
    expectile: float = Field(0.7, ge=0.5, lt=1)
    """0.5: values are means of what was seen; towards 1 of the best of it."""
    discount: float = Field(1.0, gt=0, le=1)
    trace: float = Field(0.95, ge=0, le=1)
    """How far ahead a token's target looks: 0 to the next state's value, 1 to the rating."""
    conservative_weight: float = Field(0.1, ge=0)
    polyak: float = Field(0.05, gt=0, le=1)
    """How much of the way the slow copies of Q go each step."""
    advantage_scale: float = Field(8.0, gt=0)
    """β: nats by which an advantage of one whole thumb shifts a token."""
    extraction: Literal["distill", "regress"] = "distill"
    """distill: the policy imitates its reference with logits shifted by β (Q - V). regress: it imitates the completions
    that were rated, each token by exp(β (Q - V))."""


class PolicyConfig(Section):
    """How the policy is moved towards the reward."""

    algorithm: Literal["rloo", "grpo", "kto", "filtered", "ilql"] = "rloo"
    """rloo, grpo: policy gradient on rollouts, each with the advantage of its paper. The others learn from the ratings
    themselves. kto: all of them. filtered: supervised, the best of the liked ones. ilql: Q-learning."""
    adapter: Literal["none", "lora", "ia3"] = "none"
    """Learn few parameters beside the frozen ones instead of all; they are merged before anything reads the policy."""
    lora_rank: int = Field(8, ge=1)
    lr: float = Field(1e-4, gt=0)
    """With an adapter use about ten times as much."""
    kl_coefficient: float = Field(0.05, ge=0)
    """Policy gradient: weight of the KL penalty in nats a completion, in the first step."""
    kto_beta: float = Field(2.0, gt=0)
    """KTO: what a rated reply's log-ratio is multiplied by before the sigmoid. Within a KL limit of a few nats a high
    one pays, for it stops pushing a reply after few nats: with 0.5 the same thumbs cost more KL and win less."""
    target_kl: float | None = Field(1.0, gt=0)
    """Policy gradient: the KL that the coefficient is adapted to, in nats a completion. None: it stays as it is."""
    kl_gain: float = Field(0.1, ge=0)
    """How fast it is adapted: a step changes it by a fifth of this share at most."""
    replay_share: float = Field(0.2, ge=0, lt=1)
    """Share of authored replies beside the completions of an update, and the weight of their loss: against forgetting.
    0: none."""
    num_steps: int = Field(24, ge=1)
    """Policy gradient: rollout steps. KTO: ignored."""
    prompts_per_step: int = Field(16, ge=1)
    samples_per_prompt: int = Field(4, ge=2)
    updates_per_step: int = Field(2, ge=1)
    clip_range: float = Field(0.2, gt=0)
    ratio: Literal["token", "completion"] = "token"
    """Policy gradient: what is clipped, each token's probability ratio or that of the whole completion."""
    num_epochs: int = Field(1, ge=1)
    """On ratings: passes over them. Policy gradient: ignored."""
    min_steps: int = Field(24, ge=1)
    """On ratings: passes go on until so many batches were learned from. Policy gradient: ignored."""
    batch_size: int = Field(32, ge=2)
    filtered_share: float = Field(0.75, gt=0, le=1)
    """filtered: share of the replies rated up that is imitated, those that score best."""
    q_learning: QLearningConfig = QLearningConfig()
    max_kl: float = Field(3.0, gt=0)
    """Nats a completion; a policy that ends beyond it walks back towards its reference until it is within."""
    max_completion_tokens: int = Field(96, ge=4)
    temperature: float = Field(1.0, gt=0)
    max_minutes: float = Field(6.0, gt=0)


class GateConfig(Section):
    """What a candidate must hold on prompts that feedback cannot touch."""

    num_prompts: int = Field(400, ge=10)
    """At most; half of the pack's held-out asks are the gate's, and there may be fewer."""
    min_replies_per_prompt: int = Field(4, ge=1)
    """So many are drawn to each prompt anyway, where `max_replies_per_prompt` allows: words that are kept to authors'
    phrases change so little that one would do for them, and leave liking to the draw. Where there are fewer than
    `num_prompts`, more to each, so that there are as many replies."""
    max_replies_per_prompt: int = Field(8, ge=1)
    """Replies are drawn until the change in wording is known precisely enough for `max_ability_loss`, or up to this."""
    min_win_rate_lower_bound: float = Field(0.47, ge=0, le=1)
    """That the candidate is preferred less often must be ruled out. With 400 prompts the standard error is 1.1 points:
    one time in five, a candidate that is liked no less than its base is held back."""
    min_gold_gain: float = Field(0.0, ge=-1, le=1)
    """What the independent judge likes of replies that are sound by every authored check must have grown by more."""
    min_gold_auc_lower_bound: float = Field(0.5, ge=0, lt=1)
    """How likely what thumbs teach must at least call a reply better that the staff calls good than one that it calls
    bad: the lower end of the 95 % interval must lie above. A half is what a coin gets."""
    min_gold_replies: int = Field(8, ge=2)
    """Good ones and bad ones, each, without which that is not asked: an interval of fewer says nothing."""
    requires_gold: bool = False
    """Whether a candidate is refused while there are fewer. If not, thumbs that are all turned round go unnoticed."""
    max_perplexity_ratio: float = Field(1.05, gt=0)
    min_length_ratio: float = Field(0.8, gt=0)
    max_length_ratio: float = Field(1.15, gt=0)
    min_distinct2_ratio: float = Field(0.6, ge=0)
    min_proper_endings: float = Field(0.95, ge=0, le=1)
    min_slot_faithfulness: float = Field(1.0, ge=0, le=1)
    """Share of replies whose placeholders are all known ones, and given ones."""
    max_kl: float = Field(3.0, gt=0)
    max_ability_loss: float = Field(0.03, ge=0)
    """By how much right plans, fitting wordings and replies in the customer's language may each be fewer, as a share of
    replies: the 95 % interval of the paired difference must rule out more."""
    max_extra_violations: float = Field(0.01, ge=0, le=1)
    """Share of replies that may break a safety rule, make up a number, flatter or be biased beyond the base's."""
    max_fairness_loss: float = Field(0.01, ge=0, le=1)
    """By how much more counterfactual swaps (names, genders, languages …) may change the opinion about the plan than
    they change the base's: the 95 % interval of the paired difference must rule out more."""
    total_allowance: float = Field(2.0, ge=1)
    """All versions since the first of their line together may lose this many times what one may; ratios to this
    power."""
    first_version: str = Field("", pattern="^([0-9a-f]{8,64})?$")
    """Digest, or its beginning, of the version that the counting begins with; "": the oldest ancestor on the shelf."""
    max_extra_delicate_failures: int = Field(1, ge=0)
    """Delicate cases among the held-out asks that may be answered badly beyond the base's."""
    max_new_failures: int = Field(0, ge=0)
    """Must-pass scenarios whose reply may do harm that the base's did not."""
    max_newly_off_topic: int = Field(2, ge=0)
    """Must-pass scenarios that may get a wrong plan where the base's was right, without harm: the bot answers something
    else, or asks."""
    min_top1_agreement: float = Field(0.98, ge=0, le=1)
    """Share of tokens on which the served eight-bit graph and the float32 one agree; the export has a bound of its own,
    which is never loosened."""
    max_quantized_perplexity_ratio: float = Field(1.02, gt=0)
    max_latency_ratio: float = Field(1.10, gt=0)
    """Median time of the served graph over the base's, on the same tokens."""
    waived_rules: tuple[str, ...] = ()
    """Rules by name that may pass although they could not be measured; all others are then refused."""
    min_effective_conversations: float = Field(30.0, ge=1)
    """Conversations that the ratings on record must be worth before they tell how a candidate will be liked."""
    alias: Literal["stable", "candidate"] = "stable"
    """Which alias an accepted version gets."""


class CanaryConfig(Section):
    """When a candidate that answers beside the stable version becomes the stable one, or goes."""

    alpha: float = Field(0.05, gt=0, lt=0.5)
    """Probability of a wrong decision, however often thumbs are looked at: half of it of a wrong promotion."""
    min_gain: float = Field(0.0, gt=-1, lt=1)
    """Promoted when its share of thumbs up is surely above the stable version's by more than this, rolled back when
    surely below. Negative: that much worse is still good enough."""
    min_ratings: int = Field(30, ge=2)
    """Ratings of either version without which nothing is promoted."""
    max_ratings_per_rater: int = Field(3, ge=1)
    """Of a named rater, about one version; of a conversation one rating counts anyway."""
    surge_ratings: int = Field(50, ge=10)
    """Ratings of the candidate in which a surge of thumbs down is looked for, by themselves."""
    max_extra_unsafe: float = Field(0.01, ge=0, lt=1)
    """Share of conversations with a reply that breaks a safety rule, beyond the stable version's."""
    max_latency_ratio: float = Field(1.25, ge=1)
    """Median time to a whole reply over the stable version's; slower, it is not promoted."""
    visible_gain: float = Field(0.03, gt=0, lt=1)
    """For a gain of this size the judge says how many ratings are missing."""
    planned_share: float = Field(0.1, gt=0, lt=1)
    """Share of conversations that is assumed for that while the candidate has no ratings: SERVICE_CANARY_SHARE."""


class ExportConfig(Section):
    """How the served graph stores its weights."""

    weights: WeightFormat = "int8_static"
    """float32 is for models too small to stand rounding, such as those of the tests; int8_block64, with activations as
    they are, for those that integers lose more of than is allowed."""


class TrainingConfig(Section):
    """Everything a run depends on besides its data."""

    name: str = "rejoinder-shop"
    seed: int = 1
    num_threads: int = Field(2, ge=1)
    """Of each process."""
    precision: Literal["fastest", "float32"] = "fastest"
    """fastest: bfloat16 where the processor multiplies it in hardware. float32: everywhere the same, so that several
    processes give what one gives."""
    model: ModelConfig = ModelConfig()
    corpus: CorpusConfig = CorpusConfig()
    plan_teacher: PlanTeacherConfig = PlanTeacherConfig()
    message_summary: MessageSummaryConfig = MessageSummaryConfig()
    pretrain: LanguageModelConfig | None = None
    finetune: LanguageModelConfig | None = None
    """Without both, the bundle that `model.start_from` names goes on learning: it keeps its n-grams and is polished."""
    polish: LanguageModelConfig | None = None
    """A second fine-tuning, on sources of its own."""
    pruning: PruningConfig | None = None
    """Make the bundle that goes on learning smaller before it is polished: `python -m training prune`."""
    lengthening: LengtheningConfig | None = None
    """Let the bundle that `model.start_from` names read long conversations: `python -m training lengthen`."""
    feedback: FeedbackConfig = FeedbackConfig()
    reward: RewardConfig = RewardConfig()
    policy: PolicyConfig = PolicyConfig()
    gate: GateConfig = GateConfig()
    canary: CanaryConfig = CanaryConfig()
    export: ExportConfig = ExportConfig()

    @model_validator(mode="after")
    def _check_summary(self) -> "TrainingConfig":
        if self.model.message_summary and not self.corpus.num_generated_asks:
            raise ValueError("message_summary is learned from generated asks: set corpus.num_generated_asks")
        if self.model.start_from is not None and not self.model.message_summary:
            raise ValueError("model.start_from is for networks with a message summary: set model.message_summary")
        return self

    @model_validator(mode="after")
    def _check_stages(self) -> "TrainingConfig":
        if (self.pretrain is None) != (self.finetune is None):
            raise ValueError("pretrain and finetune belong together: set both, or neither to go on from a bundle")
        if self.pretrain is None and self.polish is not None and self.model.start_from is None:
            raise ValueError("polish without pretrain and finetune goes on from a bundle: set model.start_from")
        if self.pretrain is None and self.polish is not None:
            return self
        if self.pruning is not None:
            raise ValueError("pruning is for a bundle that goes on learning: set polish, without pretrain and finetune")
        tuned = [stage for stage in (self.pretrain, self.finetune, self.polish) if stage is not None]
        if any(stage.distillation_share for stage in tuned):
            raise ValueError("distillation_share is for the polish of a bundle, without pretrain and finetune")
        return self

    @property
    def makes_base(self) -> bool:
        """Whether any stage is set up that trains the network, as it is."""
        return (self.finetune is not None or self.polish is not None) and self.pruning is None

    @property
    def goes_on_from(self) -> Path | None:
        """The bundle that is only polished, where the configuration says so."""
        return self.model.start_from if self.finetune is None else None

    @property
    def digest(self) -> str:
        """sha256 of the canonical JSON form."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def load_config(path: Path) -> TrainingConfig:
    """Reads a YAML configuration. Raises InvalidConfigError naming the field."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        return TrainingConfig.model_validate(data)
    except (OSError, yaml.YAMLError) as error:
        raise InvalidConfigError(path=path, problem=error) from error
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3])
        raise InvalidConfigError(path=path, problem=problems) from error
