"""Retention: the service deletes by itself what is older than the operator keeps it."""

import asyncio
from datetime import UTC, datetime, timedelta

import structlog

from service.records.errors import RecordsError
from service.records.store import RecordStore

_PERIOD_SECONDS = 3600.0

_log = structlog.get_logger(__name__)


async def keep_purging(records: RecordStore, retention_days: int, period_seconds: float = _PERIOD_SECONDS) -> None:
    """Purges at once and then every hour, until cancelled; 0 days: only idempotency keys go.

    Any number of replicas may do this. A database that is away is tried again an hour later.
    """
    while True:
        try:
            await asyncio.to_thread(records.forget_keys)
            if retention_days:
                before = datetime.now(UTC) - timedelta(days=retention_days)
                counts = await asyncio.to_thread(records.purge, before)
                if any(counts):
                    _log.info("records_purged", retention_days=retention_days, **counts._asdict())
        except RecordsError as error:
            _log.warning("purge_failed", code=error.code, problem=str(error))
        await asyncio.sleep(period_seconds)
