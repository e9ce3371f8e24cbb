"""Conversations for spreadsheets, downloaded from the review console in a real browser."""

import codecs
import csv
import io
from pathlib import Path

from playwright.sync_api import expect

from tests.browser.conftest import OpenChat
from tests.browser.review_records import keep, rate
from tests.e2e.running_service import RunningService

FORMULA = '=HYPERLINK("https://evil.example","Click, please")\nsecond line'


def test_what_is_shown_can_be_taken_away_for_a_spreadsheet(
    service: RunningService, open_page: OpenChat, tmp_path: Path
) -> None:
    """A row a message in what Excel takes for UTF-8; commas, quotes and lines survive, and no text is a formula."""
    keep(service, 1, (FORMULA,), "一般<REFUND_TIME>到账。", plan="refund_status", language="zh")
    rate(service, 1, "down", reasons=("incorrect", "too_long"), comment='+1, "no"')
    keep(service, 2, ("Not rated",), "Not shown either.")
    console = open_page(service.url, path="/review?view=all&rating=down", ready=".found-reply")
    with console.page.expect_download() as caught:
        console.button("Export CSV").click()
    assert caught.value.suggested_filename == "conversations.csv"
    expect(console.live).to_have_text("1 conversation exported.")
    caught.value.save_as(tmp_path / "conversations.csv")
    written = (tmp_path / "conversations.csv").read_bytes()
    assert written.startswith(codecs.BOM_UTF8)
    question, reply = csv.DictReader(io.StringIO(written.decode("utf-8-sig"), newline=""))
    assert (question["role"], question["content"]) == ("user", f"'{FORMULA}")
    assert (reply["role"], reply["content"], reply["plan"]) == ("assistant", "一般<REFUND_TIME>到账。", "refund_status")
    assert [reply[name] for name in ("num_up", "num_down", "reasons")] == ["0", "1", "incorrect too_long"]
    assert reply["comments"] == '\'+1, "no"'
