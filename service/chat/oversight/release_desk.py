"""The release desk: what a member of the staff may do about the version that answers, said before it is done.

Promote, try on a share, hold, roll back: each is one move of one alias by compare-and-swap, recorded in the audit
before it is made. `model_store.store` does the moving, `training.canary` the same moves by rules.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import structlog

from model_store.backends.protocol import Alias, AliasMove
from model_store.contract.manifest import Manifest
from model_store.digest import short
from model_store.errors import StoreError
from model_store.store import ModelStore, Release
from service.chat.masking import ConversationMasker
from service.chat.oversight.shelf import Shelf
from service.errors import InvalidValueError, NoCanaryError
from service.records.store import DEFAULT_TENANT, AuditEvent, RecordStore

_log = structlog.get_logger(__name__)


class ReleaseAction(StrEnum):
    """What can be done."""

    PROMOTE = "promote"
    """Let a version answer everybody."""
    TRY = "try"
    """Let a version answer a share of the conversations: begin a canary."""
    HOLD = "hold"
    """End the canary: the stable version answers everybody again."""
    ROLL_BACK = "roll_back"
    """Let the version answer everybody that did so before the present one."""


AUDIT_ACTIONS = tuple(f"models.{action}" for action in ReleaseAction)


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveRequest:
    """What somebody wants to do. `version` is a digest, for PROMOTE and TRY; `actor` the id of the key that asks.

    `expected_generation` is the alias's that the decision rests on; None only for a look at what would happen.
    """

    action: ReleaseAction
    actor: str
    version: str | None = None
    reason: str = ""
    expected_generation: int | None = None
    tenant: str = DEFAULT_TENANT


@dataclass(frozen=True, slots=True)
class PlannedMove:
    """A move that was checked, every byte of its version included, and what it will do, in sentences."""

    alias: Alias
    move: AliasMove
    consequences: tuple[str, ...]

    @property
    def expected_generation(self) -> int:
        """The alias's generation now."""
        return self.move.generation - 1


class ReleaseDesk:
    """Moves aliases on behalf of people. Its methods block."""

    def __init__(
        self,
        store: ModelStore,
        records: RecordStore,
        masker: ConversationMasker,
        *,
        poll_seconds: float,
        canary_share: float,
    ) -> None:
        """`poll_seconds` and `canary_share` are the service's own, for what is said beforehand."""
        self._store = store
        self._shelf = Shelf(store)
        self._records = records
        self._masker = masker
        self._poll_seconds = poll_seconds
        self._canary_share = canary_share

    def plan(self, request: MoveRequest) -> PlannedMove:
        """What would happen; nothing is changed.

        Raises InvalidValueError, NoCanaryError, and what `ModelStore.plan_promotion` raises: only a version that
        verifies can be chosen.
        """
        release = self._store.release()
        alias, move = self._move(request, release)
        return PlannedMove(alias, move, tuple(self._consequences(request.action, move, release)))

    def make(self, request: MoveRequest) -> PlannedMove:
        """Makes the move. Raises what `plan` raises, and AliasConflictError when the alias has moved meanwhile.

        The audit comes first: a move that nobody can be asked about cannot happen. One that then fails is noted too.
        """
        planned = self.plan(request)
        self._note(request, planned, "begun")
        try:
            self._store.apply(planned.alias, planned.move)
        except StoreError as error:
            self._note(request, planned, error.code)
            raise
        self._note(request, planned, "done")
        _log.info(
            "alias_moved",
            alias=planned.alias,
            digest=planned.move.to_digest,
            generation=planned.move.generation,
            key=request.actor,
        )
        return planned

    def _move(self, request: MoveRequest, release: Release) -> tuple[Alias, AliasMove]:
        _, reason = self._masker.mask_remarks(None, request.reason)
        expected = request.expected_generation
        if request.action is ReleaseAction.ROLL_BACK:
            return Alias.STABLE, self._store.plan_rollback(Alias.STABLE, expected, reason or "")
        if request.action is ReleaseAction.HOLD:
            if release.candidate is None:
                raise NoCanaryError()
            move = self._store.plan_promotion(Alias.CANDIDATE, release.stable.digest, expected, reason or "")
            return Alias.CANDIDATE, move
        if request.version is None:
            raise InvalidValueError(param="version", problem="Say which version, by its digest.")
        if self._store.find(request.version) == release.stable.digest:
            raise InvalidValueError(param="version", problem="This version answers everybody already.")
        alias = Alias.STABLE if request.action is ReleaseAction.PROMOTE else Alias.CANDIDATE
        return alias, self._store.plan_promotion(alias, request.version, expected, reason or "")

    def _note(self, request: MoveRequest, planned: PlannedMove, outcome: str) -> None:
        details: dict[str, Any] = {"alias": planned.alias.value, "outcome": outcome}
        details |= planned.move.model_dump(mode="json", exclude={"action", "to_digest"})
        action, subject = f"models.{request.action}", planned.move.to_digest
        self._records.record_audit(AuditEvent.now(request.tenant, request.actor, action, subject, details))

    def _consequences(self, action: ReleaseAction, move: AliasMove, release: Release) -> Iterator[str]:
        seconds = f"within about {self._poll_seconds:g} s"
        chosen, stable = self._named(move.to_digest), self._named(release.stable.digest)
        if action is ReleaseAction.HOLD:
            held = self._named(release.candidate.digest) if release.candidate else "The candidate"
            yield f"{stable} answers all conversations again, {seconds}."
            yield f"{held} answers nobody any more. It stays on the shelf, with its thumbs, and can be tried again."
        elif action is ReleaseAction.TRY:
            yield f"{chosen} answers {100 * self._canary_share:g} % of the conversations, {seconds}: the canary."
            yield f"{stable} answers all others. Each conversation stays with one version."
        else:
            yield f"{chosen} answers all conversations, {seconds}."
            yield f"{stable}, which answers them now, stays on the shelf; “roll back” or “promote” brings it back."
        yield from self._about_canary(action, move, release)
        if action in (ReleaseAction.PROMOTE, ReleaseAction.TRY):
            yield self._about_gate(move.to_digest)
        yield "Replies that have begun are finished by the version that began them."

    def _about_canary(self, action: ReleaseAction, move: AliasMove, release: Release) -> Iterator[str]:
        """What becomes of the present candidate, where that was not said yet."""
        if release.candidate is None or action is ReleaseAction.HOLD:
            return
        if release.candidate.digest != move.to_digest:
            yield f"The canary ends: {self._named(release.candidate.digest)} answers nobody any more."
        elif action is not ReleaseAction.TRY:
            yield "The canary ends."

    def _about_gate(self, digest: str) -> str:
        gate = self._shelf.report(digest).gate
        if gate is None:
            return "It has no gate report: nobody has measured whether it is worse than the version before."
        if gate.accepted:
            return f"It has passed its gate ({len(gate.rules)} rules)."
        num_broken = sum(not rule.passed for rule in gate.rules)
        return f"Careful: its gate has refused it ({num_broken} of {len(gate.rules)} rules are broken)."

    def _named(self, digest: str) -> str:
        try:
            manifest: Manifest = self._store.inspect(digest)
        except StoreError:
            return f"Version {short(digest)}"
        return f"Version {short(digest)} ({manifest.name}, made {manifest.created_at[:10]})"
