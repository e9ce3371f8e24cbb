"""TRL's rows in `make bench-learning`: TRL sees our network as it is, and its trainers teach it."""

from pathlib import Path

import pytest
import torch

from model_store.contract.control_tokens import PAD_ID
from model_store.contract.tokenizer import Tokenizer
from tests.benchmarks.learning.presets import OF_TRL
from tests.benchmarks.learning.trl_policy import TrlPolicy, load_trl_policy, spelled, spelling_tokenizer
from tests.unit.stages.learning_workspace import ASKS, make_config, make_workspace
from training.reformer.heads import RewardModel, pad_right
from training.reformer.model import load_policy
from training.rlhf.losses import gather_logprobs
from training.workspace import Workspace

NOTE = "TRL is not installed (pip install -e '.[trl]'): its rows are not run"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A tiny base policy of random weights, eighty thumbs and a reward model of random taste."""
    workspace = make_workspace(tmp_path, make_config(), num_rows=80)
    reward_model = RewardModel(load_policy(workspace.path("base")))
    torch.nn.init.normal_(reward_model.head.weight)  # a fresh one scores everything alike, which teaches nothing
    reward_model.save(workspace.path("reward_model"))
    return workspace


def _trl_policy(workspace: Workspace) -> TrlPolicy:
    return load_trl_policy(workspace.path("base"), workspace.path("trl-base"))


def _rows(workspace: Workspace) -> list[list[int]]:
    tokenizer = Tokenizer.load(workspace.path("base") / "tokenizer.json")
    return [tokenizer.encode(ask) for ask in ASKS]


@torch.no_grad()
def test_padding_on_the_left_changes_no_state(workspace: Workspace) -> None:
    """Rows of three lengths with one to four pads before and two behind: our states, at the places of their tokens."""
    policy, ours = _trl_policy(workspace), load_policy(workspace.path("base"))
    for number, row in enumerate(_rows(workspace), 1):
        token_ids = torch.tensor([[PAD_ID] * number + row + [PAD_ID] * 2])
        mask = torch.tensor([[0] * number + [1] * len(row) + [0] * 2])
        found = policy.base_model(token_ids, attention_mask=mask, use_cache=False).last_hidden_state
        assert torch.allclose(found[:, number : number + len(row)], ours.encode(torch.tensor([row])), atol=1e-5)


def test_any_token_ids_survive_being_text() -> None:
    """Control tokens, plans and ids that no text would give in this order; an end or a pad is one id as well."""
    tokenizer = spelling_tokenizer(600)
    token_ids = [1, 4, 599, 599, 0, 200, 128, 17, 2]
    assert tokenizer(spelled(token_ids))["input_ids"] == token_ids
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)


@torch.no_grad()
def test_trl_scores_tokens_as_we_do_with_its_policy_and_its_reference(workspace: Workspace) -> None:
    """By its own head on our states, in the policy that it is given and in the reference that it makes from a path."""
    trl = pytest.importorskip("trl.trainer.utils", reason=NOTE, exc_type=ImportError)
    policy = _trl_policy(workspace)
    token_ids, lengths = pad_right(_rows(workspace))
    mask = torch.arange(token_ids.shape[1])[None] < lengths[:, None]
    ours = load_policy(workspace.path("base"))
    wanted = gather_logprobs(ours.token_logits(ours.encode(token_ids))[:, :-1], token_ids[:, 1:]) * mask[:, 1:]
    for model in (policy, trl.create_model_from_path(trl.get_config_model_id(policy.config))):
        trl.add_fused_lm_head(model)
        labels = token_ids.masked_fill(~mask, -100)
        found = model(input_ids=token_ids, attention_mask=mask.long(), labels=labels, fused_lm_head=True).log_probs
        assert isinstance(model, TrlPolicy) and torch.allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("algorithm", sorted(OF_TRL.values()))
def test_trls_trainers_teach_our_policy(workspace: Workspace, algorithm: str) -> None:
    """A few steps of each on the tests' thumbs: what is saved is our policy, moved, and its KL is measured."""
    for library in ("trl", "datasets"):
        pytest.importorskip(library, reason=NOTE, exc_type=ImportError)
    from tests.benchmarks.learning import trl_learning

    config = make_config(
        corpus={"domain_pack": "card_desk"}, policy={"algorithm": algorithm, "min_steps": 4, "num_steps": 2}
    )
    result = trl_learning.run(config, workspace)
    before, after = (load_policy(workspace.path(name)).state_dict() for name in ("base", "policy"))
    moved = {name for name, weights in after.items() if not torch.equal(weights, before[name])}
    assert result["num_steps"] == 4 and result["kl"] > 1e-4
    assert "lm_head.decoder.weight" in moved and "lm_head.decoder.bias" not in moved
