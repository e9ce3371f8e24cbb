"""Logged replies: what a candidate's serving distribution makes of them, and which of them tell nothing."""

import json

import numpy as np
import pytest

from model_store.contract.conversation import Message
from model_store.contract.manifest import Architecture
from model_store.contract.tokenizer import Tokenizer
from model_store.sampling import OPENING_MIN_P
from tests.unit.stages.feedback_workspace import clear_policy, make_tokenizer, raw_row
from training.data.prompts import build_prompt
from training.evaluation.foresight.logged_replies import read_logged, served_logprobs, weigh
from training.reformer.config import architecture_of
from training.reformer.decoder import sample_completions
from training.reformer.heads import RewardModel
from training.reformer.model import ReformerPolicy

TEMPERATURE, TOP_P = 0.7, 0.9


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """The shop's words."""
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer") / "tokenizer.json")


@pytest.fixture(scope="module")
def policy(tokenizer: Tokenizer) -> ReformerPolicy:
    """One that has learned which token follows which."""
    shape = Architecture(
        hidden_size=32,
        attn_layers=("local", "lsh"),
        num_attention_heads=2,
        attention_head_size=16,
        feed_forward_size=32,
        vocab_size=tokenizer.vocab_size,
        max_positions=128,
        local_chunk_length=32,
    )
    return clear_policy(shape, seed=1)


def drawn_rows(policy: ReformerPolicy, tokenizer: Tokenizer, number: int) -> list[dict[str, str | None]]:
    """Rows as the service logs them, drawn from a policy."""
    row = raw_row()
    prompts = [build_prompt([_message(row)], tokenizer)] * number
    samples = sample_completions(
        policy,
        [prompt.token_ids for prompt in prompts],
        banned_ids=[prompt.banned_ids for prompt in prompts],
        opening_ids=[prompt.opening_ids for prompt in prompts],
        temperature=TEMPERATURE,
        top_p=TOP_P,
        opening_min_p=OPENING_MIN_P,
        max_new_tokens=6,
        seed=3,
    )
    return [
        raw_row(
            index,
            completion_token_ids=json.dumps(sample.token_ids),
            token_logprobs=json.dumps(sample.logprobs),
            sampling=json.dumps({"temperature": TEMPERATURE, "top_p": TOP_P}),
            rating="up" if index % 2 else "down",
        )
        for index, sample in enumerate(samples)
    ]


def _message(row: dict[str, str | None]) -> Message:
    return Message.from_dict(json.loads(str(row["prompt_messages"]))[0])


def conversations(rows: list[dict[str, str | None]]) -> set[str]:
    return {str(row["conversation_id"]) for row in rows}


def test_a_policy_gives_its_own_draws_the_probability_that_was_logged(
    policy: ReformerPolicy, tokenizer: Tokenizer
) -> None:
    """All weights are 1: bans, openings, temperature and nucleus are those of the sampler."""
    rows = drawn_rows(policy, tokenizer, 24)
    replies = read_logged(rows, tokenizer, conversations(rows), max_positions=128)
    assert len(replies) == 24
    assert served_logprobs(policy, replies) == pytest.approx([reply.logprob for reply in replies], abs=1e-4)
    weighed = weigh(replies, policy, RewardModel(policy), max_new_tokens=4, seed=1)
    assert weighed.weights == pytest.approx(np.ones(24), abs=1e-3)
    assert weighed.ups.tolist() == [0.0, 1.0] * 12
    assert weighed.predicted == pytest.approx(np.full(24, 0.5)) and weighed.expected == pytest.approx(np.full(24, 0.5))


def test_another_policy_would_not_have_said_most_of_it(policy: ReformerPolicy, tokenizer: Tokenizer) -> None:
    """What a policy with other habits cannot draw weighs nothing."""
    rows = drawn_rows(policy, tokenizer, 24)
    replies = read_logged(rows, tokenizer, conversations(rows), max_positions=128)
    other = clear_policy(Architecture.model_validate(_shape(policy)), seed=2)
    weights = np.exp(np.array(served_logprobs(other, replies)) - np.array([reply.logprob for reply in replies]))
    assert (weights == 0).mean() > 0.5


def _shape(policy: ReformerPolicy) -> dict[str, object]:
    return architecture_of(policy.config).model_dump()


@pytest.mark.parametrize(
    "changes",
    [
        {"sampling": '{"temperature":0,"top_p":1}'},
        {"sampling": '{"temperature":0.7,"top_k":5}'},
        {"sampling": '{"temperature":0.7,"repetition_penalty":1.2}'},
        {"sampling": '{"rule":"crisis"}', "completion_token_ids": "[]", "token_logprobs": "[]"},
        {"sampling": "nonsense"},
        {"token_logprobs": "[-0.5]"},
        {"completion_token_ids": "[300,99999999,2]"},
        {"rater": "staff_1"},
    ],
)
def test_what_tells_nothing_about_other_models_is_left_out(tokenizer: Tokenizer, changes: dict[str, str]) -> None:
    """Greedy, penalised, fixed, broken, foreign, or rated by the staff."""
    assert len(read_logged([raw_row(0)], tokenizer, {"conv-0"}, max_positions=128)) == 1
    assert read_logged([raw_row(0, **changes)], tokenizer, {"conv-0"}, max_positions=128) == []


def test_only_conversations_that_were_held_back_are_read(tokenizer: Tokenizer) -> None:
    """The candidate has learned from the others: by those it would look better than it is."""
    rows = [raw_row(number) for number in range(4)]
    found = read_logged(rows, tokenizer, {"conv-1", "conv-3"}, max_positions=128)
    assert [reply.conversation_id for reply in found] == ["conv-1", "conv-3"]
    assert read_logged(rows, tokenizer, {"conv-1"}, max_positions=4) == []


def test_a_plan_that_a_rule_settled_does_not_count(policy: ReformerPolicy, tokenizer: Tokenizer) -> None:
    """The rule would settle the candidate's as well: its first token weighs one."""
    (row,) = drawn_rows(policy, tokenizer, 1)
    pinned = {**row, "sampling": json.dumps({"temperature": TEMPERATURE, "top_p": TOP_P, "is_plan_pinned": True})}
    (free,) = read_logged([row], tokenizer, {"conv-0"}, max_positions=128)
    (settled,) = read_logged([pinned], tokenizer, {"conv-0"}, max_positions=128)
    first = json.loads(str(row["token_logprobs"]))[0]
    (without,) = served_logprobs(policy, [settled])
    assert without == pytest.approx(served_logprobs(policy, [free])[0] - first, abs=1e-4)
