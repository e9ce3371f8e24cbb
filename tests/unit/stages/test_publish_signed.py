"""Publishing signs where a key is given, before the alias moves: services that ask for signatures take the version."""

from pathlib import Path

from model_store.backends.local import LocalBackend
from model_store.signing import SigningKey, TrustedKeys
from model_store.store import ModelStore
from model_store.trust import Trust
from tests.bundles import make_bundle
from tests.unit.stages.feedback_workspace import make_config
from training.stages import publish
from training.workspace import Workspace


def test_a_run_with_a_key_publishes_a_signed_version(tmp_path: Path) -> None:
    """The version is promoted and opens for a reader who trusts that key; the one before, which nobody signed, does
    not."""
    key = SigningKey.create(tmp_path / "key.pem")
    store = ModelStore(LocalBackend(tmp_path / "models"))
    make_bundle(tmp_path / "parent", "parent")
    parent = store.publish(tmp_path / "parent")
    store.promote("stable", parent)
    workspace = Workspace(tmp_path / "run")
    make_bundle(workspace.path("bundle"), "child")
    inputs = {"model_store": str(tmp_path / "models"), "signing_key": str(tmp_path / "key.pem")}
    workspace.save_result("inputs", inputs)
    workspace.save_result("snapshot", {"generation": 1, "parent": parent})
    outcome = publish.run(make_config(), workspace)
    assert outcome["promoted"] and outcome["generation"] == 2
    trust = Trust(TrustedKeys.parse(key.public_key), tmp_path / "trusted.json")
    reader = ModelStore(LocalBackend(tmp_path / "models"), trust=trust)
    assert reader.open("stable").digest == outcome["digest"]
    assert store.signatures(parent) == []
