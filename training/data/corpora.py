"""Real dialogues in the uniform form: read, masked, cleaned, ready for language training.

Each source lies in `<folder>/<source>.jsonl.gz`, one object a line (`importers` makes such files from the original
formats).
What is left out on purpose: what a turn says beyond 1,000 characters, and what `cleaning` leaves out.
"""

import gzip
import itertools
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from model_store.contract.conversation import Message, detect_language
from model_store.contract.entities import EntityMasker, EntityVault
from model_store.contract.manifest import DataLicence
from training.data.cleaning.exchanges import RepetitionFilter, clean_conversation
from training.data.domain_pack import DomainPack, Intent
from training.errors import DataNotFoundError, ImportFormatError

LICENCES = {
    "sgd": "CC BY-SA 4.0",
    "star": "MIT",
    "cucom_ecommerce": "Apache-2.0",
    "bitext_cs": "CDLA-Sharing-1.0",
    "taskmaster4": "CC BY 4.0",
    "chatterbot_corpus": "BSD-3-Clause",
    "crosswoz": "Apache-2.0",
    "intents": "CC BY 4.0 (banking77), CC BY 3.0 (clinc150)",
}
ASK_SOURCES = ("bitext_cs", "intents")
"""Sources that say the intent of what is asked."""
OTHER_TRADES = frozenset(("sgd", "star", "taskmaster4", "chatterbot_corpus", "crosswoz"))
"""Sources whose agents do not speak for a shop: a phone number that they give is a restaurant's."""

_MAX_MESSAGE_ROWS = 6000
_MAX_MESSAGE_CHARS = 160
_MAX_MORE_ASKS = 3000


@dataclass(frozen=True)
class Corpus:
    """One source's conversations, masked and cleaned."""

    source: str
    conversations: tuple[tuple[Message, ...], ...]

    @property
    def licence(self) -> DataLicence:
        """What the manifest says of this source."""
        return DataLicence(
            source=self.source, licence=LICENCES.get(self.source, "unknown"), num_rows=len(self.conversations)
        )


def read_rows(folder: Path, source: str) -> Iterator[dict[str, Any]]:
    """Rows of a source: its training split, or all where it has none.

    Raises DataNotFoundError or ImportFormatError.
    """
    rows = _all_rows(folder, source)
    yield from [row for row in rows if _is_for_training(row)] or rows


def read_held_back_rows(folder: Path, source: str) -> Iterator[dict[str, Any]]:
    """Rows of a source that `read_rows` leaves out; none where it has one split only. Raises as `read_rows` does."""
    rows = _all_rows(folder, source)
    if any(_is_for_training(row) for row in rows):
        yield from (row for row in rows if not _is_for_training(row))


def _is_for_training(row: Mapping[str, Any]) -> bool:
    return row.get("split") in (None, "train")


def load_out_of_scope(folder: Path) -> list[str]:
    """clinc150's questions beyond any assistant's scope that training does not see (its development split), masked."""
    masker = EntityMasker()
    rows = (row for row in _all_rows(folder, "intents") if row["source"] == "clinc150" and row["intent"] == "oos")
    return [masker.mask(row["text"], EntityVault()) for row in rows if row.get("split") == "dev"]


def _all_rows(folder: Path, source: str) -> list[dict[str, Any]]:
    path = folder / f"{source}.jsonl.gz"
    if not path.exists():
        remedy = "Import it, or take it out of source_shares."
        raise DataNotFoundError(what=f"The source {source!r}", path=path, remedy=remedy)
    return list(_parse_lines(path))


def _parse_lines(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise ImportFormatError(path=path, problem=f"line {number} is no JSON object") from error


def load_corpus(folder: Path, source: str, max_rows: int, *, held_back: bool = False) -> Corpus:
    """What is left of a source's first `max_rows` conversations, masked and cleaned, without repetitions.

    `held_back`: of those that training leaves out.
    """
    masker = EntityMasker()
    repetitions = RepetitionFilter()
    rows = read_held_back_rows(folder, source) if held_back else read_rows(folder, source)
    stretches = (
        stretch
        for row in itertools.islice(rows, max_rows)
        for stretch in clean_conversation(row["turns"], masker, is_shop=source not in OTHER_TRADES)
    )
    return Corpus(source, tuple(stretch for stretch in stretches if repetitions.is_new(stretch)))


def load_public_messages(folder: Path) -> dict[str, list[str]]:
    """What people wrote to agents in any source that lies in the folder, masked, each once, by language."""
    masker = EntityMasker()
    found: dict[str, dict[str, None]] = {}
    for source in LICENCES:
        if not (folder / f"{source}.jsonl.gz").exists():
            continue
        for row in itertools.islice(read_rows(folder, source), _MAX_MESSAGE_ROWS):
            for text in _customers_texts(row):
                masked = masker.mask(text, EntityVault())
                found.setdefault(detect_language(masked), {})[masked] = None
    return {language: list(texts) for language, texts in sorted(found.items())}


def _customers_texts(row: Mapping[str, Any]) -> list[str]:
    texts = [turn["text"] for turn in row["turns"] if turn["role"] == "user"] if "turns" in row else [row["text"]]
    return [text for text in texts if 1 < len(text) <= _MAX_MESSAGE_CHARS]


def load_extra_asks(folder: Path, pack: DomainPack) -> Mapping[str, list[str]]:
    """Public data's ways to ask, masked, by the pack's intents (`source_intents.yaml`); none where it does not lie."""
    masker = EntityMasker()
    asks: dict[str, list[str]] = {}
    present = (source for source in ASK_SOURCES if (folder / f"{source}.jsonl.gz").exists())
    for row in itertools.chain.from_iterable(read_rows(folder, source) for source in present):
        source = "bitext_cs" if "turns" in row else row["source"]
        label = row["labels"]["intent"] if "turns" in row else row["intent"]
        intent = pack.source_intents.get(source, {}).get(label)
        if intent:
            text = row["turns"][0]["text"] if "turns" in row else row["text"]
            asks.setdefault(intent, []).append(masker.mask(text, EntityVault()))
    return asks


def with_more_asks(pack: DomainPack, extra: Mapping[str, Sequence[str]], seed: int) -> DomainPack:
    """The pack, each of its English intents with up to 3,000 more asks; braces would be slots, such are left out."""
    generator = random.Random(seed)

    def widened(intent: Intent) -> Intent:
        more = extra.get(intent.name, ()) if intent.language == "en" else ()
        more = [text for text in more if "{" not in text]
        chosen = generator.sample(more, min(len(more), _MAX_MORE_ASKS))
        return replace(intent, asks=(*intent.asks, *chosen))

    return replace(pack, intents=tuple(map(widened, pack.intents)))
