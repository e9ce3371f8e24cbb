"""The reception: what a request for a completion rests on is fetched before the chatbot sees it.

A continued conversation gets its history; a request that is sent again under its key gets what the first one led to.
"""

import asyncio
import hmac
from dataclasses import replace

from service.chat.chatbot import Chatbot, ChatLimits
from service.chat.conversations.archive import Archive
from service.chat.recording import Recorder
from service.chat.reply import ChatRequest, Reply
from service.errors import UnsupportedParameterError
from service.records.store import Claim, IdempotencyKey, RecordStore

_LEASE_MARGIN_SECONDS = 60.0
"""Beyond the wait for the first token: longer than any completion takes that is still alive."""


class Reception:
    """Lives on the event loop; holds nothing of any request."""

    def __init__(
        self, chatbot: Chatbot, archive: Archive, records: RecordStore, recorder: Recorder, limits: ChatLimits
    ) -> None:
        self._chatbot = chatbot
        self._archive = archive
        self._records = records
        self._recorder = recorder
        self._limits = limits

    async def start(self, request: ChatRequest, key: IdempotencyKey | None) -> Reply:
        """Starts a reply, or tells again what the first request with this key was told.

        Raises what `Chatbot.start` raises, ConversationNotFoundError, IdempotencyError, and UnsupportedParameterError
        for what no record could repeat.
        """
        if key is None:
            return await self._chatbot.start(await self._archive.continue_request(request))
        if request.num_choices > 1 or request.num_top_logprobs is not None:
            name = "n" if request.num_choices > 1 else "logprobs"
            raise UnsupportedParameterError(param=name, name=f"{name} together with an Idempotency-Key")
        lease_seconds = self._limits.max_wait_seconds + _LEASE_MARGIN_SECONDS
        claim = await asyncio.to_thread(self._records.claim, key, lease_seconds=lease_seconds)
        if not isinstance(claim, Claim):
            return await self._replay(request, claim.completion_id)
        try:
            return await self._chatbot.start(replace(await self._archive.continue_request(request), claim=claim))
        except BaseException as error:  # raised again: who leaves (a cancellation) must not keep the key taken
            released = self._recorder.release(claim)
            if isinstance(
                error, Exception
            ):  # who is refused and asks again at once must not hear that the key is taken
                await asyncio.gather(asyncio.wrap_future(released), return_exceptions=True)
            raise

    async def _replay(self, request: ChatRequest, completion_id: str) -> Reply:
        completion = await asyncio.to_thread(self._records.get_completion, completion_id, tenant=request.tenant)
        request = await self._archive.continue_request(request, up_to=completion_id)
        return await self._chatbot.replay(request, completion)

    def idempotency_key(self, tenant: str, route: str, key: str, body: bytes) -> IdempotencyKey:
        """A client's key and request as they may be kept: without the service's secret they say nothing."""
        return IdempotencyKey(
            tenant=tenant, route=route, key_digest=self._digest(key.encode()), request_digest=self._digest(body)
        )

    def _digest(self, data: bytes) -> str:
        return hmac.digest(self._limits.rater_secret.encode(), b"idempotency\n" + data, "sha256").hex()
