"""What the staff finds and reads, on both databases: the same replies from the same records, in the same order."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from model_store.contract.conversation import Message, Role
from model_store.contract.feedback import STAFF_RATER_PREFIX
from service.records.database import open_reader
from service.records.errors import ConversationNotFoundError, SearchTooBroadError
from service.records.review.reader import ReviewReader
from service.records.review.replies import QueuePlace
from service.records.review.reply_filter import ReplyFilter
from service.records.sql_store import SqlRecordStore
from service.records.store import CompletionRecord, FeedbackRecord

MakeCompletion = Callable[..., CompletionRecord]
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
OLD, NEW = "a" * 64, "b" * 64
STAFF = f"{STAFF_RATER_PREFIX}key_1"


@pytest.fixture
def reader(store: SqlRecordStore, database_url: str) -> Iterator[ReviewReader]:
    """A reader beside the store."""
    opened = ReviewReader.open(database_url)
    yield opened
    opened.close()


def rate(store: SqlRecordStore, completion_id: str, rating: str | None, **fields: object) -> None:
    """A thumb."""
    values = {"completion_id": completion_id, "rater": "kim", "rating": rating, **fields}
    store.record_feedback(FeedbackRecord(**values))  # type: ignore[arg-type]


def said(*texts: str) -> tuple[Message, ...]:
    """A prompt: a system message, then customer and bot in turns."""
    turns = (Message(Role.USER if n % 2 == 0 else Role.ASSISTANT, text) for n, text in enumerate(texts))
    return (Message(Role.SYSTEM, "Be kind to whoever writes."), *turns)


def fill(store: SqlRecordStore, make: MakeCompletion) -> None:
    """Six replies of a small shop, a minute apart, in five conversations; and what never shall be found."""

    def keep(number: int, conversation: str, text: str, **fields: object) -> None:
        values = {
            "conversation_id": conversation,
            "created_at": NOON + timedelta(minutes=number),
            "prompt_messages": said(text),
            "completion_text": f"Reply {number}.",
            "model_digest": OLD,
            "language": "en",
            "sampling": {"plan": "refund_status", "plan_confidence": 0.9},
        }
        store.record_completion(make(f"cmpl-{number}", **{**values, **fields}))

    keep(1, "conv-a", "Where is my REFUND?", sampling={"plan": "refund_status", "plan_confidence": 0.4})
    keep(2, "conv-b", "100% off_all?", sampling={"plan": "track_package/ask_order_id", "plan_confidence": 0.5})
    keep(3, "conv-a", "Nothing came", model_digest=NEW)
    keep(4, "conv-c", "退款在哪里？", language="zh", completion_text="您的退款“已经”发出。")
    angry = {"finish_reason": "handover", "sentiment": "negative"}
    keep(5, "conv-d", "I give up", sampling={"rule": "hand_over", "plan": "human_agent"}, **angry)
    keep(6, "conv-e", "Help", sampling={"rule": "crisis"})
    keep(7, "conv-f", "refund", finish_reason="cancelled")
    keep(8, "conv-g", "refund", tenant="acme")
    rate(store, "cmpl-1", "down", reasons=("too_long", "wrong_intent"), correction="Soon.")
    rate(store, "cmpl-2", "up")
    rate(store, "cmpl-2", "down", rater="lee", reasons=("too_lo_g",))
    rate(store, "cmpl-4", "down", reasons=("mechanical",))
    rate(store, "cmpl-4", None)  # withdrawn


def find(reader: ReviewReader, **fields: object) -> list[str]:
    """The numbers of the replies that a filter shows, one of each conversation."""
    found = reader.newest(ReplyFilter(**fields), limit=50)  # type: ignore[arg-type]
    return [reply.completion_id.removeprefix("cmpl-") for reply in found]


def test_each_conversation_is_listed_by_the_newest_of_its_wanted_replies(
    store: SqlRecordStore, reader: ReviewReader, make_completion: MakeCompletion
) -> None:
    """Without a filter by its newest; with one by the newest that fits. Half completions are not there."""
    fill(store, make_completion)
    assert find(reader) == ["6", "5", "4", "3", "2"]
    assert find(reader, model_digest=OLD) == ["6", "5", "4", "2", "1"]
    assert find(reader, tenant="acme") == ["8"]


@pytest.mark.parametrize(
    ("fields", "numbers"),
    [
        ({"rating": "down"}, ["2", "1"]),
        ({"rating": "up"}, ["2"]),
        ({"rating": "none"}, ["6", "5", "4", "3"]),
        ({"reason": "too_long"}, ["1"]),
        ({"reason": "mechanical"}, []),
        ({"reason": "too_long", "rating": "up"}, []),
        ({"is_corrected": True}, ["1"]),
        ({"is_corrected": False, "model_digest": OLD}, ["6", "5", "4", "2"]),
        ({"model_digest": NEW[:8]}, ["3"]),
        ({"language": "zh"}, ["4"]),
        ({"plan": "track_package"}, ["2"]),
        ({"plan": "track_package/ask_order_id"}, ["2"]),
        ({"plan": "refund"}, []),
        ({"sentiment": "negative"}, ["5"]),
        ({"sentiment": "positive"}, []),
        ({"is_hand_over": True}, ["5"]),
        ({"is_safety": True}, ["6"]),
        ({"is_safety": False, "is_hand_over": False}, ["4", "3", "2"]),
        ({"since": NOON + timedelta(minutes=5)}, ["6", "5"]),
        ({"until": NOON + timedelta(minutes=2)}, ["1"]),
        ({"rating": "down", "text": "refund"}, ["1"]),
        ({"tenant": "nobody"}, []),
    ],
)
def test_filters_show_what_fits_and_nothing_else(
    store: SqlRecordStore,
    reader: ReviewReader,
    make_completion: MakeCompletion,
    fields: dict[str, object],
    numbers: list[str],
) -> None:
    """Hand-counted. Withdrawn ratings do not count, reasons are whole words, a plan stands for its questions too."""
    fill(store, make_completion)
    assert find(reader, **fields) == numbers


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("refund", ["1"]),
        ("退款", ["4"]),
        ("“已经”", ["4"]),
        ("100%", ["2"]),
        ("%", ["2"]),
        ("_", ["2"]),
        ("off_all", ["2"]),
        ("/", []),
        ("\\", []),
        ("'; DROP TABLE completions; --", []),
        ('"', []),
        ("role", []),
        ("whoever writes", []),
        ("reply 3", ["3"]),
    ],
)
def test_a_search_takes_every_letter_as_itself(
    store: SqlRecordStore, reader: ReviewReader, make_completion: MakeCompletion, text: str, numbers: list[str]
) -> None:
    """In replies and in what was said before them, but not in the system message nor in how messages are stored."""
    fill(store, make_completion)
    assert find(reader, text=text) == numbers


@pytest.mark.parametrize("text", ['"no', "\\WAY", 'way"\nand', "\n", "é", "📦"])
def test_a_search_finds_what_json_writes_otherwise(
    store: SqlRecordStore, reader: ReviewReader, make_completion: MakeCompletion, text: str
) -> None:
    """Quotes, backslashes and line ends in a question; letters beyond ASCII too."""
    store.record_completion(make_completion(prompt_messages=said('He said "no\\way"\nand left the café 📦')))
    store.record_completion(make_completion("cmpl-2", conversation_id="conv-2", completion_text="Fine."))
    assert find(reader, text=text) == ["1"]


def test_pages_join_without_a_gap_whatever_their_size(
    store: SqlRecordStore, reader: ReviewReader, make_completion: MakeCompletion
) -> None:
    """Also where replies are of the same moment."""
    for number in range(7):
        moment = NOON + timedelta(minutes=number // 3)
        fields = {"conversation_id": f"conv-{number}", "sampling": {"plan": "x", "plan_confidence": number // 2 / 4}}
        store.record_completion(make_completion(f"cmpl-{number}", created_at=moment, **fields))
    rate(store, "cmpl-5", "down")
    rate(store, "cmpl-6", "down")
    everything = ReplyFilter()
    whole, queue = reader.newest(everything, limit=50), reader.worth_a_look(everything, limit=50)
    assert len(whole) == len(queue) == 7
    for size in (1, 2, 3):
        pages, place = [], None
        while page := reader.newest(everything, limit=size, before=place):
            pages += page
            place = page[-1].place
        assert tuple(pages) == whole
        waiting, queue_place = [], None
        while page := reader.worth_a_look(everything, limit=size, after=queue_place):
            waiting += page
            queue_place = page[-1].queue_place
        assert tuple(waiting) == queue


def test_a_search_that_takes_too_long_says_so(
    store: SqlRecordStore, make_completion: MakeCompletion, database_url: str
) -> None:
    """It can be narrowed; trying again would not help."""
    for number in range(300):
        store.record_completion(make_completion(f"cmpl-{number}", prompt_messages=said(*["parcel " * 50] * 9)))
    hasty = ReviewReader(open_reader(database_url, max_statement_seconds=0.001))
    with pytest.raises(SearchTooBroadError, match="Narrow it"):
        hasty.newest(ReplyFilter(text="role"), limit=9)  # which every message holds as it is stored
    hasty.close()


def test_the_queue_begins_with_what_was_disliked_and_goes_on_with_what_was_unsure(
    store: SqlRecordStore, reader: ReviewReader, make_completion: MakeCompletion
) -> None:
    """In each part the least sure first. What customers liked or the staff has rated is not in it, nor rules' words."""
    fill(store, make_completion)
    queue = reader.worth_a_look(ReplyFilter(), limit=50)
    assert [reply.completion_id for reply in queue] == ["cmpl-1", "cmpl-2", "cmpl-4", "cmpl-3"]
    assert queue[0].queue_place == QueuePlace(0, 0.4, NOON + timedelta(minutes=1), "cmpl-1")
    rate(store, "cmpl-1", "up", rater=STAFF)
    rate(store, "cmpl-3", "down", rater=STAFF)
    rate(store, "cmpl-3", None, rater=STAFF)  # withdrawn: it waits again
    rate(store, "cmpl-4", "up")
    assert [reply.completion_id for reply in reader.worth_a_look(ReplyFilter(), limit=50)] == ["cmpl-2", "cmpl-3"]
    assert [reply.completion_id for reply in reader.worth_a_look(ReplyFilter(model_digest=NEW), limit=50)] == ["cmpl-3"]
    assert reader.worth_a_look(ReplyFilter(tenant="acme"), limit=50)[0].completion_id == "cmpl-8"


def test_a_list_tells_what_a_reviewer_looks_for(
    store: SqlRecordStore, reader: ReviewReader, make_completion: MakeCompletion
) -> None:
    """The question, the reply, its plan and its thumbs, and how long the conversation is."""
    fill(store, make_completion)
    store.record_completion(
        make_completion("cmpl-9", conversation_id="conv-a", prompt_messages=said("Hi", "Hello", "And now?"))
    )
    found = next(reply for reply in reader.newest(ReplyFilter(reason="wrong_intent"), limit=1))
    assert (found.question, found.text, found.num_replies) == ("Where is my REFUND?", "Reply 1.", 3)
    assert (found.plan, found.plan_confidence, found.rule) == ("refund_status", 0.4, None)
    assert (found.num_up, found.num_down, found.is_corrected) == (0, 1, True)
    both = reader.newest(ReplyFilter(plan="track_package"), limit=1)[0]
    assert (both.num_up, both.num_down, both.is_corrected) == (1, 1, False)
    assert reader.newest(ReplyFilter(text="And now?"), limit=1)[0].question == "And now?"


def test_a_dossier_holds_the_replies_in_order_with_what_was_said_about_them(
    store: SqlRecordStore, reader: ReviewReader, make_completion: MakeCompletion
) -> None:
    """Standing feedback only, the oldest first."""
    fill(store, make_completion)
    rate(store, "cmpl-1", "up", rater=STAFF, comment="Fine.")
    whole = reader.dossier("default", "conv-a")
    assert [reply.turn.completion_id for reply in whole.replies] == ["cmpl-1", "cmpl-3"] and not whole.is_cut
    first = whole.replies[0]
    assert [(given.rater, given.rating, given.correction) for given in first.feedback] == [
        ("kim", "down", "Soon."),
        (STAFF, "up", None),
    ]
    assert first.feedback[0].reasons == ("too_long", "wrong_intent")
    assert (first.model_digest, first.sampling["plan"], first.turn.prompt_messages) == (
        OLD,
        "refund_status",
        said("Where is my REFUND?"),
    )
    assert reader.dossier("default", "conv-a", up_to="cmpl-1") == whole
    assert reader.dossier("default", "conv-c").replies[0].feedback == ()
    assert reader.dossier("default", "conv-f").replies == ()


def test_of_a_long_conversation_the_newest_replies_are_read_or_those_up_to_one(
    store: SqlRecordStore, reader: ReviewReader, make_completion: MakeCompletion
) -> None:
    """As many as asked for, and it is said that there are more."""
    for number in range(9):
        moment = NOON + timedelta(minutes=number // 2)
        store.record_completion(make_completion(f"cmpl-{number}", created_at=moment, prompt_messages=said("Hi")))

    def read(**fields: object) -> tuple[list[str], bool]:
        dossier = reader.dossier("default", "conv-1", **fields)  # type: ignore[arg-type]
        return [reply.turn.completion_id.removeprefix("cmpl-") for reply in dossier.replies], dossier.is_cut

    assert read(max_replies=9) == (list("012345678"), False)
    assert read(max_replies=3) == (list("678"), True)
    assert read(max_replies=3, up_to="cmpl-7") == (list("678"), True)
    assert read(max_replies=3, up_to="cmpl-4") == (list("234"), True)
    assert read(max_replies=3, up_to="cmpl-0") == (list("0"), True)
    assert read(max_replies=3, up_to="cmpl-none") == (list("678"), True)


def test_another_tenants_conversation_is_an_unknown_one(
    store: SqlRecordStore, reader: ReviewReader, make_completion: MakeCompletion
) -> None:
    """The same error for a foreign id, one that nobody has and one that no database could hold."""
    fill(store, make_completion)
    for conversation_id in ("conv-g", "conv-none", "conv-\0"):
        with pytest.raises(ConversationNotFoundError):
            reader.dossier("default", conversation_id)
    assert reader.dossier("acme", "conv-g", up_to="cmpl-1").replies[0].turn.completion_id == "cmpl-8"


def test_there_is_to_choose_from_what_occurs(
    store: SqlRecordStore, reader: ReviewReader, make_completion: MakeCompletion
) -> None:
    """Of one tenant; withdrawn reasons do not occur."""
    fill(store, make_completion)
    choices = reader.choices("default")
    assert choices.versions == ((OLD, 5), (NEW, 1))
    assert dict(choices.plans) == {"refund_status": 3, "track_package/ask_order_id": 1, "human_agent": 1}
    assert choices.plans[0] == ("refund_status", 3)
    assert dict(choices.reasons) == {"too_long": 1, "wrong_intent": 1, "too_lo_g": 1}
    assert reader.choices("nobody") == ((), (), (), ())
