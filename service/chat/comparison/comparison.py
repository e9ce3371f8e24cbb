"""All of it together, opened and closed with the service."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from model_store.store import ModelStore
from service.chat.chatbot import Chatbot
from service.chat.comparison.pair_desk import PairDesk
from service.chat.comparison.side_by_side import SAMPLE_PROMPTS_FILE, SideBySide, load_prompts
from service.chat.comparison.version_lender import VersionLender
from service.chat.model_router import EngineOpener, ModelRouter
from service.records.pairs.pair_store import PairReader
from service.records.sql_store import SqlRecordStore
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class Comparison:
    """What people compare versions with."""

    side_by_side: SideBySide
    pair_desk: PairDesk


@asynccontextmanager
async def open_comparison(
    settings: Settings,
    chatbot: Chatbot,
    shelf: tuple[ModelStore, ModelRouter],
    records: SqlRecordStore,
    open_engine: EngineOpener,
) -> AsyncIterator[Comparison]:
    """Until the block ends; the records' tables must be there. Raises InvalidDataFileError.

    `open_engine` opens what does not serve; `shelf` is where it lies, and what serves.
    """
    prompts = load_prompts(settings.comparison_prompts_file or SAMPLE_PROMPTS_FILE)
    lender = VersionLender(*shelf, open_engine)
    reader = await asyncio.to_thread(PairReader.open, settings.records_url)
    try:
        yield Comparison(
            SideBySide(chatbot, lender, prompts), PairDesk(chatbot, lender, reader, records.pairs, records)
        )
    finally:
        await lender.close()
        await asyncio.to_thread(reader.close)
