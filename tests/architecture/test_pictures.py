"""The documentation's pictures: there, and small enough to be cloned by everybody."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAX_BYTES = 150_000
_PICTURE = re.compile(r"!\[[^\]]+\]\(([^)\s]+)\)|\bsrc(?:set)?=\"([^\"]+)\"")


def shown() -> list[tuple[Path, Path]]:
    """Documents with the pictures that they show."""
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [
        (document, (document.parent / (found[1] or found[2])).resolve())
        for document in documents
        for found in _PICTURE.finditer(document.read_text(encoding="utf-8"))
        if "://" not in found[0]
    ]


def test_every_picture_that_is_shown_is_there() -> None:
    """By README and docs; `make screenshots` takes them."""
    pictures = shown()
    assert len(pictures) >= 4
    assert [str(picture) for _, picture in pictures if not picture.is_file()] == []


def test_every_screenshot_is_shown() -> None:
    """What nobody sees need not be cloned by everybody."""
    taken = set((ROOT / "docs" / "screenshots").glob("*.png"))
    assert sorted(picture.name for picture in taken - {picture for _, picture in shown()}) == []


def test_pictures_are_small() -> None:
    """Each at most 150 kB."""
    pictures = list((ROOT / "docs").rglob("*.png"))
    assert {picture.name: picture.stat().st_size for picture in pictures if picture.stat().st_size > MAX_BYTES} == {}
