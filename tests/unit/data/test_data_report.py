"""The data report: figures that a reader of the rows would count by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from model_store.store import DEFAULT_BUNDLE
from tests.unit.data.helpdesk_samples import MARTA, zendesk_comment, zendesk_ticket
from tests.unit.data.importer_samples import turns, write
from training.cli import main
from training.data.data_report.describe import DataReport, describe
from training.data.data_report.duplicates import DuplicateFinder, Groups
from training.data.data_report.measurements import Lengths, PersonalData, Replies
from training.data.data_report.report_text import report_text
from training.data.data_report.suggested_split import suggest_split
from training.data.domain_pack import DomainPack, Intent, load_pack
from training.data.importers.registry import import_file
from training.errors import DataNotFoundError, ImportFormatError

TOKENIZER = Path(DEFAULT_BUNDLE) / "tokenizer.json"


@pytest.fixture(scope="module")
def pack() -> DomainPack:
    """Four intents of the shop, with sixty asks each."""
    names = ("reset_password", "gift_card", "store_hours", "thanks")
    shop = load_pack("shop")
    few = tuple(Intent(**{**vars(intent), "asks": intent.asks[:60]}) for intent in shop.intents if intent.name in names)
    return DomainPack("few", few, (), shop.slots, {})


def chat(number: int, *said: str, **fields: Any) -> dict[str, Any]:
    """A conversation as an importer writes it."""
    return {"id": f"own-{number}", "source": "own", "lang": "en", "split": "train", "turns": turns(*said), **fields}


def rows_file(path: Path, *rows: dict[str, Any]) -> Path:
    return write(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def described(tmp_path: Path, pack: DomainPack, *rows: dict[str, Any]) -> DataReport:
    return describe(rows_file(tmp_path / "rows.jsonl", *rows), pack)


def test_sizes_and_languages_are_those_of_the_rows(tmp_path: Path, pack: DomainPack) -> None:
    """A directory is described as a whole; texts with an intent are single turns of the user's."""
    rows_file(
        tmp_path / "a.jsonl", chat(1, "Hello", "Hi there"), chat(2, "你好", "您好！", "谢谢", "不客气", lang="zh")
    )
    rows_file(
        tmp_path / "b.jsonl", {"id": "t", "source": "s", "lang": "en", "split": None, "text": "Hey", "intent": "x"}
    )
    report = describe(tmp_path, pack)
    assert (report.num_rows, report.num_conversations, report.num_turns) == (3, 2, {"user": 4, "agent": 3})
    assert (report.languages, report.splits) == ({"en": 2, "zh": 1}, {"train": 2, "none": 1})
    assert report.turns_per_conversation.model_dump() == {"median": 2, "p90": 4, "max": 4}
    assert report.characters_per_turn["agent"].model_dump() == {"median": 3, "p90": 8, "max": 8}
    assert (report.num_tokens, report.nearest_intents) == (None, None)


def test_a_percentile_is_a_length_that_was_counted() -> None:
    """Of one to ten, the median is five and nine in ten do not exceed nine."""
    lengths = Lengths()
    for length in range(1, 11):
        lengths.add(length)
    assert (lengths.summary.model_dump(), lengths.total) == ({"median": 5, "p90": 9, "max": 10}, 55)
    assert Lengths().summary.max == 0


def test_tokens_and_nearest_intents_come_with_a_tokenizer(tmp_path: Path, pack: DomainPack) -> None:
    """Asks nobody authored go to the intent they mean; shares and what is near none are the whole."""
    asks = (
        "i forgot my pasword and cant log in",
        "could you reset the password of my account for me",
        "when do you open",
    )
    rows = [chat(number, ask, "Sure.") for number, ask in enumerate(asks)]
    report = describe(rows_file(tmp_path / "rows.jsonl", *rows), pack, TOKENIZER)
    assert report.num_tokens and report.tokens_per_turn and report.tokens_per_turn["agent"].max == 2
    assert report.nearest_intents is not None
    english = report.nearest_intents["en"]
    assert english.num_messages == 3
    assert english.shares["reset_password"] == pytest.approx(2 / 3, abs=0.001)
    assert english.shares["store_hours"] == pytest.approx(1 / 3, abs=0.001)
    assert sum(english.shares.values()) + english.unsure_share == pytest.approx(1, abs=0.001)


LONG = "Hello, I ordered a blue lamp two weeks ago and it still has not come, could you please look into it for me"


def test_duplicates_are_found_whatever_their_case_spacing_and_numbers(tmp_path: Path, pack: DomainPack) -> None:
    """The third row is the first one with another order's number; the fourth has one word more; the fifth is new."""
    rows = (
        chat(1, f"{LONG} order 12345678", "It is on its way, it should reach you by Friday at the latest"),
        chat(2, "What are your opening hours on public holidays in the summer?", "We open from nine to five"),
        chat(
            3, f"{LONG.upper()}...  order 87654321", "it is on its way; it should reach you by friday, at the latest!"
        ),
        chat(4, f"{LONG} now, order 555777111", "It is on its way, it should reach you by Friday at the latest"),
        chat(5, "The lamp that I ordered came broken, I would like my money back", "I am sorry to hear that"),
    )
    report = described(tmp_path, pack, *rows)
    assert (report.num_exact_duplicates, report.num_near_duplicates) == (1, 1)
    assert (report.suggested_split.num_groups, report.suggested_split.largest_group) == (3, 3)


def test_texts_of_any_length_are_compared() -> None:
    """Nothing, one letter, Chinese; equal ones join and others do not."""
    groups = Groups()
    finder = DuplicateFinder(groups)
    for text in (
        "",
        "!",
        "a",
        "b",
        "我的快递三天没有动了，怎么回事",
        "我的快递三天没有动了，怎么回事呢",
        "怎么申请发票",
    ):
        finder.add(groups.add(), text)
    assert groups.members() == [[0, 1], [2], [3], [4, 5], [6]]
    assert (finder.num_exact, finder.num_near) == (1, 1)


def test_personal_data_is_counted_by_type_in_clear_and_masked(tmp_path: Path, pack: DomainPack) -> None:
    """What the import masked stands beside what training will still mask; facts of the shop are none."""
    report = described(
        tmp_path,
        pack,
        chat(1, "I am <NAME>, mail jo@example.org or <EMAIL>, also al@example.org", "We are open <SUPPORT_HOURS>"),
        chat(2, "<REDACTED> <NAME_2>", "Call +49 171 2345678"),
    )
    assert report.personal_data == {
        "EMAIL": PersonalData(found=2, masked=1),
        "PHONE": PersonalData(found=1, masked=0),
        "NAME": PersonalData(found=0, masked=2),
        "REDACTED": PersonalData(found=0, masked=1),
    }


def test_replies_with_claims_are_those_that_cleaning_shortens(tmp_path: Path, pack: DomainPack) -> None:
    """One claims and keeps a sentence, one is nothing but a claim, two claim nothing; customers may claim."""
    report = described(
        tmp_path,
        pack,
        chat(1, "I have cancelled it", "Good morning. I have initiated a full refund!"),
        chat(2, "Hi", "Your order has been shipped", "ok", "1. Open the page\n2. Choose **refund**"),
        chat(3, "Hi", f"You can return it. {'So ' * 150}it goes."),
    )
    assert report.replies == Replies(num_replies=4, num_with_claims=2, num_emptied=1)


def test_the_split_is_ninety_five_five_and_tears_no_group() -> None:
    """Two hundred rows in groups of up to four: exact shares, each group in one split, the same every time."""
    groups = [
        list(range(start, min(start + size, 200))) for start, size in zip(range(0, 200, 4), [4] * 50, strict=True)
    ]
    ids = [f"r{row}" for row in range(200)]
    first, again = (suggest_split(groups, ids, [None] * 200) for _ in range(2))
    assert first == again
    assert first.sizes == {"train": 184, "dev": 8, "test": 8}
    assert all(len({first.moves[ids[row]] for row in group}) == 1 for group in groups)


def test_a_split_that_holds_already_stays_as_it_is() -> None:
    """No row moves; a torn group goes to training, and groups that fill its place are not torn."""
    ids = [f"r{row}" for row in range(100)]
    splits = ["train"] * 90 + ["dev"] * 5 + ["test"] * 5
    alone = [[row] for row in range(100)]
    assert suggest_split(alone, ids, splits).moves == {}
    torn = suggest_split([[0, 99], *alone[1:99]], ids, splits)
    assert (torn.num_torn_groups, torn.moves["r99"], torn.num_moves) == (1, "train", 2)
    assert torn.sizes == {"train": 90, "dev": 5, "test": 5}


def test_rows_of_one_customer_stay_together(tmp_path: Path, pack: DomainPack) -> None:
    """An imported export needs no move: its rows were split by customer."""
    talks = (("Where is my parcel?", "On its way"), ("Do you sell lamps?", "We do"), ("Can I pay later?", "You can"))
    tickets = [
        zendesk_ticket(
            [zendesk_comment(900 + number // 2, f"{ask} {number}"), zendesk_comment(77, answer, 1)],
            id=number,
            requester={**MARTA, "id": 900 + number // 2},
        )
        for number, (ask, answer) in enumerate(talks * 2)
    ]
    import_file("zendesk", write(tmp_path / "t.json", "\n".join(map(json.dumps, tickets))), tmp_path / "rows.jsonl.gz")
    report = describe(tmp_path / "rows.jsonl.gz", pack)
    assert report.num_rows == 6
    assert (report.suggested_split.num_torn_groups, report.suggested_split.num_groups <= 3) == (0, True)


@pytest.mark.parametrize(
    ("file_name", "content", "said"),
    [
        (
            "chats.csv",
            "conversation_id,role,text\n",
            "it is no .jsonl or .jsonl.gz; make uniform rows of your file first",
        ),
        ("a.jsonl", '{"conversation_id": 1, "role": "user", "text": "Hi"}\n', "line 1: it has neither 'turns' nor"),
        ("a.jsonl", json.dumps(chat(1, "Hi", "Hello")) + "\n{", "line 2: this is no valid JSON"),
        ("a.jsonl", json.dumps(chat(1, turns=[{"role": "bot", "text": "x"}])), "line 1, turns 1: 'role' is 'bot'"),
        ("a.jsonl", "", "it holds no row; import a file first"),
    ],
)
def test_what_is_no_uniform_row_is_refused_by_line(
    tmp_path: Path, pack: DomainPack, file_name: str, content: str, said: str
) -> None:
    """The message says what to do: import the file first."""
    path = write(tmp_path / file_name, content)
    with pytest.raises(ImportFormatError) as caught:
        describe(path, pack)
    assert said in str(caught.value) and str(path) in str(caught.value)
    with pytest.raises(DataNotFoundError):
        describe(tmp_path / "nowhere", pack)


def test_the_text_says_every_kind_of_figure_and_no_text_of_a_row(tmp_path: Path, pack: DomainPack) -> None:
    """People read shares; nothing that a customer wrote is in the report."""
    report = described(
        tmp_path, pack, chat(1, "zebra jo@example.org", "I have issued a refund"), chat(2, "Hi", "Hello")
    )
    text = report_text(report)
    for said in ("2 rows", "2 user, 2 agent turns", "EMAIL", "50.0%", "Suggested split: 2 train, 0 dev, 0 test"):
        assert said in text
    assert "zebra" not in text + report.model_dump_json()


def test_one_command_imports_masks_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was left out is counted by reason; the report is of what was written, in which no address is in clear."""
    content = (
        "conversation_id,role,text,name\n1,user,Bonjour,\n2,user,Hello? jo@example.org,Jo Novak\n2,agent,Hello Jo,Kim\n"
    )
    output = tmp_path / "rows.jsonl"
    assert main(["import", "transcripts", str(write(tmp_path / "chats.csv", content)), str(output)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("1 rows written to") and "1 skipped: no exchange" in printed
    report = DataReport.model_validate_json(printed.splitlines()[-1])
    assert report.num_rows == 1 and report.personal_data["EMAIL"] == PersonalData(found=0, masked=1)
    assert "jo" not in output.read_text(encoding="utf-8").casefold().replace("json", "")
    assert main(["import", "transcripts", str(tmp_path / "chats.csv"), str(output), "--no-report"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_the_command_prints_text_and_ends_with_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong path is a named error and exit code 1; figures go to stdout, progress to stderr."""
    path = rows_file(tmp_path / "rows.jsonl", chat(1, "Bonjour", "Bonjour", lang="fr"))
    assert main(["describe", str(path)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("1 rows: 1 conversations")
    assert DataReport.model_validate_json(printed.splitlines()[-1]).languages == {"fr": 1}
    assert main(["describe", str(tmp_path / "nowhere")]) == 1
    assert "was not found" in capsys.readouterr().err
