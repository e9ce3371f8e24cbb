"""Writes the view `training_examples` as JSON lines, for training on a machine that cannot reach the database.

What is in the view is decided in `migrations`; the same rows can be read with plain SQL.
"""

import json
from typing import TextIO

from sqlalchemy import select

from service.records.database import open_reader, transaction
from service.records.tables import training_examples

_ROWS_PER_FETCH = 100


def export_training_examples(url: str, stream: TextIO) -> int:
    """Writes one JSON object a line, in the order of rating, and returns their number.

    Keys are `TRAINING_EXAMPLES_COLUMNS` in order; columns that hold JSON stay JSON text. `stream` must accept all of
    Unicode. Holds one fetch of rows in memory and reads one consistent state beside a running service.
    Raises InvalidRecordStoreUrlError or RecordStoreUnavailableError.
    """
    columns = training_examples.c
    query = select(training_examples).order_by(columns.rated_at, columns.completion_id, columns.rater)
    engine = open_reader(url)
    num_rows = 0
    try:
        with transaction(engine) as connection:
            for row in connection.execution_options(yield_per=_ROWS_PER_FETCH).execute(query).mappings():
                stream.write(json.dumps(dict(row), ensure_ascii=False) + "\n")
                num_rows += 1
    finally:
        engine.dispose()
    return num_rows
