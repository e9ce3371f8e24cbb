"""Sessions: the signed right of one person's browser to use the staff's pages for some hours.

Signed, not encrypted. A session says what its person may do, and is worth nothing under other roles than those that it
was given under. The only thing stored is which were ended before their time, and that in the audit: every replica
reads it there.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from itsdangerous import BadData

from service.access.api_keys import Scope
from service.access.sign_in.people import Person
from service.records.errors import RecordStoreUnavailableError
from service.records.store import AuditEvent, RecordStore
from service.signed_texts import timed_serializer

SIGNED_IN, SIGNED_OUT = "access.sign_in", "access.sign_out"
"""What the audit calls it."""
_MAX_ENDED = 2_000
"""Of one tenant, those ended last."""
_SALT = "rejoinder.staff-session"
_ID_BYTES = 12

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Session:
    """Who is signed in, and until when."""

    id: str
    person: Person
    ends_at: datetime


class SessionSigner:
    """Turns sessions into cookies and back (HMAC-SHA-256)."""

    def __init__(self, secret: str, seconds: int, roles: str) -> None:
        """`roles`: whatever text says what the claims are worth now; under another one all sessions end."""
        self.seconds = seconds
        digest = hashlib.sha256(roles.encode()).hexdigest()
        self._serializer = timed_serializer(secret, salt=f"{_SALT}.{digest}")

    def begin(self, person: Person) -> str:
        """A new session's cookie; ASCII."""
        scopes = sorted(person.scopes)
        return str(
            self._serializer.dumps([secrets.token_hex(_ID_BYTES), person.id, person.name, person.tenant, scopes])
        )

    def verify(self, text: str) -> Session | None:
        """The session of a genuine cookie; None for any other, and for one that is over."""
        try:
            payload, begun_at = self._serializer.loads(text, max_age=self.seconds, return_timestamp=True)
            session_id, who, name, tenant, scopes = payload
            person = Person(id=who, name=name, tenant=tenant, scopes=frozenset(map(Scope, scopes)))
        except (BadData, ValueError):
            return None
        return Session(session_id, person, begun_at + timedelta(seconds=self.seconds))


class EndedSessions:
    """Sessions that were ended by signing out, in whichever replica. Lives on the event loop."""

    def __init__(self, records: RecordStore, tenants: Collection[str], seconds: int) -> None:
        """`tenants` and `seconds`: whose sessions there can be, and how long one lasts."""
        self._records = records
        self._tenants = tenants
        self._lifetime = timedelta(seconds=seconds)
        self._ids: frozenset[str] = frozenset()

    def __contains__(self, session: Session) -> bool:
        return _digest(session) in self._ids

    async def begin(self, person: Person) -> None:
        """Notes in the audit that somebody signed in. Raises RecordStoreUnavailableError."""
        await self._note(SIGNED_IN, person, {"scopes": sorted(person.scopes)})

    async def end(self, session: Session) -> None:
        """Ends one for good. Raises RecordStoreUnavailableError, and then it goes on."""
        await self._note(SIGNED_OUT, session.person, {"session": _digest(session)})
        self._ids |= {_digest(session)}

    async def poll(self) -> None:
        """Looks once for those ended elsewhere. A store that is away is only logged."""
        try:
            # Added, not replaced: one that ended here while the store was read would be forgotten again.
            self._ids |= await asyncio.to_thread(self._read)
        except RecordStoreUnavailableError as error:
            _log.warning("ended_sessions_not_read", code=error.code)

    async def follow(self, poll_seconds: float) -> None:
        """Looks until it is cancelled."""
        while True:
            await asyncio.sleep(poll_seconds)
            await self.poll()

    def _read(self) -> frozenset[str]:
        since = datetime.now(UTC) - self._lifetime  # older ones are over anyway
        return frozenset(
            str(event.details["session"])
            for tenant in self._tenants
            for event in self._records.list_audit([SIGNED_OUT], limit=_MAX_ENDED, tenant=tenant, since=since)
        )

    async def _note(self, action: str, person: Person, details: dict[str, object]) -> None:
        event = AuditEvent.now(person.tenant, person.id, action, person.id, details)
        await asyncio.to_thread(self._records.record_audit, event)


def _digest(session: Session) -> str:
    """What is kept of a session's id, so that the audit holds nothing that a session could be made of."""
    return hashlib.sha256(session.id.encode()).hexdigest()[:32]
