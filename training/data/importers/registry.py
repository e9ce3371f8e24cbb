"""The importers by name, and the one function that turns a file of theirs into a file of uniform rows.

START READING HERE. What a row is: `rows`. What a format holds and what is left out of it: the format's module.
"""

import gzip
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import IO, cast
from uuid import uuid4

from model_store.durable import make_directory, sync_directory
from training.data.importers.chatterbot import parse_chatterbot
from training.data.importers.customer_support import parse_bitext, parse_cucom
from training.data.importers.helpdesks.chatwoot import parse_chatwoot
from training.data.importers.helpdesks.intercom import parse_intercom
from training.data.importers.helpdesks.zendesk import parse_zendesk
from training.data.importers.intents import parse_banking77, parse_clinc150
from training.data.importers.rows import Row, Skipped
from training.data.importers.star import parse_star
from training.data.importers.task_dialogues import parse_crosswoz, parse_sgd, parse_taskmaster
from training.data.importers.transcripts import parse_transcripts
from training.errors import ImportFormatError

_DUPLICATE_ID = "an id that an earlier row has"


@dataclass(frozen=True, slots=True)
class Importer:
    """One format: its name, the licence of its data, and what to give it."""

    name: str
    licence: str
    expects: str
    parse: Callable[[Path], Iterator[Row | Skipped]]

    def read(self, path: Path) -> Iterator[Row]:
        """Uniform rows, one at a time. Raises ImportFormatError or DataNotFoundError when it comes to the bad place."""
        return (row for row in self.read_all(path) if not isinstance(row, Skipped))

    def read_all(self, path: Path) -> Iterator[Row | Skipped]:
        """`read` with a `Skipped` in the place of every row that is of no use."""
        try:
            yield from self.parse(path)
        except ImportFormatError as error:
            problem = f"{error.context['problem']}. The format {self.name!r} reads {self.expects}"
            raise ImportFormatError(path=error.context["path"], problem=problem) from error


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import wrote, and how many rows it left out for which reason."""

    format_name: str
    licence: str
    output: Path
    num_rows: int
    skipped: Mapping[str, int]

    @property
    def num_skipped(self) -> int:
        """Rows of the original that are not in the output."""
        return sum(self.skipped.values())


_ALL = (
    Importer("sgd", "CC BY-SA 4.0", "a dialogues_*.json of SGD or a directory of them", parse_sgd),
    Importer("star", "MIT", "a dialogue's .json of STAR or the directory 'dialogues'", parse_star),
    Importer(
        "taskmaster1",
        "CC BY 4.0",
        "self-dialogs.json or woz-dialogs.json of Taskmaster-1 or their directory",
        partial(parse_taskmaster, source="Taskmaster-1", pattern="*-dialogs.json"),
    ),
    Importer(
        "taskmaster2",
        "CC BY 4.0",
        "a .json of Taskmaster-2 or its directory 'data'",
        partial(parse_taskmaster, source="Taskmaster-2", pattern="*.json"),
    ),
    Importer(
        "taskmaster4",
        "CC BY 4.0",
        "a data_*.json of Taskmaster-4 or its directory 'data'",
        partial(parse_taskmaster, source="Taskmaster-4", pattern="data_*.json"),
    ),
    Importer("crosswoz", "Apache-2.0", "train.json, val.json or test.json of CrossWOZ, unpacked", parse_crosswoz),
    Importer("bitext", "CDLA-Sharing-1.0", "the customer-support training .csv of Bitext", parse_bitext),
    Importer("cucom", "Apache-2.0", "the e-commerce .jsonl of CuCom, unpacked", parse_cucom),
    Importer("chatterbot", "BSD", "a .yml of chatterbot-corpus or its directory 'data'", parse_chatterbot),
    Importer("banking77", "CC BY 4.0", "train.csv or test.csv of banking77 or their directory", parse_banking77),
    Importer("clinc150", "CC BY 3.0", "data_full.json of clinc150", parse_clinc150),
    Importer(
        "transcripts",
        "your own",
        "a .csv or .jsonl with conversation_id, role, text and, if you like, time, rating and name",
        parse_transcripts,
    ),
    Importer(
        "zendesk",
        "your own",
        "the JSON export of tickets with their comments, one ticket a line, or a directory of such and of user exports",
        parse_zendesk,
    ),
    Importer(
        "intercom",
        "your own",
        "conversations with their conversation_parts as .json or .jsonl or a directory of them",
        parse_intercom,
    ),
    Importer(
        "chatwoot",
        "your own",
        "messages with conversation_id, message_type and content as .json, .jsonl or .csv or a directory of them",
        parse_chatwoot,
    ),
)
IMPORTERS: Mapping[str, Importer] = MappingProxyType({importer.name: importer for importer in _ALL})
"""Every importer by its name."""


def import_file(format_name: str, path: Path, output: Path) -> ImportReport:
    """Writes the uniform rows of `path` to `output`, a `.jsonl` or `.jsonl.gz`, all of them or nothing.

    The same input gives the same bytes. A row whose id an earlier one has is skipped.

    Raises:
        DataNotFoundError: There is nothing at `path`.
        ImportFormatError: No such format, a bad row, no usable row at all, or an output that cannot be written.
    """
    if format_name not in IMPORTERS:
        raise ImportFormatError(
            path=path, problem=f"no format is called {format_name!r}; choose {', '.join(IMPORTERS)}"
        )
    _check_output(path, output)
    importer = IMPORTERS[format_name]
    skipped: Counter[str] = Counter()
    try:
        with _written_at_once(output) as stream:
            num_rows = _write_rows(importer.read_all(path), stream, skipped)
            if not num_rows:
                raise ImportFormatError(path=path, problem=f"it holds no usable row ({_describe(skipped)})")
    except OSError as error:
        problem = f"the rows cannot be written to {output} ({error}); choose another place or free some space"
        raise ImportFormatError(path=path, problem=problem) from error
    return ImportReport(format_name, importer.licence, output, num_rows, MappingProxyType(dict(skipped)))


def _write_rows(rows: Iterator[Row | Skipped], stream: IO[bytes], skipped: Counter[str]) -> int:
    seen: set[str] = set()
    for row in rows:
        if isinstance(row, Skipped):
            skipped[row.reason] += 1
        elif row["id"] in seen:
            skipped[_DUPLICATE_ID] += 1
        else:
            seen.add(row["id"])
            # Labels and ids are not cleaned as texts are: a lone surrogate in one becomes a question mark.
            stream.write((json.dumps(row, ensure_ascii=False) + "\n").encode(errors="replace"))
    return len(seen)


def _describe(skipped: Mapping[str, int]) -> str:
    return "; ".join(f"{count} times {reason}" for reason, count in skipped.items()) or "it is empty"


def _check_output(path: Path, output: Path) -> None:
    if not output.name.endswith((".jsonl", ".jsonl.gz")):
        raise ImportFormatError(path=path, problem=f"the output {output} must end in .jsonl or .jsonl.gz; rename it")
    if output.resolve() == path.resolve():
        raise ImportFormatError(path=path, problem="the output would replace the original; choose another output")


@contextmanager
def _written_at_once(output: Path) -> Iterator[IO[bytes]]:
    """A stream whose content appears at `output` when the block ends well, and nowhere when it does not."""
    make_directory(output.parent)
    draft = output.with_name(f".{output.name}.{uuid4().hex}")
    try:
        with draft.open("xb") as stream:
            if output.suffix == ".gz":
                with gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0) as packed:
                    yield cast(IO[bytes], packed)
            else:
                yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(draft, output)
    finally:
        draft.unlink(missing_ok=True)
    sync_directory(output.parent)
