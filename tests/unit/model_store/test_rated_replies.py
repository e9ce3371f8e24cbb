"""Rated replies by likeness."""

from model_store.knowledge.rated_replies import MAX_SEARCHED, RatedReply, RatedReplySearch

REPLIES = [
    RatedReply("c-1", "en", "Where is my parcel?", "Look at the tracking page.", "up"),
    RatedReply("c-2", "en", "I forgot my password", "Reset it on the password page.", "down", ("mechanical",)),
    RatedReply("c-3", "zh", "我的包裹在哪里", "请在物流页面查看包裹。", "up"),
    RatedReply(
        "c-4", "en", "My parcel is late", "Parcels are late before holidays, look at the tracking page.", "down"
    ),
]


def test_the_likest_come_first_and_in_the_same_language() -> None:
    """Question and reply both count; another language is never found."""
    search = RatedReplySearch(REPLIES)
    found = search.nearest("my parcel is late", "look at the tracking page", "en", limit=2)
    assert [each.completion_id for each in found] == ["c-4", "c-1"]
    assert [each.completion_id for each in search.nearest("包裹在哪", "", "zh", limit=5)] == ["c-3"]


def test_a_reply_is_not_near_to_itself() -> None:
    """It is left out by its id, with every rating of it; nothing in common finds nothing."""
    search = RatedReplySearch([*REPLIES, REPLIES[3]])
    found = search.nearest("my parcel is late", "", "en", limit=5, but_for="c-4")
    assert [each.completion_id for each in found] == ["c-1"]
    assert search.nearest("zebra", "giraffe", "en", limit=5) == []
    assert RatedReplySearch([]).nearest("parcel", "", "en", limit=5) == []


def test_only_the_newest_are_searched() -> None:
    """What is older than the last `MAX_SEARCHED` is not found."""
    many = [RatedReply(f"n-{number}", "en", "hello", "hi there", "up") for number in range(MAX_SEARCHED)]
    assert RatedReplySearch([REPLIES[0], *many]).nearest("parcel", "tracking", "en", limit=5) == []
