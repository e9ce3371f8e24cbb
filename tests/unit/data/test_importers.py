"""Importers: from small samples in the true original layouts to exactly these uniform rows."""

import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.data.importer_samples import read, sgd_dialogue, turns, write
from training.data.importers.registry import import_file
from training.data.importers.rows import NO_EXCHANGE


@pytest.fixture
def far_from_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The local time is hours behind UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "America/Los_Angeles")
        time.tzset()
        yield
    time.tzset()


def test_sgd_takes_the_split_from_the_directory_and_passes_over_the_schema(tmp_path: Path) -> None:
    """Frames are left out, services stay as a label."""
    write(tmp_path / "dev" / "dialogues_001.json", [sgd_dialogue()])
    write(tmp_path / "dev" / "schema.json", [{"service_name": "Restaurants_2"}])
    assert read("sgd", tmp_path) == [
        {
            "id": "sgd-dev-5_00012",
            "source": "SGD",
            "lang": "en",
            "split": "dev",
            "turns": turns("A table for two, please.", "At what time?"),
            "labels": {"services": ["Restaurants_2"]},
        }
    ]


def test_sgd_outside_a_split_directory_gets_an_assigned_split(tmp_path: Path) -> None:
    """The row says by what the split was assigned."""
    (row,) = read("sgd", write(tmp_path / "mine" / "dialogues_1.json", [sgd_dialogue()]))
    assert (row["id"], row["split_by"]) == ("sgd-5_00012", "sha1")
    assert row["split"] in ("train", "dev", "test")


def star_dialogue(dialogue_id: int, events: list[dict[str, object]]) -> dict[str, object]:
    """A dialogue as in STAR's directory `dialogues`."""
    return {
        "AnonymizedUserWorkerID": "u",
        "AnonymizedWizardWorkerID": "w",
        "BatchID": "woz_1",
        "CompletionLevel": "Complete",
        "DialogueID": dialogue_id,
        "Events": events,
        "FORMAT-VERSION": 7,
        "Scenario": {
            "Domains": ["bank"],
            "Happy": False,
            "MultiTask": False,
            "UserTask": "Ask for your balance.",
            "WizardCapabilities": [{"Domain": "bank", "SchemaImage": "bank_balance.jpg", "Task": "bank_balance"}],
            "WizardTask": "Help the user.",
        },
        "UserQuestionnaire": [{"Answer": True, "Question": "Did the assistant stay calm?"}],
        "WizardQuestionnaire": [{"Answer": False, "Question": "Was the user annoyed?"}],
    }


STAR_EVENTS: list[dict[str, object]] = [
    {"Action": "instruct", "Agent": "UserGuide", "Text": "Be impatient.", "UnixTime": 1},
    {"Action": "utter", "Agent": "User", "Text": " My balance, now. ", "UnixTime": 2},
    {"Action": "request_suggestions", "Agent": "Wizard", "Text": "name", "UnixTime": 3},
    {
        "Action": "pick_suggestion",
        "ActionLabel": "ask_name",
        "Agent": "Wizard",
        "Text": "Could I get\nyour name?",
        "UnixTime": 4,
    },
    {"Action": "utter", "Agent": "Wizard", "Text": "Your full name.", "UnixTime": 5},
    {"Action": "query", "APIName": "bank_balance", "Agent": "Wizard", "Constraints": [], "UnixTime": 6},
    {"Action": "return_item", "APIName": "bank_balance", "Agent": "KnowledgeBase", "Item": {}, "TotalItems": -1},
    {"Action": "complete", "Agent": "User", "UnixTime": 7},
]


def test_star_keeps_what_was_sent_and_the_questionnaires(tmp_path: Path) -> None:
    """Guidance, suggestions not sent and queries are left out; two turns of one speaker become one."""
    assert read("star", write(tmp_path / "7.json", star_dialogue(7, STAR_EVENTS))) == [
        {
            "id": "star-7",
            "source": "STAR",
            "lang": "en",
            "split": "train",
            "turns": turns("My balance, now.", "Could I get your name? Your full name."),
            "labels": {
                "domains": ["bank"],
                "tasks": ["bank_balance"],
                "happy": False,
                "multitask": False,
                "completion": "Complete",
                "user_questionnaire": {"Did the assistant stay calm?": True},
                "wizard_questionnaire": {"Was the user annoyed?": False},
                "user_task": "Ask for your balance.",
            },
            "split_by": "sha1",
        }
    ]


def test_star_skips_dialogues_that_broke_off(tmp_path: Path) -> None:
    """A directory is read in the order of its numbers; a dialogue without events is counted as skipped."""
    for number, events in ((10, STAR_EVENTS), (9, STAR_EVENTS), (44, [])):
        write(tmp_path / "dialogues" / f"{number}.json", star_dialogue(number, events))
    report = import_file("star", tmp_path / "dialogues", tmp_path / "star.jsonl")
    ids = [json.loads(line)["id"] for line in (tmp_path / "star.jsonl").read_text(encoding="utf-8").splitlines()]
    assert ids == ["star-9", "star-10"]
    assert (report.num_rows, report.skipped) == (2, {NO_EXCHANGE: 1})


def taskmaster_utterances(user: str, assistant: str) -> list[dict[str, object]]:
    """Two utterances as in Taskmaster, with the editions' spelling of the speakers."""
    return [
        {"index": 0, "speaker": user, "text": "An espresso.", "segments": []},
        {"index": 1, "speaker": assistant, "text": "Anything else?", "segments": []},
    ]


@pytest.mark.parametrize(
    ("name", "source", "labels", "speakers"),
    [
        ("taskmaster1", "Taskmaster-1", {"instruction_id": "coffee-ordering-1"}, ("USER", "ASSISTANT")),
        ("taskmaster2", "Taskmaster-2", {"instruction_id": "food-ordering-1"}, ("USER", "ASSISTANT")),
        ("taskmaster4", "Taskmaster-4", {"vertical": "Coffee", "scenario": "No mods"}, ("user", "assistant")),
    ],
)
def test_taskmaster_editions_differ_in_labels_and_spelling_only(
    tmp_path: Path, name: str, source: str, labels: dict[str, str], speakers: tuple[str, str]
) -> None:
    """Instructions to the worker are left out, also where they are null."""
    dialogue = {"conversation_id": "dlg-1", **labels, "instructions": None}
    dialogue["utterances"] = taskmaster_utterances(*speakers)  # type: ignore[assignment]
    assert read(name, write(tmp_path / "data_00.json", [dialogue])) == [
        {
            "id": "dlg-1",
            "source": source,
            "lang": "en",
            "split": "train",
            "turns": turns("An espresso.", "Anything else?"),
            "labels": labels,
            "split_by": "sha1",
        }
    ]


def test_crosswoz_is_chinese_and_val_is_its_dev_split(tmp_path: Path) -> None:
    """Dialogues are named by the keys of one object; states and dialogue acts are left out."""
    dialogue = {
        "sys-usr": [20, 31],
        "goal": [[1, "餐馆", "人均消费", "50-100元", False]],
        "messages": [
            {"content": "你好，推荐一家餐馆。", "dialog_act": [["General", "greet", "none", "none"]], "role": "usr"},
            {"content": "推荐您去讲礼驴肉馆。", "dialog_act": [], "role": "sys", "sys_state": {}},
        ],
        "final_goal": [],
        "task description": ["你要去一个餐馆(id=1)用餐。"],
        "type": "单领域",
    }
    write(tmp_path / "val.json", {"391": dialogue})
    write(tmp_path / "database" / "hotel_db.json", [["酒店", {}]])
    assert read("crosswoz", tmp_path) == [
        {
            "id": "crosswoz-391",
            "source": "CrossWOZ",
            "lang": "zh",
            "split": "dev",
            "turns": turns("你好，推荐一家餐馆。", "推荐您去讲礼驴肉馆。"),
            "labels": {"type": "单领域", "goal_text": ["你要去一个餐馆(id=1)用餐。"]},
        }
    ]


def test_bitext_keeps_lines_and_placeholders(tmp_path: Path) -> None:
    """Line ends become line feeds; the variation letters are the tags."""
    content = (
        "flags,instruction,category,intent,response\r\n"
        'BQ,where is order {{Order Number}}?,ORDER,track_order,"Two steps:\r\n\r\n1. Log in, ""here"".\r\n2. Look."\r\n'
        "\r\n"
    )
    assert read("bitext", write(tmp_path / "bitext.csv", content)) == [
        {
            "id": "bitext-0",
            "source": "Bitext-CS",
            "lang": "en",
            "split": "train",
            "turns": turns("where is order {{Order Number}}?", 'Two steps:\n\n1. Log in, "here".\n2. Look.'),
            "labels": {"intent": "track_order", "category": "ORDER", "tags": "BQ", "entity": None},
        }
    ]


def test_bitext_reads_the_entity_of_older_editions(tmp_path: Path) -> None:
    """Older files name the letters `tags` and have the entity in columns of its own."""
    content = (
        "instruction,intent,entity_type,entity_value,start_offset,end_offset,category,tags,response\n"
        "cancel order 12,cancel_order,order_id,12,13,15,ORDER,BIL,Done.\n"
    )
    (row,) = read("bitext", write(tmp_path / "bitext.csv", content))
    assert row["labels"]["tags"] == "BIL"
    assert row["labels"]["entity"] == ["order_id", "12"]


def test_cucom_takes_both_names_of_the_agent_and_skips_hindi(tmp_path: Path) -> None:
    """A conversation with Devanagari letters is no English one."""
    lines = [
        {"id": "conv_1", "turns": [{"role": "user", "content": "Empty box!"}, {"role": "agent", "content": "Sorry."}]},
        {"id": "conv_2", "turns": [{"role": "user", "content": "Late."}, {"role": "assistant", "content": "Sorry."}]},
        {"id": "conv_3", "turns": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "नमस्ते"}]},
    ]
    path = write(tmp_path / "ecommerce.jsonl", "\n".join(json.dumps(line) for line in lines))
    report = import_file("cucom", path, tmp_path / "out.jsonl")
    assert [row["id"] for row in read("cucom", path)] == ["cucom-conv_1", "cucom-conv_2"]
    assert read("cucom", path)[0] == {
        "id": "cucom-conv_1",
        "source": "CuCom-ecommerce",
        "lang": "en",
        "split": "train",
        "turns": turns("Empty box!", "Sorry."),
        "labels": {"synthetic": True},
        "split_by": "sha1",
    }
    assert report.skipped == {"a language other than English": 1}


def test_chatterbot_keeps_words_that_yaml_would_read_as_values(tmp_path: Path) -> None:
    """The file's name is the topic, its directory the language; statements alternate."""
    write(
        tmp_path / "english" / "trivia.yml",
        "categories:\n- trivia\nconversations:\n- - Are you sure?\n  - Yes\n  - 42\n",
    )
    write(tmp_path / "chinese" / "ai.yml", "categories:\n- AI\nconversations:\n- - 什么是ai\n  - 一门科学。\n")
    assert read("chatterbot", tmp_path) == [
        {
            "id": "cb-zh-ai-0",
            "source": "chatterbot-corpus",
            "lang": "zh",
            "split": None,
            "turns": turns("什么是ai", "一门科学。"),
            "labels": {"topic": "ai"},
        },
        {
            "id": "cb-en-trivia-0",
            "source": "chatterbot-corpus",
            "lang": "en",
            "split": None,
            "turns": turns("Are you sure?", "Yes", "42"),
            "labels": {"topic": "trivia"},
        },
    ]


def test_chatterbot_skips_other_languages_and_statements_that_are_not_text(tmp_path: Path) -> None:
    """A colon in an unquoted statement makes it a mapping: that conversation is skipped, the next is not."""
    write(tmp_path / "french" / "ai.yml", "conversations:\n- - Salut\n  - Bonjour\n")
    write(tmp_path / "english" / "ai.yml", "conversations:\n- - Say\n  - note: this\n- - Hi\n  - Hello\n")
    report = import_file("chatterbot", tmp_path, tmp_path / "out.jsonl")
    assert [row["id"] for row in read("chatterbot", tmp_path)] == ["cb-en-ai-1"]
    assert sorted(report.skipped.values()) == [1, 1]


def test_banking77_names_the_split_by_the_file(tmp_path: Path) -> None:
    """Quoted texts keep their commas."""
    content = 'text,category\nStill no card?,card_arrival\n"It is late, help",card_arrival\n'
    write(tmp_path / "test.csv", content)
    assert read("banking77", tmp_path / "test.csv") == [
        {
            "id": f"banking77-test-{number}",
            "source": "banking77",
            "lang": "en",
            "split": "test",
            "text": text,
            "intent": "card_arrival",
        }
        for number, text in enumerate(("Still no card?", "It is late, help"))
    ]


def test_clinc150_joins_out_of_scope_texts_to_their_splits(tmp_path: Path) -> None:
    """`val` is the dev split; out of scope is an intent of its own."""
    path = write(
        tmp_path / "data_full.json",
        {"oos_val": [["how do i unclog a drain", "oos"]], "train": [["move my money", "transfer"]]},
    )
    assert read("clinc150", path) == [
        {
            "id": "clinc-oos_val-0",
            "source": "clinc150",
            "lang": "en",
            "split": "dev",
            "text": "how do i unclog a drain",
            "intent": "oos",
        },
        {
            "id": "clinc-train-0",
            "source": "clinc150",
            "lang": "en",
            "split": "train",
            "text": "move my money",
            "intent": "transfer",
        },
    ]


@pytest.mark.usefixtures("far_from_utc")
def test_transcripts_are_put_in_order_by_time_and_keep_ratings(tmp_path: Path) -> None:
    """Rows of two conversations may be mixed; a greeting before the customer's first word is left out."""
    content = (
        "conversation_id,role,text,time,rating,agent_name\n"
        "a,customer,Where is my parcel?,2024-05-01T10:00:05Z,,\n"
        "b,Visitor,我忘记了密码,1714557600,,\n"
        "a,Agent,It arrives today.,2024-05-01T12:00:09+02:00,UP,Kim\n"
        "a,agent,Good morning!,2024-05-01T10:00:01,down,Kim\n"
        "a,system,Kim joined,2024-05-01T10:00:00,,\n"
        "b,bot,请点击“忘记密码”。,1714557601.5,down,\n"
    )
    assert read("transcripts", write(tmp_path / "chats.csv", content)) == [
        {
            "id": "own-a",
            "source": "own",
            "lang": "en",
            "split": "train",
            "turns": turns("Where is my parcel?", "It arrives today."),
            "labels": {"ratings": [{"turn": 1, "rating": "up"}]},
            "split_by": "sha1",
        },
        {
            "id": "own-b",
            "source": "own",
            "lang": "zh",
            "split": "train",
            "turns": turns("我忘记了密码", "请点击“忘记密码”。"),
            "labels": {"ratings": [{"turn": 1, "rating": "down"}]},
            "split_by": "sha1",
        },
    ]


def test_transcripts_are_masked_before_they_are_written(tmp_path: Path) -> None:
    """Addresses, numbers and the writers' names become placeholders, and so does an id that is an address."""
    content = (
        "conversation_id,role,text,name\n"
        "jo@example.org,user,I am Jo and my mail is jo@example.org. <EMAIL>,Jo Novak\n"
        "jo@example.org,agent,Hello Jo! Kim here; is it jo@example.org?,Kim Berg\n"
        "jo@example.org,user,Yes; ring +44 20 7946 0958 about order 4711-22,Jo Novak\n"
        "jo@example.org,agent,Thanks.,Kim Berg\n"
    )
    (row,) = read("transcripts", write(tmp_path / "chats.csv", content))
    assert row["turns"] == turns(
        "I am <NAME> and my mail is <EMAIL>. ‹EMAIL›",
        "Hello <NAME>! <NAME_2> here; is it <EMAIL>?",
        "Yes; ring <PHONE> about order <ORDER_ID>",
        "Thanks.",
    )
    assert len(row["id"]) == len("own-") + 16 and "jo" not in row["id"].removeprefix("own-")


def test_of_two_ratings_on_one_turn_the_later_counts(tmp_path: Path) -> None:
    """Two messages of the agent become one turn; an unrated one takes no rating away."""
    content = "conversation_id,role,text,rating\n1,user,Hi,\n1,bot,One.,up\n1,bot,Two.,down\n1,bot,Three.,\n"
    (row,) = read("transcripts", write(tmp_path / "chats.csv", content))
    assert row["turns"] == turns("Hi", "One. Two. Three.")
    assert row["labels"] == {"ratings": [{"turn": 1, "rating": "down"}]}


def test_transcripts_may_be_gzipped_json_lines_without_time_and_rating(tmp_path: Path) -> None:
    """Numbers do as ids; blank lines and a byte-order mark are passed over."""
    path = tmp_path / "chats.jsonl.gz"
    lines = [
        {"conversation_id": 3, "role": "user", "text": "Hi"},
        {"conversation_id": 3, "role": "assistant", "text": "Hello", "time": None, "rating": None},
    ]
    path.write_bytes(gzip.compress(("\ufeff" + "\n\n".join(json.dumps(line) for line in lines)).encode()))
    (row,) = read("transcripts", path)
    assert (row["id"], row["turns"]) == ("own-3", turns("Hi", "Hello"))
    assert "labels" not in row
