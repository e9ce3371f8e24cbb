"""The archive: conversations as their owners ask for them. Begin, list, show, continue, erase.

What is shown and continued is masked, as it was recorded. Which model versions may have learned from a conversation is
told from the manifests in the model store.
"""

import asyncio
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog

from model_store.contract.conversation import Message, Role
from model_store.contract.manifest import Manifest
from model_store.errors import StoreError
from model_store.store import StoredVersion
from service.chat.conversations.transcript import TranscriptMessage, transcribe
from service.chat.reply import ChatRequest
from service.records.copies.export_register import RegisteredExport
from service.records.copies.tombstones import ErasureLog
from service.records.errors import ConversationNotFoundError
from service.records.sql_store import SqlRecordStore
from service.records.store import ConversationSummary, Erasure

MAX_TURNS = 500
"""Turns of a conversation that are shown; the oldest are left out."""
_MAX_CONTINUED_TURNS = 50
"""Turns that a continued conversation is put together from: more than any model's context holds."""
_ID_BYTES = 16
_MADE_HERE = re.compile(r"conv_[0-9a-f]{32}")

_NEVER_RATED = "No completion of this conversation was ever rated, and training learns from rated completions only."
_RATED = (
    "These are all versions in the model store that were trained on feedback and made after this conversation was "
    "first rated, and those that were trained from them. Versions do not say which ratings they saw, so one that is "
    "named may have learned nothing from it. A training run that had begun may publish another one: ask again."
)
_UNREADABLE = "The model store could not be read, so nothing is known about versions. Ask again."

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ConversationView:
    """A conversation as it is shown."""

    id: str
    created_at: datetime
    messages: tuple[TranscriptMessage, ...]


@dataclass(frozen=True, slots=True)
class ErasureReport:
    """What was erased, the manifests of versions that may have learned from it (None: unknown), and what that rests on.

    The manifest's digest names the version. `exports` were made before the erasure and may hold the conversation.
    """

    erasure: Erasure
    versions: tuple[Manifest, ...] | None
    basis: str
    exports: tuple[RegisteredExport, ...] = ()


class Archive:
    """Conversations of all tenants; holds nothing itself. Lives on the event loop."""

    def __init__(
        self, records: SqlRecordStore, erasure_log: ErasureLog, list_versions: Callable[[], Sequence[StoredVersion]]
    ) -> None:
        self._records = records
        self._erasure_log = erasure_log
        self._list_versions = list_versions

    async def begin(self, tenant: str) -> ConversationSummary:
        """An empty conversation under an id that nobody can guess."""
        conversation_id = f"conv_{secrets.token_hex(_ID_BYTES)}"
        return await asyncio.to_thread(
            self._records.begin_conversation, conversation_id, datetime.now(UTC), tenant=tenant
        )

    async def page(
        self, tenant: str, *, limit: int, before: ConversationSummary | None
    ) -> tuple[ConversationSummary, ...]:
        """A tenant's conversations, newest first, from below `before` on."""
        return await asyncio.to_thread(self._records.list_conversations, limit=limit, before=before, tenant=tenant)

    async def show(self, tenant: str, conversation_id: str) -> ConversationView:
        """A conversation with its messages. Raises ConversationNotFoundError."""
        stored = await asyncio.to_thread(
            self._records.get_conversation, conversation_id, max_turns=MAX_TURNS, tenant=tenant
        )
        return ConversationView(stored.id, stored.created_at, transcribe(stored.turns))

    async def continue_request(self, request: ChatRequest, *, up_to: str | None = None) -> ChatRequest:
        """A request for the next reply of a kept conversation, with the history that belongs before its messages.

        Messages that hold a reply are a whole conversation, kept by the client: they stay as they are. `up_to` names a
        completion that the history shall end before. Raises ConversationNotFoundError, also for ids that are not of
        `begin`'s form: those can be guessed, and with the history goes what somebody said.
        """
        if request.conversation_id is None or not request.is_continued:
            return request
        if not _MADE_HERE.fullmatch(request.conversation_id):
            raise ConversationNotFoundError(conversation_id=request.conversation_id)
        stored = await asyncio.to_thread(
            self._records.get_conversation,
            request.conversation_id,
            max_turns=_MAX_CONTINUED_TURNS,
            tenant=request.tenant,
        )
        if any(message.role is Role.ASSISTANT for message in request.messages):
            return request
        ids = [turn.completion_id for turn in stored.turns]
        turns = stored.turns[: ids.index(up_to)] if up_to in ids else stored.turns
        return replace(request, history=_plain(transcribe(turns)))

    async def erase(self, tenant: str, conversation_id: str) -> ErasureReport:
        """Erases a conversation. Raises ConversationNotFoundError."""
        erasure = await asyncio.to_thread(self._erasure_log.erase, self._records, conversation_id, tenant=tenant)
        exports = await asyncio.to_thread(self._records.exports.list, until=erasure.erased_at)
        _log.info("conversation_erased", num_completions=erasure.num_completions, num_feedback=erasure.num_feedback)
        if erasure.first_rated_at is None:
            return ErasureReport(erasure, (), _NEVER_RATED, exports)
        try:
            versions = await asyncio.to_thread(self._list_versions)
        except StoreError as error:
            _log.warning("model_store_unavailable", problem=str(error))
            return ErasureReport(erasure, None, _UNREADABLE, exports)
        manifests = [version.manifest for version in versions if version.manifest is not None]
        return ErasureReport(erasure, learned_since(manifests, erasure.first_rated_at), _RATED, exports)


def learned_since(manifests: Sequence[Manifest], moment: datetime) -> tuple[Manifest, ...]:
    """Versions that were trained on feedback after this moment, and their descendants."""
    named = {
        manifest.digest
        for manifest in manifests
        if manifest.lineage.data_snapshot is not None and _made_at(manifest) > moment
    }
    num_named = -1
    while num_named != len(named):
        num_named = len(named)
        named |= {manifest.digest for manifest in manifests if manifest.lineage.parent in named}
    return tuple(manifest for manifest in manifests if manifest.digest in named)


def _made_at(manifest: Manifest) -> datetime:
    """When a version was made; the end of time where its manifest does not say so in ISO 8601."""
    try:
        moment = datetime.fromisoformat(manifest.created_at)
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _plain(items: Sequence[TranscriptMessage]) -> tuple[Message, ...]:
    return tuple(item.message for item in items)
