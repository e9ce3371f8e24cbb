"""`import_file`: all rows of an import or nothing, one at a time, cleaned, in stable splits."""

import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.data.importer_samples import read, sgd_dialogue, turns, write
from training.data.importers.registry import IMPORTERS, import_file
from training.data.importers.rows import NO_EXCHANGE, Origin, clean_text
from training.errors import ImportFormatError


@pytest.fixture
def long_file(tmp_path: Path) -> Path:
    """An SGD file of several blocks whose last dialogue is cut off."""
    dialogues: list[dict[str, object]] = [sgd_dialogue(f"1_{number:05d}") for number in range(3000)]
    return write(tmp_path / "train" / "dialogues_001.json", json.dumps(dialogues, indent=1)[:-20])


def test_rows_come_before_the_file_has_been_read(long_file: Path) -> None:
    """All dialogues before the cut are given, then the error names the place."""
    rows: Iterator[dict[str, Any]] = IMPORTERS["sgd"].read(long_file)
    ids = [next(rows)["id"] for _ in range(2999)]
    assert ids == [f"sgd-train-1_{number:05d}" for number in range(2999)]
    with pytest.raises(ImportFormatError, match="item 3000"):
        next(rows)


CHATS = "conversation_id,role,text\n1,user,Hi\n1,agent,Hello\n2,user,Anyone?\n"


def test_import_writes_rows_and_reports_what_it_left_out(tmp_path: Path) -> None:
    """The report has the licence for the manifest; the packed output is the same bytes every time."""
    path = write(tmp_path / "chats.csv", CHATS)
    report = import_file("transcripts", path, tmp_path / "new" / "one.jsonl.gz")
    import_file("transcripts", path, tmp_path / "two.jsonl.gz")
    packed = (tmp_path / "new" / "one.jsonl.gz").read_bytes()
    assert [json.loads(line) for line in gzip.decompress(packed).splitlines()] == read("transcripts", path)
    assert packed == (tmp_path / "two.jsonl.gz").read_bytes()
    time_of_packing = packed[4:8]
    assert time_of_packing == bytes(4)
    assert (report.format_name, report.licence, report.num_rows, report.num_skipped) == (
        "transcripts",
        "your own",
        1,
        1,
    )
    assert report.skipped == {NO_EXCHANGE: 1}


def test_a_failed_import_leaves_the_old_output_and_nothing_else(tmp_path: Path) -> None:
    """A bad row after good ones changes no file."""
    output = write(tmp_path / "out" / "rows.jsonl", "old")
    path = write(tmp_path / "lines.jsonl", '{"conversation_id": 1, "role": "user", "text": "Hi"}\n{"role": "user"}\n')
    with pytest.raises(ImportFormatError, match="line 2: there is no 'conversation_id'"):
        import_file("transcripts", path, output)
    assert [file.read_text(encoding="utf-8") for file in output.parent.iterdir()] == ["old"]


def test_a_row_whose_id_was_seen_before_is_skipped(tmp_path: Path) -> None:
    """The first row of an id counts."""
    path = write(tmp_path / "train" / "dialogues_001.json", [sgd_dialogue(), sgd_dialogue()])
    report = import_file("sgd", path, tmp_path / "out.jsonl")
    assert (report.num_rows, report.skipped) == (1, {"an id that an earlier row has": 1})


@pytest.mark.parametrize(
    ("format_name", "content", "output", "said"),
    [
        ("sdg", CHATS, "out.jsonl", "no format is called 'sdg'; choose sgd, star"),
        ("transcripts", CHATS, "out.json", "must end in .jsonl or .jsonl.gz"),
        ("transcripts", "conversation_id,role,text\n", "out.jsonl", "it holds no usable row (it is empty)"),
        ("transcripts", "conversation_id,role,text\n1,user,Hi\n", "out.jsonl", "it holds no usable row (1 times no"),
        ("transcripts", CHATS, "chats.csv/out.jsonl", "the rows cannot be written to"),
    ],
)
def test_an_import_that_cannot_be_done_says_why(
    tmp_path: Path, format_name: str, content: str, output: str, said: str
) -> None:
    """Unknown format, wrong output, nothing usable, a file where a directory should be: no output is left."""
    path = write(tmp_path / "chats.csv", content)
    with pytest.raises(ImportFormatError) as caught:
        import_file(format_name, path, tmp_path / output)
    assert said in str(caught.value)
    assert list(tmp_path.iterdir()) == [path]


def test_the_output_never_replaces_the_original(tmp_path: Path) -> None:
    """Transcripts as JSON lines could be named as their own output by mistake."""
    path = write(tmp_path / "chats.jsonl", '{"conversation_id": 1, "role": "user", "text": "Hi"}\n')
    with pytest.raises(ImportFormatError, match="would replace the original"):
        import_file("transcripts", path, path)


def test_text_is_cleaned_and_never_breaks_the_output(tmp_path: Path) -> None:
    """Lone surrogates and NULs vanish from texts; what the ids hold of them cannot stop the writing."""
    lines = [
        {"conversation_id": "a\ud800", "role": "user", "text": "e\u0301\ud800\u0000 \t x"},
        {"conversation_id": "a\ud800", "role": "agent", "text": "y\r\n \r\nz"},
    ]
    path = write(tmp_path / "chats.jsonl", "\n".join(json.dumps(line) for line in lines))
    import_file("transcripts", path, tmp_path / "out.jsonl")
    row = json.loads((tmp_path / "out.jsonl").read_text(encoding="utf-8"))
    assert (row["id"], row["turns"]) == ("own-a?", turns("\u00e9 x", "y\n\nz"))


def test_cleaning_takes_linear_time_on_long_runs_of_white_space() -> None:
    """A quadratic pattern would need more than ten times as long for this text."""
    started = time.perf_counter()
    assert clean_text("a" + " \t" * 50_000 + "b") == "a b"
    assert time.perf_counter() - started < 2


def test_assigned_splits_are_stable_and_near_ninety_five_five() -> None:
    """The split depends on the key alone, so rows of one corpus agree however they were imported."""
    splits = [Origin.assigned(f"row-{number}", "s", "en").split for number in range(10_000)]
    assert Origin.assigned("star-7", "STAR", "en", key="7").split == Origin.assigned("7", "STAR", "en").split
    shares = [splits.count(split) / 10_000 for split in ("train", "dev", "test")]
    assert shares == pytest.approx([0.9, 0.05, 0.05], abs=0.01)
