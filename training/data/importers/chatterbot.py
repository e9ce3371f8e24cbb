"""chatterbot-corpus: small talk as YAML, `categories` and `conversations`, each a list of statements in turn.

Left out: the categories (the file's name is the topic, as in the corpus) and every language but English and Chinese,
which the directory names.
"""

from collections.abc import Iterator
from pathlib import Path

import yaml

from training.data.importers.reading import Record, as_record, file_stem, find_files, quote, read_text
from training.data.importers.rows import Origin, Row, Skipped, Turn, conversation_row
from training.errors import ImportFormatError

_LANGUAGES = {"english": ("en", "en"), "chinese": ("zh", "zh"), "tchinese": ("zh-hant", "zh")}
_OTHER_LANGUAGE = "a file outside a directory named english, chinese or tchinese: its language is unknown"


def parse_chatterbot(path: Path) -> Iterator[Row | Skipped]:
    """Rows of one `.yml` file or of all below a directory, without a split. Raises ImportFormatError.

    Files of other languages are skipped, and conversations with a statement that is not text.
    """
    for file in find_files(path, "*.yml"):
        language = _LANGUAGES.get(file.resolve().parent.name)
        if language is None:
            yield Skipped(_OTHER_LANGUAGE)
            continue
        code, lang = language
        topic = file_stem(file)
        for number, statements in enumerate(_load(file)):
            origin = Origin(f"cb-{code}-{topic}-{number}", "chatterbot-corpus", lang, None)
            yield _conversation(origin, statements, topic)


def _conversation(origin: Origin, statements: object, topic: str) -> Row | Skipped:
    if not isinstance(statements, list) or not all(isinstance(statement, str) for statement in statements):
        return Skipped("a statement that is not text")
    turns = [Turn("agent" if index % 2 else "user", statement) for index, statement in enumerate(statements)]
    return conversation_row(origin, turns, {"topic": topic})


def _load(file: Path) -> list[object]:
    try:
        loader = yaml.SafeLoader(read_text(file))
        # A plain scalar is the text it shows: the reply `Yes` is not the value true.
        loader.yaml_implicit_resolvers = {}
        try:
            document = loader.get_single_data()
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = f"this is no valid YAML ({' '.join(str(error).split())})"
        raise ImportFormatError(path=file, problem=problem) from error
    return _conversations(as_record(file, "the file", document))


def _conversations(document: Record) -> list[object]:
    conversations = document.fields.get("conversations")
    if not isinstance(conversations, list):
        document.fail(f"'conversations' must be a list, it is {quote(conversations)}")
    return conversations
