"""The shelf: immutable model versions named by their digest, and the two aliases that point at them.

Only verified bundles come out, and an alias only ever moves to one. Where the bytes lie: `backends`. What a bundle is:
`bundle`. For people: `python -m model_store`.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from model_store.backends.protocol import Alias, AliasMove, RunOutcome, RunReport, StoreBackend
from model_store.bundle import DEFAULT_MAX_BYTES, Bundle, check_contents, inspect_bundle, open_bundle
from model_store.contract.manifest import Manifest
from model_store.curation import CurationReport
from model_store.errors import (
    AliasConflictError,
    AliasNotFoundError,
    AliasWentBackError,
    BundleError,
    NoEarlierVersionError,
    StoreError,
    UnknownAliasError,
    VersionNotFoundError,
)
from model_store.signing import Signature, SigningKey
from model_store.trust import AliasState as AliasState  # a part of this module's interface
from model_store.trust import Trust

DEFAULT_BUNDLE = Path(__file__).parent / "default"
"""The bundle that ships with the project."""
MIN_PREFIX_LENGTH = 8
_MAX_REASON_CHARS = 500


class Release(NamedTuple):
    """The versions that people talk to: the stable one and, while a canary is on, the candidate beside it."""

    stable: AliasState
    candidate: AliasState | None
    since: datetime
    """When the last of these aliases moved: from then on both answered side by side."""
    problems: tuple[AliasWentBackError, ...] = ()
    """Aliases that somebody has put back; what is said of them here is what was taken up last."""


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """A version as it lies in the store; `problem` says why it is refused, `manifest` is None if even that is bad."""

    digest: str
    manifest: Manifest | None
    problem: StoreError | None


class ModelStore:
    """Versions and aliases in one place. Holds no state of its own, so every call sees what the place holds now."""

    def __init__(
        self, backend: StoreBackend, *, max_bytes: int = DEFAULT_MAX_BYTES, trust: Trust | None = None
    ) -> None:
        """`max_bytes` bounds a bundle's files together, on the way in and on the way out.

        With `trust` only versions that a trusted key has signed are opened or promoted, and `release` notices an alias
        that went back; without it nobody's signature is asked for.
        """
        self._backend = backend
        self._max_bytes = max_bytes
        self._trust = trust

    @property
    def location(self) -> str:
        """The store's name in messages."""
        return self._backend.location

    def publish(self, directory: Path, *, allow_hard_links: bool = False) -> str:
        """Copies a bundle in and gives its digest; publishing it again changes nothing. Moves no alias.

        Raises BundleError when `open_bundle` would refuse the directory. `allow_hard_links` takes files that a package
        installer linked to its cache; the store's copy shares nothing with them.
        """
        manifest = inspect_bundle(directory, max_bytes=self._max_bytes, allow_hard_links=allow_hard_links)
        if self._is_intact(manifest.digest):
            check_contents(directory, manifest)
        else:
            self._backend.add_version(directory, manifest)
        return manifest.digest

    def open(self, name: str) -> Bundle:
        """The verified version behind an alias, a digest or a unique prefix of one.

        Raises BundleError when it is damaged, or signed by nobody who is trusted, and what `find` raises.
        """
        digest = self._find_trusted(name)
        return open_bundle(self._backend.fetch_version(digest, self._max_bytes), digest, max_bytes=self._max_bytes)

    def check(self) -> None:
        """Raises UnsafeStoreError for a place where two writers could both win, StoreUnavailableError."""
        self._backend.check()

    def mirror(self) -> "ModelStore | None":
        """What this machine keeps of a store elsewhere: the versions that served last. None for a store that is here.

        Verified and trusted like the store itself, and good for reading only.
        """
        backend = self._backend.mirror
        return None if backend is None else ModelStore(backend, max_bytes=self._max_bytes, trust=self._trust)

    def sign(self, name: str, key: SigningKey) -> Signature:
        """Signs the version behind an alias or a digest. Raises BundleError when it is damaged, and as `find` does."""
        digest = self.find(name)
        self._backend.verify_version(digest, self._max_bytes)
        signature = key.sign(digest)
        self._backend.add_signature(digest, signature)
        return signature

    def signatures(self, name: str) -> list[Signature]:
        """What has been signed of a version, by whomever, unchecked. Raises as `find` does."""
        return self._backend.read_signatures(self.find(name))

    def inspect(self, name: str) -> Manifest:
        """What a version says of itself; of its files only names and lengths are checked. Raises as `open` does."""
        return self._backend.inspect_version(self.find(name), self._max_bytes)

    def read_file(self, manifest: Manifest, name: str) -> bytes:
        """One file of an inspected version, checked as it is read. Raises BundleError, VersionNotFoundError."""
        return self._backend.read_file(manifest, name)

    def find(self, name: str) -> str:
        """The digest behind an alias, a digest or a unique prefix of at least 8 digits.

        Raises VersionNotFoundError, AliasNotFoundError.
        """
        if name in list(Alias):
            return self.resolve(name).digest
        digests = self._backend.list_digests()
        matches = [digest for digest in digests if digest.startswith(name)]
        if len(name) < MIN_PREFIX_LENGTH or len(matches) != 1:
            raise VersionNotFoundError(name=name, store=self.location)
        return matches[0]

    def versions(self, *, verify_contents: bool = True) -> list[StoredVersion]:
        """Every version, newest first by its manifest, damaged ones with the reason.

        `verify_contents=False` leaves out reading the files: fast enough for a request, but blind to flipped bits.
        """
        versions = [self._inspect(digest, verify_contents=verify_contents) for digest in self._backend.list_digests()]
        return sorted(versions, key=_age_key, reverse=True)

    def resolve(self, alias: str) -> AliasState:
        """Where an alias points. Raises UnknownAliasError, AliasNotFoundError, CorruptAliasError."""
        move = self._backend.read_alias(_known_alias(alias))
        if move is None:
            raise AliasNotFoundError(alias=alias, store=self.location)
        return AliasState(move.to_digest, move.generation)

    def release(self) -> Release:
        """What serves people now. Raises AliasNotFoundError where `stable` was never set, CorruptAliasError.

        A candidate counts for as long as it is another version than `stable`, and `stable` has not moved since it was
        named: it was gated against the version that was stable then. So promoting it ends the canary, and so does
        pointing it at `stable`.
        """
        candidate = self._backend.read_alias(Alias.CANDIDATE)
        stable = self._backend.read_alias(Alias.STABLE)
        if stable is None:
            raise AliasNotFoundError(alias=Alias.STABLE, store=self.location)
        state, since = AliasState(stable.to_digest, stable.generation), _moment(stable.time)
        if candidate is None or candidate.to_digest == stable.to_digest or _moment(candidate.time) < since:
            return self._trusted(Release(state, None, since))
        rival = AliasState(candidate.to_digest, candidate.generation)
        return self._trusted(Release(state, rival, _moment(candidate.time)))

    def take_up(self, alias: str, state: AliasState) -> None:
        """Notes that a version was opened and serves people by an alias: `release` takes it no further back.

        The copy of a store that is elsewhere keeps it, so that it can be served while the store is away.
        """
        if self._trust is not None:
            self._trust.remember(_known_alias(alias), state)
        self._backend.take_up(_known_alias(alias), state)

    def _trusted(self, release: Release) -> Release:
        """The same, but that an alias which went back is where it was before; a candidate then is none."""
        if self._trust is None:
            return release
        problems = []
        stable, candidate = release.stable, release.candidate
        try:
            self._trust.check(Alias.STABLE, stable)
        except AliasWentBackError as error:
            problems.append(error)
            stable, candidate = self._trust.last(Alias.STABLE) or stable, None
        try:
            if candidate is not None:
                self._trust.check(Alias.CANDIDATE, candidate)
        except AliasWentBackError as error:
            problems.append(error)
            candidate = None
        return Release(stable, candidate, release.since, tuple(problems))

    def history(self, alias: str) -> list[AliasMove]:
        """Every move of an alias, oldest first. Raises UnknownAliasError, CorruptAliasError."""
        return self._backend.read_history(_known_alias(alias))

    def promote(self, alias: str, name: str, *, expected_generation: int | None = None, reason: str = "") -> AliasState:
        """Moves an alias to a version and gives its new state. Raises what `plan_promotion` and `apply` raise."""
        return self.apply(alias, self.plan_promotion(alias, name, expected_generation, reason))

    def rollback(self, alias: str, *, expected_generation: int | None = None, reason: str = "") -> AliasState:
        """Moves an alias back to the version before, as a new generation. A second rollback goes one further back.

        Raises what `plan_rollback` and `apply` raise.
        """
        return self.apply(alias, self.plan_rollback(alias, expected_generation, reason))

    def plan_promotion(
        self, alias: str, name: str, expected_generation: int | None = None, reason: str = ""
    ) -> AliasMove:
        """The move that `promote` would make, all its checks done and nothing changed.

        `expected_generation` is the one that the caller's decision rests on, 0 for an alias never set; None takes
        today's. Raises AliasConflictError when the alias has moved on, and what `open` raises: only a version that
        verifies can be promoted.
        """
        current, history = self._read(alias, expected_generation)
        return _next_move(current, history, self._check(name), "promote", reason)

    def plan_rollback(self, alias: str, expected_generation: int | None = None, reason: str = "") -> AliasMove:
        """The move that `rollback` would make, nothing changed.

        Raises AliasNotFoundError, NoEarlierVersionError and what `plan_promotion` raises.
        """
        current, history = self._read(alias, expected_generation)
        if current is None:
            raise AliasNotFoundError(alias=alias, store=self.location)
        digest = _digest_before(history)
        if digest is None:
            raise NoEarlierVersionError(alias=alias, store=self.location)
        return _next_move(current, history, self._check(digest), "rollback", reason)

    def apply(self, alias: str, move: AliasMove) -> AliasState:
        """Makes a planned move. Raises AliasConflictError when the alias has moved since it was planned."""
        self._backend.move_alias(_known_alias(alias), move)
        return AliasState(move.to_digest, move.generation)

    def last_run(self) -> RunReport | None:
        """How the last learning run ended; None where none has, or its report cannot be read."""
        return self._backend.read_run_report()

    def last_curation(self) -> CurationReport | None:
        """What the last learning run thought of the ratings; None where none has said so."""
        return self._backend.read_curation()

    def note_curation(self, report: CurationReport) -> None:
        """Leaves what a learning run thinks of the ratings where the service shows it."""
        self._backend.write_curation(report)

    def note_run(self, outcome: RunOutcome) -> RunReport:
        """Notes that a learning run has ended just now, and how."""
        before = self.last_run()
        num_before = before.num_in_a_row if before and before.outcome is outcome else 0
        report = RunReport(outcome=outcome, finished_at=datetime.now(UTC), num_in_a_row=num_before + 1)
        self._backend.write_run_report(report)
        return report

    def _find_trusted(self, name: str) -> str:
        """Asks who has signed a version before anything of it is read."""
        digest = self.find(name)
        if self._trust is not None:
            self._trust.keys.check(digest, self._backend.read_signatures(digest))
        return digest

    def _check(self, name: str) -> str:
        """The digest of a trusted version, every byte of it read where others will find it."""
        digest = self._find_trusted(name)
        self._backend.verify_version(digest, self._max_bytes)
        return digest

    def _read(self, alias: str, expected_generation: int | None) -> tuple[AliasMove | None, list[AliasMove]]:
        """The alias and its history. Raises AliasConflictError when its generation is not the expected one."""
        current = self._backend.read_alias(_known_alias(alias))
        history = self.history(alias)
        generation = _last_generation(history)
        if expected_generation not in (None, generation):
            raise AliasConflictError(alias=alias, expected=expected_generation, actual=generation)
        return current, history

    def _is_intact(self, digest: str) -> bool:
        return self._inspect(digest, verify_contents=True).problem is None

    def _inspect(self, digest: str, *, verify_contents: bool) -> StoredVersion:
        check = self._backend.verify_version if verify_contents else self._backend.inspect_version
        try:
            return StoredVersion(digest, check(digest, self._max_bytes), None)
        except (BundleError, VersionNotFoundError) as error:
            return StoredVersion(digest, self._manifest_of(digest), error)

    def _manifest_of(self, digest: str) -> Manifest | None:
        """What a damaged version says of itself, if even that can be read."""
        try:
            return self._backend.inspect_version(digest, self._max_bytes)
        except (BundleError, VersionNotFoundError):
            return None


def seed(store: ModelStore, bundle_directory: Path = DEFAULT_BUNDLE) -> str:
    """Publishes the bundle that ships with the project and points `stable` at it if `stable` was never set.

    Gives the bundle's digest. Any number of services may do this at once and at every start. Raises as `publish` does.
    """
    digest = store.publish(bundle_directory, allow_hard_links=True)
    if not store.history(Alias.STABLE):
        with suppress(AliasConflictError):  # another service was faster, with the same intent
            store.promote(Alias.STABLE, digest, expected_generation=0, reason="first start")
    return digest


def _known_alias(name: str) -> Alias:
    if name not in list(Alias):
        raise UnknownAliasError(alias=name, known=", ".join(Alias))
    return Alias(name)


def _next_move(
    current: AliasMove | None,
    history: Sequence[AliasMove],
    digest: str,
    action: Literal["promote", "rollback"],
    reason: str,
) -> AliasMove:
    return AliasMove(
        generation=_last_generation(history) + 1,
        action=action,
        from_digest=current.to_digest if current else None,
        to_digest=digest,
        time=datetime.now(UTC).isoformat(timespec="milliseconds"),
        reason=reason[:_MAX_REASON_CHARS].encode(errors="replace").decode(),
    )


def _last_generation(history: Sequence[AliasMove]) -> int:
    return history[-1].generation if history else 0


def _digest_before(history: Sequence[AliasMove]) -> str | None:
    """The version under the present one, where promotions stack versions up and rollbacks take them off."""
    stack: list[str] = []
    for move in history:
        if move.action == "rollback" and stack:
            stack.pop()
        if not stack or stack[-1] != move.to_digest:
            stack.append(move.to_digest)
    return stack[-2] if len(stack) > 1 else None


def _age_key(version: StoredVersion) -> tuple[float, str]:
    created_at = version.manifest.created_at if version.manifest else ""
    return (_moment(created_at).timestamp(), version.digest)


def _moment(time: str) -> datetime:
    """The moment that ISO 8601 text names, in UTC where no zone is given; 1970 for text that names none."""
    try:
        moment = datetime.fromisoformat(time)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
    return moment.replace(tzinfo=moment.tzinfo or UTC)
