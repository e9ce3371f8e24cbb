"""What a place for model versions must be able to do, and its records: of an alias that moved, of a run that ended.

A backend keeps bytes and swaps aliases atomically. Which version a name means, and whether it may be promoted, is
decided in `model_store.store`.
"""

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from model_store.contract.manifest import Manifest, Sha256
from model_store.curation import CurationReport
from model_store.signing import Signature


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

    def list_digests(self) -> list[str]:
        """Every version that is visible; a place that does not exist yet holds none."""

    def fetch_version(self, digest: str) -> Path:
        """A local directory with the version's files, unverified.

        Raises VersionNotFoundError when there is none, UnsafeBundleError when something else bears its name.
        """

    def add_version(self, source: Path, manifest: Manifest) -> None:
        """Copies an inspected bundle in; it becomes visible whole, verified and durable, or not at all.

        A damaged version of the same name is replaced, an intact one is kept. Raises BundleError as `open_bundle` does.
        """

    def read_alias(self, alias: Alias) -> AliasMove | None:
        """The move that brought the alias where it is; None when it is not set. Raises CorruptAliasError."""

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
