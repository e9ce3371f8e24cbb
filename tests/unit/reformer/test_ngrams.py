"""N-gram tables: the hash is what the docstring says, looks back two tokens, and leaves models without tables alone."""

import pytest
import torch

from model_store.contract.manifest import Architecture, Manifest
from tests.bundles import manifest_fields
from tests.unit.reformer.tiny_policy import random_prompt, tiny_policy
from training.reformer.ngrams import MULTIPLIERS, NUM_TABLES, last_tokens, moduli, table_rows


def test_rows_are_the_hash_of_the_last_two_or_three_tokens() -> None:
    """Worked out by hand for one position; each table stays within its own rows."""
    token_ids = torch.tensor([[300, 4000, 17]])
    rows = table_rows(token_ids, None, 64)[0, 2].tolist()
    primes = moduli(64)
    expected = [
        (17 * MULTIPLIERS[0][table] + 4000 * MULTIPLIERS[1][table] + 300 * MULTIPLIERS[2][table]) % primes[table]
        + 64 * table
        for table in range(NUM_TABLES)
    ]
    assert rows == expected


def test_a_text_in_pieces_has_the_rows_of_the_whole() -> None:
    """The two tokens before a piece are all it needs; before a text's start there is zero."""
    whole = torch.tensor([random_prompt(20, seed=1)])
    rows = table_rows(whole, None, 1024)
    later = table_rows(whole[:, 7:], whole[:, 5:7], 1024)
    assert torch.equal(rows[:, 7:], later)
    assert torch.equal(rows[:, :7], table_rows(whole[:, :7], torch.zeros(1, 2, dtype=torch.long), 1024))


def test_pairs_forget_the_token_before_them_and_triples_do_not() -> None:
    """The first four tables see two tokens, the others three."""
    rows = table_rows(torch.tensor([[300, 301, 302], [299, 301, 302]]), None, 32768)[:, 2]
    assert torch.equal(rows[0, :4], rows[1, :4]) and not (rows[0, 4:] == rows[1, 4:]).any()


def test_two_pairs_hardly_ever_share_all_their_rows() -> None:
    """Four hashes modulo four primes: of 20,000 pairs, many share a row in one table and none in all."""
    generator = torch.Generator().manual_seed(0)
    pairs = torch.unique(torch.randint(256, 4096, (20_000, 2), generator=generator), dim=0)
    rows = table_rows(pairs, None, 4096)[:, 1, :4]
    assert len(torch.unique(rows[:, 0])) < 4096 and len(torch.unique(rows, dim=0)) == len(pairs)


def test_the_last_tokens_of_short_and_long_prompts() -> None:
    """Padding on the right is not taken for text."""
    token_ids = torch.tensor([[5, 6, 7], [8, 0, 0]])
    assert last_tokens(token_ids, torch.tensor([3, 1])).tolist() == [[6, 7], [0, 8]]


def test_too_few_rows_for_eight_hashes_are_refused() -> None:
    """There are seven primes up to 18."""
    with pytest.raises(ValueError, match="18 rows"):
        moduli(18)


def test_the_tables_matter_and_their_weights_survive_a_checkpoint() -> None:
    """Zeroed tables change the logits; without tables there is no such weight at all."""
    policy = tiny_policy(ngram_rows=64)
    token_ids = torch.tensor([random_prompt(12, seed=3)])
    with torch.no_grad():
        before = policy.encode(token_ids)
        policy.get_parameter("ngrams.tables.weight").zero_()
        assert not torch.allclose(before, policy.encode(token_ids), atol=1e-3)
    assert not any("ngrams" in name for name in tiny_policy().state_dict())


def test_a_manifest_without_tables_keeps_the_digest_it_had_before_there_were_any() -> None:
    """Stored versions stay what they are: the canonical bytes do not mention a field at its default."""
    manifest = Manifest.model_validate({**manifest_fields(), "files": {}})
    assert b"ngram_rows" not in manifest.canonical_bytes()
    shape = Architecture.model_validate({**manifest.architecture.model_dump(), "ngram_rows": 64})
    assert b'"ngram_rows":64' in manifest.model_copy(update={"architecture": shape}).canonical_bytes()
