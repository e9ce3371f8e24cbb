"""More positions for a network: which rows its table gets, and what of it stays as it was."""

import pytest
import torch

from model_store.contract.manifest import Hashing
from tests.unit.reformer.tiny_policy import random_prompt, tiny_policy
from training.reformer.config import architecture_of
from training.reformer.hashing.lengthening import known_positions, lengthen

RULE = Hashing(hash_beyond=160, num_hashes=1, num_buckets=4, bucket_window=8)


def test_positions_repeat_all_known_ones_but_the_first_chunk() -> None:
    """By hand: chunks of 2, 6 known, so that 2 to 5 come again and again."""
    assert known_positions(14, num_known=6, chunk=2).tolist() == [0, 1, 2, 3, 4, 5, 2, 3, 4, 5, 2, 3, 4, 5]


@torch.no_grad()
def test_a_short_text_reads_as_before_and_a_long_one_reads_at_all() -> None:
    """Within the known positions every logit stays; beyond the old table there are logits where there were none."""
    before = tiny_policy(max_positions=192)
    longer = lengthen(before, max_positions=512, num_known=128, hashing=RULE)
    short, long = torch.tensor([random_prompt(128, 1)]), torch.tensor([random_prompt(500, 2)])
    assert torch.equal(before(short).logits, longer(short).logits)
    assert torch.isfinite(longer(long).logits).all()
    assert architecture_of(longer.config).max_positions == 512
    assert architecture_of(longer.config).hashing == RULE
    assert architecture_of(before.config).hashing is None


@pytest.mark.parametrize(("max_positions", "num_known"), [(128, 128), (512, 256), (512, 100), (512, 64)])
def test_numbers_that_do_not_fit_are_refused(max_positions: int, num_known: int) -> None:
    """Fewer positions than there are, more known ones than there are, no whole chunks, or one alone."""
    with pytest.raises(ValueError, match="position"):
        lengthen(tiny_policy(max_positions=192), max_positions=max_positions, num_known=num_known, hashing=RULE)
