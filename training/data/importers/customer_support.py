"""Customer support written for training: Bitext's questions and answers, CuCom's complaints to an online shop.

Both are synthetic. Bitext's `{{Placeholders}}` and CuCom's shop name stay as they are: the domain's own placeholders
are put in when training reads the rows.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from training.data.importers.reading import Record, find_files, read_csv, read_json_lines
from training.data.importers.rows import Origin, Row, Skipped, Turn, TurnRole, conversation_row, spoken_turns

_CUCOM_ROLES: dict[str, TurnRole] = {"user": "user", "agent": "agent", "assistant": "agent"}
_DEVANAGARI = re.compile(r"[\u0900-\u097f]")


def parse_bitext(path: Path) -> Iterator[Row | Skipped]:
    """Rows of Bitext's training CSV, all of split train. Raises ImportFormatError.

    The language-variation letters are `flags` in today's file and `tags` in older ones; only the older ones name the
    entity in the question. Offsets and response types are left out.
    """
    for file in find_files(path, "*.csv"):
        rows = read_csv(file, ("instruction", "response", "category", "intent"))
        for number, row in enumerate(rows):
            labels = {
                "intent": row.text("intent"),
                "category": row.text("category"),
                "tags": row.fields.get("flags", row.fields.get("tags", "")),
                "entity": _bitext_entity(row),
            }
            turns = [Turn("user", row.text("instruction")), Turn("agent", row.text("response"))]
            yield conversation_row(Origin(f"bitext-{number}", "Bitext-CS", "en", "train"), turns, labels)


def _bitext_entity(row: Record) -> list[str] | None:
    entity = [row.fields.get("entity_type", ""), row.fields.get("entity_value", "")]
    return entity if all(entity) else None


def parse_cucom(path: Path) -> Iterator[Row | Skipped]:
    """Rows of CuCom's e-commerce JSON lines. Raises ImportFormatError.

    Conversations with Hindi in its own script are skipped. The corpus's banking half mixes English with romanised
    Hindi, which nothing here can tell apart: do not import it.
    """
    for file in find_files(path, "*.jsonl"):
        for conversation in read_json_lines(file):
            row_id = f"cucom-{conversation.identifier('id')}"
            messages = conversation.records("turns")
            turns = list(spoken_turns(messages, speaker="role", text="content", roles=_CUCOM_ROLES))
            if any(_DEVANAGARI.search(turn.text) for turn in turns):
                yield Skipped("a language other than English")
            else:
                yield conversation_row(Origin.assigned(row_id, "CuCom-ecommerce", "en"), turns, {"synthetic": True})
