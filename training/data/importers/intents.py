"""Texts with the intent behind them: banking77 and clinc150.

Left out: banking77's list of categories and clinc150's list of domains, which the rows do not need.
"""

from collections.abc import Iterator
from pathlib import Path

from training.data.importers.reading import file_stem, find_files, quote, read_csv, read_json_items
from training.data.importers.rows import Origin, Row, Skipped, intent_row
from training.errors import ImportFormatError

_BANKING77_SPLITS = ("train", "test")
_CLINC150_SPLITS = {
    "train": "train",
    "val": "dev",
    "test": "test",
    "oos_train": "train",
    "oos_val": "dev",
    "oos_test": "test",
}


def parse_banking77(path: Path) -> Iterator[Row | Skipped]:
    """Rows of `train.csv`, of `test.csv` or of both in a directory. Raises ImportFormatError.

    The file's name is the split; a file of another name gets an assigned one.
    """
    for file in find_files(path, "*.csv"):
        stem = file_stem(file)
        for number, row in enumerate(read_csv(file, ("text", "category"))):
            row_id = f"banking77-{stem}-{number}"
            if stem in _BANKING77_SPLITS:
                origin = Origin(row_id, "banking77", "en", stem)
            else:
                origin = Origin.assigned(row_id, "banking77", "en")
            yield intent_row(origin, row.text("text"), row.text("category"))


def parse_clinc150(path: Path) -> Iterator[Row | Skipped]:
    """Rows of `data_full.json` or another edition's file; out-of-scope texts have the intent `oos`.

    Of a directory only `data_full.json` is read: the editions share their texts. Raises ImportFormatError.
    """
    for file in find_files(path, "data_full.json"):
        for key, pairs in read_json_items(file):
            if key not in _CLINC150_SPLITS or not isinstance(pairs, list):
                problem = f"item {key}: the file must be an object of the lists {', '.join(_CLINC150_SPLITS)}"
                raise ImportFormatError(path=file, problem=problem)
            for number, pair in enumerate(pairs):
                text, intent = _check_pair(file, f"{key} {number + 1}", pair)
                origin = Origin(f"clinc-{key}-{number}", "clinc150", "en", _CLINC150_SPLITS[key])
                yield intent_row(origin, text, intent)


def _check_pair(file: Path, place: str, pair: object) -> tuple[str, str]:
    match pair:
        case [str(text), str(intent)]:
            return text, intent
    raise ImportFormatError(path=file, problem=f"{place}: this must be [text, intent], it is {quote(pair)}")
