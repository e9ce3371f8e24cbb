"""What a place for model versions must be able to do, and its records: of an alias that moved, of a run that ended.

A backend keeps bytes and swaps aliases atomically. Which version a name means, and whether it may be promoted, is
decided in `model_store.store`.
"""

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model_store.bundle import DEFAULT_MAX_BYTES
from model_store.contract.manifest import Manifest, Sha256
from model_store.curation import CurationReport
from model_store.errors import CorruptAliasError
from model_store.signing import Signature
from model_store.trust import AliasState


class Alias(StrEnum):
    """The movable names."""

    STABLE = "stable"
    CANDIDATE = "candidate"


class AliasMove(BaseModel):
    """One move of an alias; its JSON form is a line of the history and the alias's present value."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    generation: int = Field(ge=1)
    """Grows by one with every move of this alias and never falls."""
    action: Literal["promote", "rollback"]
    from_digest: Sha256 | None
    to_digest: Sha256
    time: str
    """ISO 8601, UTC."""
    reason: str

    def as_line(self) -> bytes:
        """The JSON form, without a line's end."""
        return self.model_dump_json().encode()


def parse_move(place: object, data: bytes) -> AliasMove:
    """Reads a move; `place` names where it was kept. Raises CorruptAliasError."""
    try:
        return AliasMove.model_validate_json(data)
    except ValidationError as error:
        raise CorruptAliasError(path=place, problem=f"it holds no move of an alias: {data[:80]!r}") from error


class RunOutcome(StrEnum):
    """How a learning run ended."""

    PUBLISHED = "published"
    TOO_LITTLE_FEEDBACK = "too_little_feedback"
    REFUSED = "refused"
    OVERTAKEN = "overtaken"
    FAILED = "failed"


class RunReport(BaseModel):
    """The end of the last learning run, for those who watch the service: training itself is gone by then."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    outcome: RunOutcome
    finished_at: datetime
    num_in_a_row: int = Field(ge=1)
    """Runs that ended so, one after the other, this one included."""


class StoreBackend(Protocol):
    """A place for model versions. Readers never wait for writers. Every method raises StoreUnavailableError."""

    @property
    def location(self) -> str:
        """The place's name in messages."""

    @property
    def mirror(self) -> "StoreBackend | None":
        """A copy on this machine of what was taken up, for when the place is away; None where the place is here."""

    def check(self) -> None:
        """Raises UnsafeStoreError where two writers could both win. Of a place that is here nothing is asked."""

    def list_digests(self) -> list[str]:
        """Every version that is visible; a place that does not exist yet holds none."""

    def inspect_version(self, digest: str, max_bytes: int = DEFAULT_MAX_BYTES) -> Manifest:
        """Checks all of a version but what is in its files. Raises VersionNotFoundError, and as `open_bundle` does."""

    def verify_version(self, digest: str, max_bytes: int = DEFAULT_MAX_BYTES) -> Manifest:
        """Checks every byte of a version where it is kept. Raises as `inspect_version` does."""

    def fetch_version(self, digest: str, max_bytes: int = DEFAULT_MAX_BYTES) -> Path:
        """A local directory with the version's files, unverified; copies at most `max_bytes` to have it.

        Raises VersionNotFoundError when there is none, UnsafeBundleError when something else bears its name.
        """

    def read_file(self, manifest: Manifest, name: str) -> bytes:
        """One file of an inspected version, verified. Raises as `Bundle.read_bytes` does."""

    def add_version(self, source: Path, manifest: Manifest) -> None:
        """Copies an inspected bundle in; it becomes visible whole, verified and durable, or not at all.

        A damaged version of the same name is replaced, an intact one is kept. Raises BundleError as `open_bundle` does.
        """

    def read_alias(self, alias: Alias) -> AliasMove | None:
        """The move that brought the alias where it is; None when it is not set. Raises CorruptAliasError."""

    def take_up(self, alias: Alias, state: AliasState) -> None:
        """Notes in the mirror, where there is one, that a version serves people by an alias."""

    def read_history(self, alias: Alias) -> list[AliasMove]:
        """All moves, oldest first, up to at least what `read_alias` gave before. Raises CorruptAliasError."""

    def move_alias(self, alias: Alias, move: AliasMove) -> None:
        """Makes the move if it starts from where the alias is: from the same digest and the generation before.

        Of any number of callers with the same generation one succeeds. Raises AliasConflictError, CorruptAliasError.
        """

    def read_signatures(self, digest: str) -> list[Signature]:
        """What has been signed of a version, oldest first; what is no signature is passed over."""

    def add_signature(self, digest: str, signature: Signature) -> None:
        """Puts a signature beside a version, durably; those before stay."""

    def read_run_report(self) -> RunReport | None:
        """The report written last; None where there is none that can be read, for nothing is decided by it."""

    def write_run_report(self, report: RunReport) -> None:
        """Puts a report in place of the one before, whole or not at all."""

    def read_curation(self) -> CurationReport | None:
        """What was written last of the ratings; None where there is nothing that can be read."""

    def write_curation(self, report: CurationReport) -> None:
        """Puts a report in place of the one before, whole or not at all."""
