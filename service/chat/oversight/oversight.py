"""All of it together, opened and closed with the service."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from model_store.store import ModelStore
from service.chat.masking import ConversationMasker
from service.chat.oversight.documents import DocumentLinks
from service.chat.oversight.insights import Insights
from service.chat.oversight.release_desk import ReleaseDesk
from service.chat.oversight.shelf import Shelf
from service.records.oversight.reader import OversightReader
from service.records.store import RecordStore
from service.settings import Settings, load_feedback_secret


@dataclass(frozen=True, slots=True)
class Oversight:
    """What the staff's pages about versions and figures are made from."""

    reader: OversightReader
    records: RecordStore
    insights: Insights
    shelf: Shelf
    release_desk: ReleaseDesk
    links: DocumentLinks
    canary_share: float


@asynccontextmanager
async def open_oversight(
    settings: Settings, store: ModelStore, records: RecordStore, masker: ConversationMasker
) -> AsyncIterator[Oversight]:
    """Until the block ends; the records' tables must be there."""
    reader = await asyncio.to_thread(OversightReader.open, settings.records_url)
    desk = ReleaseDesk(store, records, masker, poll_seconds=settings.poll_seconds, canary_share=settings.canary_share)
    links = DocumentLinks(await asyncio.to_thread(load_feedback_secret, settings))
    try:
        yield Oversight(reader, records, Insights(reader), Shelf(store), desk, links, settings.canary_share)
    finally:
        await asyncio.to_thread(reader.close)
