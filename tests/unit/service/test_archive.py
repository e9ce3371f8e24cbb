"""The archive: which versions may have learned from a conversation."""

from datetime import UTC, datetime

from model_store.contract.manifest import Manifest
from service.chat.conversations.archive import learned_since
from tests.bundles import manifest_fields

RATED_AT = datetime(2026, 6, 1, tzinfo=UTC)


def version(name: str, created_at: str, *, parent: Manifest | None = None, is_tuned: bool = True) -> Manifest:
    """A version's manifest."""
    lineage = {
        "config": "c" * 64,
        "stages": ["rloo"],
        "data_snapshot": "d" * 64 if is_tuned else None,
        "parent": parent.digest if parent else None,
    }
    return Manifest.model_validate({**manifest_fields(name), "created_at": created_at, "lineage": lineage, "files": {}})


def test_versions_that_learned_after_the_first_rating_and_their_descendants_are_named() -> None:
    """Not a base model, nor what was made before; a descendant is, although it learned from no ratings itself."""
    base = version("base", "2026-07-01T00:00:00Z", is_tuned=False)
    before = version("before", "2026-05-31T23:59:59Z")
    after = version("after", "2026-06-01T00:00:01+00:00", parent=before)
    child = version("child", "2026-06-02T00:00:00Z", parent=after, is_tuned=False)
    grandchild = version("grandchild", "2026-06-03T00:00:00Z", parent=child, is_tuned=False)
    manifests = [grandchild, base, child, before, after]
    assert [manifest.name for manifest in learned_since(manifests, RATED_AT)] == ["grandchild", "child", "after"]


def test_a_version_of_unknown_age_is_named() -> None:
    """What cannot be ruled out may be so; a time without a zone is UTC."""
    unknown, zoneless = version("unknown", "last week"), version("zoneless", "2026-06-01T00:00:01")
    assert learned_since([unknown, zoneless], RATED_AT) == (unknown, zoneless)
