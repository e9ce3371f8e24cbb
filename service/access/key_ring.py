"""The keys that open this service now: read from the store again and again, so that requests need not wait for it."""

import asyncio
import hmac

import structlog

from service.access.api_keys import ApiKey, digest_of
from service.access.key_store import KeyStore
from service.records.errors import RecordStoreUnavailableError

_NO_DIGEST = "0" * 64

_log = structlog.get_logger(__name__)


class KeyRing:
    """The live keys as the store had them at the last look. While the store is away they stay as they are."""

    def __init__(self, store: KeyStore, fixed: tuple[ApiKey, ...] = ()) -> None:
        """`fixed` keys are none of the store's and never go."""
        self._store = store
        self._fixed = fixed
        self._hang(())

    async def poll(self) -> None:
        """Looks once. A store that is away is only logged."""
        try:
            self._hang(await asyncio.to_thread(self._store.list, is_live=True))
        except RecordStoreUnavailableError as error:
            _log.warning("api_keys_not_read", code=error.code)

    async def follow(self, poll_seconds: float) -> None:
        """Looks until it is cancelled."""
        while True:
            await asyncio.sleep(poll_seconds)
            await self.poll()

    def find(self, key: str) -> ApiKey | None:
        """The key with this text; takes as long for a wrong one."""
        digest = digest_of(key)
        found = self._by_digest.get(digest)
        # The dictionary compares SHA-256 of what was sent: how far that agrees says nothing about any key.
        is_it = hmac.compare_digest(digest, found.digest if found else _NO_DIGEST)
        return found if is_it else None

    def get(self, key_id: str) -> ApiKey | None:
        """The live key with this id."""
        return self._by_id.get(key_id)

    def _hang(self, keys: tuple[ApiKey, ...]) -> None:
        live = (*self._fixed, *keys)
        self._by_digest = {key.digest: key for key in live}
        self._by_id = {key.id: key for key in live}
        self.origins = frozenset(origin for key in live for origin in key.origins)
