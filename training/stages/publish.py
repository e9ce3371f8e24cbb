"""The last stage: puts the bundle on the shelf and moves the alias, unless somebody else moved it first.

The gate compared with one particular version. If that is no longer the one people talk to, its verdict is worth
nothing: the bundle stays on the shelf, the alias stays where it is, and the run says that it must gate again.
"""

from pathlib import Path

from model_store.backends.places import open_backend
from model_store.backends.protocol import Alias
from model_store.digest import short
from model_store.errors import AliasConflictError
from model_store.signing import SigningKey
from model_store.store import ModelStore
from training.config import TrainingConfig
from training.stages.export import BUNDLE_NAME
from training.workspace import StageResult, Workspace


def run(config: TrainingConfig, workspace: Workspace) -> StageResult:
    """Publishes and promotes. Result: `digest`, `alias`, `promoted`; then `generation`, or `message` saying why not.

    Raises StoreError for a bundle that the store refuses or a store that cannot be used.
    """
    inputs, snapshot = workspace.result("inputs") or {}, workspace.result("snapshot") or {}
    store = ModelStore(open_backend(inputs["model_store"]))
    digest = store.publish(workspace.path(BUNDLE_NAME))
    if key := inputs.get("signing_key"):  # before anybody can be sent to it
        store.sign(digest, SigningKey.load(Path(str(key))))
    alias = Alias(config.gate.alias)
    outcome = {"digest": digest, "alias": str(alias)}
    if already := _own_move(store, alias, digest, int(snapshot["generation"])):
        return {**outcome, "promoted": True, "generation": already}
    try:
        _check_baseline(store, str(snapshot["parent"]))
        state = store.promote(
            alias, digest, expected_generation=int(snapshot["generation"]), reason=f"run {config.name} passed its gate"
        )
    except AliasConflictError as conflict:
        message = f"{conflict} Version {short(digest)} is published but serves nobody: run again to gate it anew."
        return {**outcome, "promoted": False, "message": message}
    return {**outcome, "promoted": True, "generation": state.generation}


def _own_move(store: ModelStore, alias: Alias, digest: str, generation: int) -> int | None:
    """The generation that this run's promotion made before the run was killed, if it got that far."""
    history = store.history(alias)
    is_own = bool(history) and history[-1].generation == generation + 1 and history[-1].to_digest == digest
    return history[-1].generation if is_own else None


def _check_baseline(store: ModelStore, parent: str) -> None:
    """Raises AliasConflictError when `stable` is no longer the version that the candidate was measured against.

    The alias that is promoted guards itself by its generation; a `candidate` needs this look at `stable`, too.
    """
    current = store.resolve(Alias.STABLE)
    if current.digest != parent:
        raise AliasConflictError(
            alias=Alias.STABLE, expected=f"version {short(parent)}", actual=f"version {short(current.digest)}"
        )
