"""Importers: every way in which a file can be wrong is named by file and place, with advice."""

import gzip
from pathlib import Path

import pytest

from tests.unit.data.importer_samples import problem_of, read, write
from training.data.importers.registry import IMPORTERS
from training.errors import DataNotFoundError

WRONG_LAYOUTS = {
    "sgd": ("dialogues_1.json", [{"dialogue_id": "1", "turns": []}, 5], "item 1: there is no 'services'"),
    "star": ("1.json", {"DialogueID": 1, "Events": ["hello"]}, "the file, Events 1: this must be an object"),
    "taskmaster1": ("a-dialogs.json", [{"conversation_id": "1"}], "item 1: there is no 'utterances'"),
    "taskmaster2": ("flights.json", {"conversation_id": "1"}, "item conversation_id: this must be an object"),
    "taskmaster4": (
        "data_0.json",
        [{"conversation_id": "1", "utterances": [{"speaker": "api", "text": ""}]}],
        "item 1, utterances 1: 'speaker' is 'api'; it must be one of user, assistant",
    ),
    "crosswoz": ("val.json", {"1": {"messages": [{"role": "usr", "content": 1}]}}, "item 1: there is no 'type'"),
    "bitext": ("a.csv", "utterance,intent\nhi,greet\n", "lacks instruction, response, category"),
    "cucom": ("a.jsonl", '{"id": "1", "turns": []}\n{"id": \n', "line 2: this is no valid JSON"),
    "chatterbot": ("english/a.yml", "- - Hi\n  - Hello\n", "the file: this must be an object"),
    "banking77": ("train.csv", "label,sentence\n1,hi\n", "lacks text, category"),
    "clinc150": ("data_full.json", {"train": [["hi"]]}, "train 1: this must be [text, intent], it is ['hi']"),
    "transcripts": ("a.xlsx", "x", "transcripts are .csv or .jsonl files"),
    "zendesk": ("tickets.json", '{"id": 1, "comments": {}}', "line 1: 'comments' must be a list"),
    "intercom": ("a.json", {"id": "1", "source": {}}, "line 1: there is no 'conversation_parts'"),
    "chatwoot": ("a.csv", "id,content\n1,Hi\n", "lacks conversation_id, message_type"),
}


@pytest.mark.parametrize("name", IMPORTERS)
def test_every_format_refuses_a_wrong_layout_by_place(tmp_path: Path, name: str) -> None:
    """The message names the file, the place in it and what the format reads."""
    file_name, content, said = WRONG_LAYOUTS[name]
    message = problem_of(name, write(tmp_path / file_name, content))
    assert said in message
    assert f"The format {name!r} reads {IMPORTERS[name].expects}." in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "the start: the file must be one JSON list or object"),
        ('"dialogues"', "the start: the file must be one JSON list or object"),
        ('{"train": [] "test": []}', "after item 1: a ',' is missing"),
        ('{"train": [], "test": NaN}', "item test: this is no valid JSON (NaN is not JSON)"),
        ('{"train": [["cut', "item train: this is no valid JSON"),
        ('{"train" []}', "after the name of item 1: a ':' is missing"),
        ('{"train": []', "after item 1: a ',' is missing, or the file is cut off"),
        ('{"train": []}\n{}', "the end: something follows the end"),
        ("[" * 100_000, "item 1: this is no valid JSON"),
    ],
)
def test_broken_json_is_refused_by_place(tmp_path: Path, content: str, said: str) -> None:
    """Truncated, doubled, endlessly nested or non-standard JSON is named, never a traceback."""
    path = write(tmp_path / "val.json", content)
    assert said in problem_of("clinc150", path)


@pytest.mark.parametrize(
    ("file_name", "data", "said"),
    [
        ("chats.csv", "conversation_id,role,text\n1,user,Gr\xfc\xdfe\n".encode("latin-1"), "it is not UTF-8 text"),
        ("chats.csv.gz", b"conversation_id,role,text\n", "it cannot be read"),
        (
            "chats.csv.gz",
            gzip.compress(b"conversation_id,role,text\n" + b"1,user,Hi\n" * 999, mtime=0)[:-9],
            "it cannot be read",
        ),
        ("chats.jsonl", b'{"conversation_id": 1, "role": "user", "text": 5}', "line 1: 'text' must be text, it is 5"),
    ],
)
def test_unreadable_files_are_refused_by_name(tmp_path: Path, file_name: str, data: bytes, said: str) -> None:
    """Another encoding, something that is not gzip, a cut archive and a number for a text."""
    path = tmp_path / file_name
    path.write_bytes(data)
    assert said in problem_of("transcripts", path)


def test_a_zip_archive_is_refused_with_advice(tmp_path: Path) -> None:
    """CrossWOZ and CuCom are published as archives."""
    assert "unpack it first" in problem_of("crosswoz", write(tmp_path / "train.json.zip", "PK"))


def test_a_missing_file_and_an_empty_directory_are_told_apart(tmp_path: Path) -> None:
    """Nothing there is not the same as nothing of this format there."""
    with pytest.raises(DataNotFoundError, match="Check the path"):
        read("sgd", tmp_path / "nowhere")
    assert "the directory holds no dialogues_*.json" in problem_of("sgd", tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("conversation_id;role;text\n1;user;Hi\n", "row 1: the header 'conversation_id;role;text' lacks"),
        ("conversation_id,role,text\n1,boss,Hi\n", "row 2: 'role' is 'boss'; it must be one of user, customer"),
        ("conversation_id,role,text\n1,user,Hi, you\n", "row 2: it has 4 fields, the header has 3; quote texts"),
        ('conversation_id,role,text\n1,user,"Hi\n', "a quotation mark inside a quoted text must be doubled"),
        ("conversation_id,role,text\n,user,Hi\n", "row 2: 'conversation_id' is empty"),
        ("conversation_id,role,text,rating\n1,agent,Hi,5\n", "row 2: 'rating' is '5'; it must be up, down or empty"),
        ("conversation_id,role,text,rating\n1,user,Hi,up\n", "row 2: a rating stands on a user's message"),
        ("conversation_id,role,text,time\n1,user,Hi,nan\n", "row 2: 'time' is 'nan'; write ISO 8601"),
        ("conversation_id,role,text,time\n1,user,Hi,today\n", "row 2: 'time' is 'today'; write ISO 8601"),
        ("conversation_id,role,text,time\n1,user,Hi,9\n1,agent,Yo,\n", "row 3: conversation '1' has a time on some"),
        ("conversation_id,role,text,text\n1,user,Hi,Hi\n", "row 1: two columns have the same name"),
    ],
)
def test_bad_transcripts_are_refused_by_row_with_advice(tmp_path: Path, content: str, said: str) -> None:
    """Rows are counted as a spreadsheet does: the header is row 1."""
    message = problem_of("transcripts", write(tmp_path / "chats.csv", content))
    assert said in message
    assert "The format 'transcripts' reads a .csv or .jsonl with conversation_id, role, text" in message


def test_every_importer_names_itself_its_licence_and_what_it_reads() -> None:
    """What the command line and the manifest show is never empty."""
    assert set(WRONG_LAYOUTS) == set(IMPORTERS)
    for name, importer in IMPORTERS.items():
        assert importer.name == name
        assert importer.licence
        assert importer.expects
