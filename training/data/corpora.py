"""Real dialogues in the uniform form: read, masked, cleaned, ready for language training.

Each source lies in `<folder>/<source>.jsonl.gz`, one object a line (`importers` makes such files from the original
formats).
What is left out on purpose: user turns of more than 1,000 characters, and agent sentences that claim an action or a
status.
"""

import gzip
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_store.contract.conversation import Message, Role
from model_store.contract.entities import EntityMasker, EntityVault
from model_store.contract.manifest import DataLicence
from training.data.cleaning import clean_reply, clean_request
from training.data.domain_pack import DomainPack
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
_MAX_TURN_CHARS = 1000
_ROLES = {"user": Role.USER, "agent": Role.ASSISTANT}


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
    training = [row for row in rows if row.get("split") in (None, "train")]
    yield from training or rows


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


def load_corpus(folder: Path, source: str, max_rows: int) -> Corpus:
    """The first `max_rows` conversations of a source, masked and cleaned."""
    masker = EntityMasker()
    rows = itertools.islice(read_rows(folder, source), max_rows)
    conversations = (mask_conversation(row["turns"], masker) for row in rows)
    return Corpus(source, tuple(messages for messages in conversations if messages))


def mask_conversation(turns: list[dict[str, str]], masker: EntityMasker) -> tuple[Message, ...]:
    """Turns as masked messages; one speaker's consecutive turns are joined. Empty when nothing is left to learn."""
    vault = EntityVault()
    messages: list[Message] = []
    for turn in turns:
        role = _ROLES[turn["role"]]
        text = turn["text"].strip()[:_MAX_TURN_CHARS]
        cleaned = clean_reply(text) if role is Role.ASSISTANT else clean_request(text)
        masked = masker.mask_keeping_placeholders(cleaned, vault)
        if not masked:
            continue
        if messages and messages[-1].role is role:
            masked = f"{messages.pop().content} {masked}"
        messages.append(Message(role, masked))
    return tuple(messages) if any(message.role is Role.ASSISTANT for message in messages) else ()


def load_extra_asks(folder: Path, pack: DomainPack) -> Mapping[str, list[str]]:
    """Public data's ways to ask, masked, by the pack's intents (`source_intents.yaml`)."""
    masker = EntityMasker()
    asks: dict[str, list[str]] = {}
    for row in (*read_rows(folder, "bitext_cs"), *read_rows(folder, "intents")):
        source = "bitext_cs" if "turns" in row else row["source"]
        label = row["labels"]["intent"] if "turns" in row else row["intent"]
        intent = pack.source_intents.get(source, {}).get(label)
        if intent:
            text = row["turns"][0]["text"] if "turns" in row else row["text"]
            asks.setdefault(intent, []).append(masker.mask(text, EntityVault()))
    return asks
