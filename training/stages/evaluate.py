"""The stage that measures base and candidate on held-out prompts that feedback cannot touch. Deciding: `gate`."""

import json
from collections.abc import Sequence
from pathlib import Path

from model_store.contract.tokenizer import Tokenizer
from training import distributed
from training.config import TrainingConfig
from training.data.domain_pack import DomainPack, load_pack
from training.data.feedback_rows import Example, read_examples, read_export
from training.evaluation.foresight.logged_replies import read_logged, weigh
from training.evaluation.foresight.off_policy import estimate
from training.evaluation.held_out import SampledReply, Sampling, known_phrases
from training.evaluation.judge import pack_judge
from training.evaluation.paired_replies import Precision
from training.evaluation.reporting.gate_report import SinceFirst
from training.evaluation.risks.thumbs_on_gold import measure_thumbs_on_gold, read_gold
from training.evaluation.scorecard import Comparison, Measurement, compare
from training.evaluation.thumbs_judge import ThumbsJudge, independent_examples
from training.reformer.heads import RewardModel
from training.reformer.model import ReformerPolicy, load_policy
from training.stages.curate import EXAMPLES_NAME, GOLD_REPLIES_NAME
from training.stages.snapshot import BASE_NAME, FIRST_NAME, SNAPSHOT_NAME
from training.workspace import StageResult, Workspace

SCORECARD_NAME = "scorecard.json"
SINCE_FIRST_NAME = "since_first.json"
REPLIES_NAME = "held_out_replies.jsonl"
OFF_POLICY_NAME = "off_policy.json"
POLICY_NAME = "policy"
REWARD_MODEL_NAME = "reward_model"
_POWER = 1.96 + 0.84
"""Standard errors in an allowed loss: a candidate as good as its base is then held back one time in five, by chance."""


def run(config: TrainingConfig, workspace: Workspace) -> StageResult:
    """Writes `scorecard.json`, and both policies' replies side by side for people; the result is the scorecard.

    Where the base is not the first version of its line, `since_first.json` holds the candidate against that one.
    """
    base_directory = workspace.path(BASE_NAME)
    examples = list(read_examples(workspace.path(EXAMPLES_NAME)))
    pack, tokenizer = load_pack(config.corpus.domain_pack), Tokenizer.load(base_directory / "tokenizer.json")
    measurement = Measurement(
        pack=pack,
        tokenizer=tokenizer,
        intent_judge=pack_judge(config.corpus.domain_pack),
        thumbs_judge=ThumbsJudge(independent_examples(examples)),
        num_prompts=config.gate.num_prompts,
        precision=Precision(
            config.gate.max_ability_loss / _POWER,
            config.gate.max_replies_per_prompt,
            config.gate.min_replies_per_prompt,
            min_replies=config.gate.min_replies_per_prompt * config.gate.num_prompts,
        ),
        sampling=Sampling(
            max_new_tokens=max(config.policy.max_completion_tokens, longest_reply(pack, tokenizer)), seed=config.seed
        ),
    )
    candidate = _as_served(workspace.path(POLICY_NAME), workspace)
    comparison = compare(_as_served(base_directory, workspace), candidate, measurement)
    _compare_with_first(workspace, candidate, comparison, measurement)
    on_gold = measure_thumbs_on_gold(examples, read_gold(workspace.path(GOLD_REPLIES_NAME)), seed=config.seed)
    scorecard = comparison.scorecard.model_copy(update={"thumbs_on_gold": on_gold})
    workspace.write_text(REPLIES_NAME, _side_by_side(comparison))
    workspace.write_text(SCORECARD_NAME, scorecard.model_dump_json(indent=1) + "\n")
    estimate_off_policy(config, workspace, independent_examples(examples))
    return scorecard.model_dump(mode="json")


def _compare_with_first(
    workspace: Workspace, candidate: ReformerPolicy, comparison: Comparison, measurement: Measurement
) -> None:
    taken = workspace.result("snapshot") or {}
    if taken.get("first_version") is None:
        return
    first = _as_served(workspace.path(FIRST_NAME), workspace)
    found = SinceFirst(
        digest=taken["first_version"],
        num_versions=1 + int(taken["versions_since_first"]),
        scorecard=compare(first, candidate, measurement, comparison.drawn).scorecard,
    )
    workspace.write_text(SINCE_FIRST_NAME, found.model_dump_json(indent=1) + "\n")


def longest_reply(pack: DomainPack, tokenizer: Tokenizer) -> int:
    """Tokens of the longest authored reply, with its plan and its end.

    Rollouts may be cut shorter; here a whole reply that is cut would be called a bad one.
    """
    return 2 + max(len(tokenizer.encode(reply)) for intent in pack.intents for reply in intent.every_reply)


def _as_served(directory: Path, workspace: Workspace) -> ReformerPolicy:
    """A policy kept to the phrases that the base knows; corrections of this run join when the candidate is exported."""
    policy = load_policy(directory)
    policy.phrases = known_phrases(workspace.path(BASE_NAME), policy)
    return policy


def estimate_off_policy(config: TrainingConfig, workspace: Workspace, held_back: Sequence[Example]) -> None:
    """Writes `off_policy.json`: what ratings on record, held back from training, say about the candidate.

    Writes none where no rating says anything, or a run has no reward model.
    """
    if distributed.is_first():
        workspace.path(OFF_POLICY_NAME).unlink(missing_ok=True)
    policy = _as_served(workspace.path(POLICY_NAME), workspace)
    replies = read_logged(
        read_export(workspace.path(SNAPSHOT_NAME)),
        Tokenizer.load(workspace.path(BASE_NAME) / "tokenizer.json"),
        {example.conversation_id for example in held_back},
        max_positions=int(policy.config.max_position_embeddings) - config.policy.max_completion_tokens,
    )
    if not replies or not workspace.path(REWARD_MODEL_NAME).exists():
        return
    weighed = weigh(
        replies,
        policy,
        RewardModel.load(workspace.path(REWARD_MODEL_NAME)),
        max_new_tokens=config.policy.max_completion_tokens,
        seed=config.seed,
    )
    found = estimate(weighed, min_effective_conversations=config.gate.min_effective_conversations, seed=config.seed)
    workspace.write_text(OFF_POLICY_NAME, found.model_dump_json(indent=1) + "\n")


def _side_by_side(comparison: Comparison) -> str:
    pairs = zip(comparison.base_replies, comparison.candidate_replies, strict=True)
    return "".join(json.dumps(_pair(base, candidate), ensure_ascii=False) + "\n" for base, candidate in pairs)


def _pair(base: SampledReply, candidate: SampledReply) -> dict[str, str]:
    ask = base.prompt.messages[-1].content
    return {"intent": base.prompt.intent, "ask": ask, "base": base.text, "candidate": candidate.text}
