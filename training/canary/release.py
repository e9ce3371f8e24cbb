"""What follows from a verdict: one move of one alias, by compare-and-swap, and the command that takes it back.

A candidate is promoted by pointing `stable` at it, and dropped by pointing `candidate` at the stable version; either
ends the canary (`ModelStore.release`). People do the same with `python -m model_store promote`.
"""

from dataclasses import dataclass

from model_store.backends.protocol import Alias, AliasMove
from model_store.cli import undo_command
from model_store.store import ModelStore, Release
from training.canary.judge import Judgement, Verdict


@dataclass(frozen=True, slots=True)
class PlannedMove:
    """A move that was checked, and made if `is_made`; `undo` is the command that takes it back."""

    alias: Alias
    move: AliasMove
    is_made: bool
    undo: str | None


def act(store: ModelStore, release: Release, judgement: Judgement, *, is_dry_run: bool) -> PlannedMove | None:
    """Makes the move that a judgement about this release asks for; None where it is to wait.

    Raises AliasConflictError when the alias has moved since `release` was read, and what `plan_promotion` raises.
    """
    if judgement.verdict is Verdict.WAIT or release.candidate is None:
        return None
    if judgement.verdict is Verdict.PROMOTE:
        alias, digest, generation = Alias.STABLE, release.candidate.digest, release.stable.generation
    else:
        alias, digest, generation = Alias.CANDIDATE, release.stable.digest, release.candidate.generation
    move = store.plan_promotion(alias, digest, generation, f"{judgement.verdict}: {judgement.reason}")
    if not is_dry_run:
        store.apply(alias, move)
    return PlannedMove(alias, move, not is_dry_run, undo_command(store, alias, move))
