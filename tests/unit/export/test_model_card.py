"""The model card says what the manifest says, and what the model cannot do."""

from model_store.contract.manifest import Manifest
from tests.bundles import manifest_fields
from training.export.model_card import model_card


def test_a_card_shows_figures_by_language_sources_and_lineage() -> None:
    """A row a figure; a version made from feedback names its parent."""
    metrics = {"right_plan_en": 0.5125, "right_plan_zh": 0.25, "perplexity": 1.5}
    lineage = {"parent": "a" * 64, "data_snapshot": "b" * 64, "config": "c" * 64, "stages": ["reward_model", "rloo"]}
    fields = manifest_fields("shop", metrics=metrics, lineage=lineage)
    card = model_card(Manifest.model_validate({**fields, "files": {}}), 7_800_000)
    assert card.startswith("# shop\n") and "English and Chinese: 7.8 M parameters" in card
    assert "| right plan | 0.5125 | 0.25 |  |" in card and "| perplexity |  |  | 1.5 |" in card
    assert "| authored | Apache-2.0 | 10 |" in card
    assert f"`{'a' * 64}`" in card and "reward_model, rloo" in card
    assert "## What it cannot do" in card and "never that something was done" in card


def test_a_first_version_has_no_parent_and_tables_are_named() -> None:
    """N-gram tables are part of what the network is."""
    fields = manifest_fields()
    shape = {**dict(fields["architecture"]), "ngram_rows": 64}  # type: ignore[call-overload]
    card = model_card(Manifest.model_validate({**fields, "architecture": shape, "files": {}}), 1_000_000)
    assert "parent" not in card and "a table with room for 64 n-grams" in card


def test_a_card_names_the_languages_that_the_model_was_taught() -> None:
    """A pack in one language makes a model that reads one."""
    fields = manifest_fields(languages=["en"])
    card = model_card(Manifest.model_validate({**fields, "files": {}}), 1_000_000)
    assert "It reads English. Other languages" in card and "Chinese" not in card.partition("## Measured")[0]
