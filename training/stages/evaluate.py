"""The stage that measures base and candidate on held-out prompts that feedback cannot touch. Deciding: `gate`."""

import json

from model_store.contract.tokenizer import Tokenizer
from training.config import TrainingConfig
from training.data.domain_pack import load_pack
from training.data.feedback_rows import read_examples
from training.evaluation.held_out import SampledReply, Sampling
from training.evaluation.judge import pack_judge
from training.evaluation.paired_replies import Precision
from training.evaluation.scorecard import Comparison, Measurement, compare
from training.evaluation.thumbs_judge import ThumbsJudge, independent_examples
from training.reformer.model import load_policy
from training.stages.curate import EXAMPLES_NAME
from training.stages.snapshot import BASE_NAME
from training.workspace import StageResult, Workspace

SCORECARD_NAME = "scorecard.json"
REPLIES_NAME = "held_out_replies.jsonl"
POLICY_NAME = "policy"
_POWER = 1.96 + 0.84
"""Standard errors in an allowed loss: a candidate as good as its base is then held back one time in five, by chance."""


def run(config: TrainingConfig, workspace: Workspace) -> StageResult:
    """Writes `scorecard.json`, and both policies' replies side by side for people; the result is the scorecard."""
    base_directory = workspace.path(BASE_NAME)
    examples = list(read_examples(workspace.path(EXAMPLES_NAME)))
    measurement = Measurement(
        pack=load_pack(config.corpus.domain_pack),
        tokenizer=Tokenizer.load(base_directory / "tokenizer.json"),
        intent_judge=pack_judge(config.corpus.domain_pack),
        thumbs_judge=ThumbsJudge(independent_examples(examples)),
        num_prompts=config.gate.num_prompts,
        precision=Precision(config.gate.max_ability_loss / _POWER, config.gate.max_replies_per_prompt),
        sampling=Sampling(max_new_tokens=config.policy.max_completion_tokens, seed=config.seed),
    )
    comparison = compare(load_policy(base_directory), load_policy(workspace.path(POLICY_NAME)), measurement)
    workspace.write_text(REPLIES_NAME, _side_by_side(comparison))
    workspace.write_text(SCORECARD_NAME, comparison.scorecard.model_dump_json(indent=1) + "\n")
    return comparison.scorecard.model_dump(mode="json")


def _side_by_side(comparison: Comparison) -> str:
    pairs = zip(comparison.base_replies, comparison.candidate_replies, strict=True)
    return "".join(json.dumps(_pair(base, candidate), ensure_ascii=False) + "\n" for base, candidate in pairs)


def _pair(base: SampledReply, candidate: SampledReply) -> dict[str, str]:
    ask = base.prompt.messages[-1].content
    return {"intent": base.prompt.intent, "ask": ask, "base": base.text, "candidate": candidate.text}
