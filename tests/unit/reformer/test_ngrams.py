"""Known n-grams: each has a row of its own, what is unknown adds nothing, and a text in pieces is one text."""

from pathlib import Path

import pytest
import torch

from model_store.contract.manifest import Architecture, Manifest
from tests.bundles import manifest_fields
from tests.unit.reformer.some_ngrams import NGRAM_ROWS
from tests.unit.reformer.tiny_policy import random_prompt, tiny_policy
from training.errors import OutdatedCheckpointError
from training.reformer.model import load_policy, save_policy
from training.reformer.ngrams import KnownNgrams, key_of, last_tokens, ngram_keys, place_keys, place_moduli, places_of


def knowing(*ngrams: tuple[int, ...], num_rows: int = 64) -> KnownNgrams:
    """N-grams with fresh rows that are being learned, so that each row differs from every other."""
    known = KnownNgrams(num_rows, 32, 0.0)
    known.reset_parameters()
    known.know(ngrams)
    torch.manual_seed(1)
    known.start_learning()
    return known


def test_a_position_finds_the_token_the_pair_and_the_triple_that_end_there() -> None:
    """Of the known ones; order matters, and a longer n-gram is not taken for a shorter one."""
    known = knowing((17,), (4000, 17), (300, 4000, 17), (300, 17))
    rows = known.rows_of(torch.tensor([[300, 4000, 17, 300, 17, 4000]]))[0]
    is_known = (rows > 0).int().tolist()
    assert is_known == [[0, 0, 0], [0, 0, 0], [1, 1, 1], [0, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert rows[2, 0] == rows[4, 0] and len(set(rows[rows > 0].tolist())) == 4


def test_before_a_texts_start_there_is_zero() -> None:
    """So the pair of nothing and a first token can be known, and is another than the token alone."""
    known = knowing((0, 300), (0, 0, 300))
    assert (known.rows_of(torch.tensor([[300, 300]]))[0] > 0).int().tolist() == [[0, 1, 1], [0, 0, 0]]


def test_what_is_not_known_adds_nothing() -> None:
    """A text without any known n-gram has the embedding 0, not that of somebody else's row."""
    known = knowing((17,), (300, 301))
    assert not known(torch.tensor([[301, 300, 302]])).any() and known(torch.tensor([[300, 301]]))[0, 1].any()


def test_a_text_in_pieces_has_the_rows_of_the_whole() -> None:
    """The two tokens before a piece are all it needs."""
    policy = tiny_policy(ngram_rows=NGRAM_ROWS)
    assert policy.ngrams is not None
    whole = torch.tensor([random_prompt(60, seed=1)])
    rows = policy.ngrams.rows_of(whole)
    assert torch.equal(rows[:, 7:], policy.ngrams.rows_of(whole[:, 7:], whole[:, 5:7]))
    assert torch.equal(rows[:, :7], policy.ngrams.rows_of(whole[:, :7], torch.zeros(1, 2, dtype=torch.long)))
    assert (rows[..., 0] > 0).all() and (rows[..., 1] > 0).any() and (rows[..., 1] == 0).any()


def test_keys_of_a_text_are_the_keys_of_its_ngrams() -> None:
    """Worked out one by one; no two n-grams of the text share one."""
    keys = ngram_keys(torch.tensor([[300, 4000, 17]]), None)[0]
    assert keys[2].tolist() == [key_of((17,)), key_of((4000, 17)), key_of((300, 4000, 17))]
    assert keys[0].tolist() == [key_of((300,)), key_of((0, 300)), key_of((0, 0, 300))]
    assert len(set(keys.flatten().tolist())) == 9


def test_every_key_stands_at_one_of_its_places_when_the_table_is_as_full_as_it_may_be() -> None:
    """Ten thousand rows, 88 % of them taken; the same keys land in the same places."""
    generator = torch.Generator().manual_seed(0)
    triples = torch.unique(torch.randint(256, 4096, (8_800, 3), generator=generator), dim=0)[:8_800].tolist()
    keys = [key_of(triple) for triple in triples]
    placed = place_keys(keys, 10_000)
    assert sorted(placed[placed >= 0].tolist()) == sorted(keys)
    assert all(key in placed[places_of(key, 10_000)] for key in keys)
    assert (place_keys(keys, 10_000) == placed).all()


def test_more_ngrams_than_there_is_room_for_are_refused() -> None:
    """The error says how many fit; two rows are too few for any."""
    with pytest.raises(ValueError, match="57 n-grams are too many for 64 rows: 56 fit"):
        place_keys(range(57), 64)
    with pytest.raises(ValueError, match="2 rows"):
        place_moduli(2)


def test_learned_rows_become_bytes_that_say_nearly_the_same() -> None:
    """A column's scale goes into the projection: off by half a step of 127 at most, and nothing is trained any more."""
    ngrams = [(token_id,) for token_id in range(256, 300)]
    known = knowing(*ngrams)
    text = torch.tensor([[token_id for (token_id,) in ngrams]])
    before = known(text).detach()
    known.stop_learning()
    difference = (known(text) - before).norm(dim=-1) / before.norm(dim=-1)
    assert known.table.dtype == torch.int8 and 0 < difference.max() < 0.02
    assert not any(parameter.requires_grad for parameter in known.parameters())


def test_the_last_tokens_of_short_and_long_prompts() -> None:
    """Padding on the right is not taken for text."""
    token_ids = torch.tensor([[5, 6, 7], [8, 0, 0]])
    assert last_tokens(token_ids, torch.tensor([3, 1])).tolist() == [[6, 7], [0, 8]]


def test_known_ngrams_survive_a_checkpoint_and_stay_out_of_training(tmp_path: Path) -> None:
    """Keys and bytes are stored as they are, whatever the weights are rounded to."""
    policy = tiny_policy(ngram_rows=NGRAM_ROWS, message_summary=True)
    save_policy(policy, tmp_path, dtype=torch.bfloat16)
    loaded = load_policy(tmp_path)
    assert policy.ngrams is not None and loaded.ngrams is not None and loaded.summary is not None
    assert torch.equal(loaded.ngrams.keys, policy.ngrams.keys) and torch.equal(loaded.ngrams.table, policy.ngrams.table)
    assert not loaded.ngrams.projection.weight.requires_grad and not loaded.summary.projection.weight.requires_grad
    token_ids = torch.tensor([random_prompt(12, seed=3)])
    with torch.no_grad():
        before = policy.encode(token_ids)
        policy.ngrams.table.zero_()
        assert not torch.allclose(before, policy.encode(token_ids), atol=1e-3)
    assert not any("ngrams" in name for name in tiny_policy().state_dict())


def test_a_checkpoint_with_hashed_tables_is_refused_and_told_why(tmp_path: Path) -> None:
    """Bundles of that time are served as before, since their graph is whole; training cannot go on from them."""
    policy = tiny_policy(ngram_rows=NGRAM_ROWS)
    policy.register_buffer("ngrams_tables", torch.zeros(3))
    weights = policy.state_dict()
    weights["ngrams.tables.weight"] = weights.pop("ngrams_tables")
    policy.save_pretrained(tmp_path, state_dict=weights)
    with pytest.raises(OutdatedCheckpointError, match="train a new base model"):
        load_policy(tmp_path)


def test_a_manifest_without_ngrams_keeps_the_digest_it_had_before_there_were_any() -> None:
    """Stored versions stay what they are: the canonical bytes do not mention a field at its default."""
    manifest = Manifest.model_validate({**manifest_fields(), "files": {}})
    assert b"ngram_rows" not in manifest.canonical_bytes()
    shape = Architecture.model_validate({**manifest.architecture.model_dump(), "ngram_rows": 64})
    assert b'"ngram_rows":64' in manifest.model_copy(update={"architecture": shape}).canonical_bytes()
