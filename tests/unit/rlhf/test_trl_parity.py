"""KTO's and RLOO's losses beside TRL's own code, to four digits; without TRL the losses are skipped, visibly.

TRL has no loss that can be called with numbers: `_compute_loss` of its trainers is run on a stand-in for the trainer
that hands it our log-probabilities. RLOO's advantages have no function of their own at all, so they are held to the
formula that `RLOOTrainer._generate_and_score_completions` has (TRL 1.16), written out below.
"""

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from training.rlhf.advantages import rloo, whiten
from training.rlhf.losses import clipped_completion_loss, clipped_policy_loss, kto_loss, sequence_sum

NOTE = "TRL is not installed (pip install trl): KTO's and RLOO's losses are not compared with its own"
LENGTHS = (3, 5, 1, 4, 2, 5)
NUM_PROMPT_TOKENS = 2


class OneProcess:
    """An accelerator with nothing to gather."""

    device = torch.device("cpu")

    @staticmethod
    def gather_for_metrics(values: Tensor) -> Tensor:
        return values

    gather = gather_for_metrics

    @staticmethod
    def reduce(values: Tensor, reduction: str = "sum") -> Tensor:
        return values


@pytest.fixture
def completions() -> SimpleNamespace:
    """Six completions of one to five tokens: log-probabilities now, when they were drawn, and of the reference."""
    generator = torch.Generator().manual_seed(11)
    mask = torch.arange(max(LENGTHS))[None] < torch.tensor(LENGTHS)[:, None]
    old = -3 * torch.rand(mask.shape, generator=generator) * mask
    new = (old + 0.3 * torch.randn(mask.shape, generator=generator)) * mask
    reference = (old + 0.5 * torch.randn(mask.shape, generator=generator)) * mask
    return SimpleNamespace(mask=mask, old=old, new=new, reference=reference)


def trainer(**attributes: Any) -> SimpleNamespace:
    """What TRL's losses ask of the trainer whose methods they are."""
    return SimpleNamespace(
        model=SimpleNamespace(training=True),
        accelerator=OneProcess(),
        aux_loss_enabled=False,
        _metrics={"train": defaultdict(list), "eval": defaultdict(list)},
        **attributes,
    )


def test_kto_is_trls(completions: SimpleNamespace) -> None:
    """Thumbs of both kinds with weights of their own, and a reference point from mismatched completions."""
    kto_trainer = pytest.importorskip("trl.trainer.kto_trainer", reason=NOTE, exc_type=ImportError)
    is_up = torch.tensor([True, False, True, True, False, False])
    kl_logprobs, kl_reference = torch.tensor([-4.0, -5.0, -3.0] * 2), torch.tensor([-4.5, -5.2, -3.1] * 2)
    stand_in = trainer(
        _compute_kl_logps=lambda model, batch: kl_logprobs,
        precompute_ref_logps=True,
        calculate_KL=True,
        loss_type="kto",
        beta=0.1,
        desirable_weight=1.5,
        undesirable_weight=0.8,
        _total_train_tokens=0,
        _tp_size=1,
    )
    prompt = torch.zeros(len(LENGTHS), NUM_PROMPT_TOKENS, dtype=torch.bool)
    whole_mask = torch.cat([prompt, completions.mask], dim=1).long()
    batch = {
        "input_ids": torch.ones_like(whole_mask),
        "attention_mask": torch.ones_like(whole_mask),
        "completion_mask": whole_mask,
        "label": is_up,
        "ref_logps": sequence_sum(completions.reference, completions.mask),
        "ref_KL_logps": kl_reference,
    }
    logprobs = torch.cat([prompt[:, 1:].float(), completions.new], dim=1)
    outputs = SimpleNamespace(log_probs=logprobs, entropy=torch.zeros_like(logprobs), mean_logits=logprobs)
    theirs = kto_trainer.KTOTrainer._compute_loss(stand_in, lambda **_: outputs, batch, False)
    log_ratios = sequence_sum(completions.new - completions.reference, completions.mask)
    weights = torch.where(is_up, 1.5, 0.8)
    ours = kto_loss(log_ratios, is_up, weights, kl=(kl_logprobs - kl_reference).mean().clamp(min=0), beta=0.1)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-4)
    assert stand_in._metrics["train"]["kl"] == [pytest.approx(0.8 / 3)]


def test_rloo_by_completions_is_trls(completions: SimpleNamespace) -> None:
    """Ratios above, below and inside the clip, advantages of both signs: the loss and its gradient."""
    rloo_trainer = pytest.importorskip("trl.trainer.rloo_trainer", reason=NOTE, exc_type=ImportError)
    advantages = torch.tensor([1.2, -0.7, 0.4, -1.1, 0.9, -0.2])
    losses, gradients = [], []
    for compute in (_trl_rloo(rloo_trainer.RLOOTrainer, completions, advantages), _our_rloo(completions, advantages)):
        logprobs = completions.new.clone().requires_grad_()
        loss = compute(logprobs)
        losses.append(loss.item())
        gradients.append(torch.autograd.grad(loss, logprobs)[0])
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    assert torch.allclose(gradients[0], gradients[1], atol=1e-4) and gradients[0].abs().max() > 0.01


def _our_rloo(completions: SimpleNamespace, advantages: Tensor) -> Any:
    return lambda logprobs: clipped_completion_loss(logprobs, completions.old, advantages, completions.mask, 0.2)


def _trl_rloo(trainer_class: Any, completions: SimpleNamespace, advantages: Tensor) -> Any:
    def compute(logprobs: Tensor) -> Tensor:
        stand_in = trainer(
            _get_per_token_logps_and_entropies=lambda *_, **__: (logprobs, torch.zeros_like(logprobs), None),
            epsilon_low=0.2,
            epsilon_high=0.2,
        )
        prompt = torch.ones(len(LENGTHS), NUM_PROMPT_TOKENS, dtype=torch.long)
        inputs = {
            "prompt_ids": prompt,
            "prompt_mask": prompt,
            "completion_ids": torch.ones_like(completions.mask, dtype=torch.long),
            "completion_mask": completions.mask.long(),
            "old_logps": sequence_sum(completions.old, completions.mask),
            "advantages": advantages,
        }
        loss: Tensor = trainer_class._compute_loss(stand_in, None, inputs)
        return loss

    return compute


def test_rloo_advantages_are_those_of_trls_formula() -> None:
    """Reward minus the mean of the siblings, then standardised over the batch with 1e-4 in the denominator."""
    rewards = torch.tensor([[0.9, 0.1, 0.4, 0.2], [0.0, 0.7, 0.7, 0.5]])
    baselines = (rewards.sum(1, keepdim=True) - rewards) / (rewards.shape[1] - 1)
    theirs = rewards - baselines
    theirs = (theirs - theirs.mean()) / (theirs.std() + 1e-4)
    assert torch.allclose(whiten(rloo(rewards)), theirs, atol=1e-5)


def test_tokens_and_completions_agree_where_the_policy_has_not_moved(completions: SimpleNamespace) -> None:
    """At ratio 1 the gradients of both losses differ by one factor, the mean length; so do those of TRL and of us."""
    advantages = torch.tensor([1.2, -0.7, 0.4, -1.1, 0.9, -0.2])
    by_token, by_completion = (
        torch.autograd.grad(loss(logprobs, completions.old, advantages, completions.mask, 0.2), logprobs)[0]
        for loss in (clipped_policy_loss, clipped_completion_loss)
        for logprobs in [completions.old.clone().requires_grad_()]
    )
    assert torch.allclose(by_token * sum(LENGTHS) / len(LENGTHS), by_completion, atol=1e-6)


def test_a_completion_is_clipped_by_the_product_of_its_ratios() -> None:
    """Two tokens at ratio 1.5 are 2.25 together, clipped to 1.2; at advantage -1 nothing is: -(1.2 - 2.25) / 2."""
    old = torch.zeros(2, 3)
    new = torch.full((2, 3), 1.5).log()
    mask = torch.tensor([[True, True, False]] * 2)
    loss = clipped_completion_loss(new, old, torch.tensor([1.0, -1.0]), mask, 0.2)
    assert loss.item() == pytest.approx((2.25 - 1.2) / 2, abs=1e-6)
