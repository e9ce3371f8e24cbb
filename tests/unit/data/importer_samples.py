"""What the importers' tests share: writing small originals, reading their rows, catching refusals."""

import json
from pathlib import Path
from typing import Any

import pytest

from training.data.importers.registry import IMPORTERS
from training.errors import ImportFormatError


def write(path: Path, content: object) -> Path:
    """Writes text as it is and anything else as JSON, with the directories it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8", newline="")
    return path


def read(name: str, path: Path) -> list[dict[str, Any]]:
    """All rows that an importer reads."""
    return list(IMPORTERS[name].read(path))


def turns(*texts: str) -> list[dict[str, str]]:
    """Uniform turns that alternate, beginning with the user's."""
    return [{"role": "agent" if index % 2 else "user", "text": text} for index, text in enumerate(texts)]


def problem_of(name: str, path: Path) -> str:
    """The message with which an importer refuses a file; it always names the file."""
    with pytest.raises(ImportFormatError) as caught:
        read(name, path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def sgd_dialogue(dialogue_id: str = "5_00012") -> dict[str, object]:
    """A dialogue as in the files of Schema-Guided Dialogue."""
    return {
        "dialogue_id": dialogue_id,
        "services": ["Restaurants_2"],
        "turns": [
            {
                "frames": [{"service": "Restaurants_2", "slots": [], "state": {"active_intent": "ReserveRestaurant"}}],
                "speaker": "USER",
                "utterance": "A table for two, please.",
            },
            {
                "frames": [{"actions": [{"act": "REQUEST", "slot": "time", "values": []}], "service": "Restaurants_2"}],
                "speaker": "SYSTEM",
                "utterance": "At what time?",
            },
        ],
    }
