"""`make screenshots`: starts a service with sample data in a temporary folder and takes every page's picture.

Light and dark, and at three widths where a page looks different there. Pictures go to `docs/screenshots`; each is
reduced to a palette, so that the documentation stays light.
"""

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.chat_page import find_chromium
from tests.screenshots.sample_service import run_sample_service

_ROOT = Path(__file__).resolve().parents[2]
_BROWSER_ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars")
_PATIENCE_MS = 300_000
_NUM_COLOURS = 192
MAX_BYTES = 150_000


@dataclass(frozen=True)
class Picture:
    """A page at a width in a colour scheme; `prepare` brings it to what shall be seen."""

    name: str
    path: str
    ready: str
    width: int = 1280
    height: int = 860
    scheme: str = "light"
    prepare: Callable[[Page], None] = lambda page: None

    @property
    def file_name(self) -> str:
        """The name says page, width and scheme."""
        return f"{self.name}-{self.width}-{self.scheme}.png"


def main() -> int:
    """Takes all pictures, or those whose names are given."""
    parser = argparse.ArgumentParser(prog="python -m tests.screenshots", description=__doc__)
    parser.add_argument("names", nargs="*", help="begins of file names; default: all")
    parser.add_argument("--output", type=Path, default=_ROOT / "docs" / "screenshots")
    options = parser.parse_args()
    chromium = find_chromium()
    if chromium is None:
        print("no Chromium: apt-get install chromium, or name one in the variable CHROMIUM", file=sys.stderr)
        return 2
    if not _has_chinese_font():
        print("no font for Chinese, which pages show: apt-get install fonts-noto-cjk", file=sys.stderr)
        return 2
    options.output.mkdir(parents=True, exist_ok=True)
    wanted = [p for p in PICTURES if not options.names or p.file_name.startswith(tuple(options.names))]
    with tempfile.TemporaryDirectory() as directory, run_sample_service(Path(directory)) as url:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=list(_BROWSER_ARGUMENTS))
            for picture in wanted:
                size = take(browser, url, picture, options.output / picture.file_name)
                print(f"{picture.file_name}: {size / 1000:.0f} kB", flush=True)
            browser.close()
    return 0


def _has_chinese_font() -> bool:
    """Boxes instead of letters are no pictures; where nobody can be asked for fonts there are some."""
    if shutil.which("fc-list") is None:
        return True
    found = subprocess.run(["fc-list", ":lang=zh-cn"], capture_output=True, text=True, check=True)
    return found.stdout.strip() != ""


def take(browser: Browser, url: str, picture: Picture, path: Path) -> int:
    """Takes one picture; gives its size in bytes. Raises RuntimeError where it is too large."""
    context = browser.new_context(
        viewport={"width": picture.width, "height": picture.height},
        locale="en-GB",
        color_scheme="dark" if picture.scheme == "dark" else "light",
        reduced_motion="reduce",
    )
    context.set_default_timeout(_PATIENCE_MS)
    page = context.new_page()
    page.goto(url + picture.path)
    page.locator(picture.ready).first.wait_for()
    picture.prepare(page)
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    context.close()
    image.quantize(_NUM_COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise RuntimeError(f"{path.name} has {size} bytes, more than {MAX_BYTES}")
    return size


def _chat(page: Page) -> None:
    for question in ("I forgot my password", "The lamp arrived with a crack in the glass."):
        page.locator(".composer textarea").fill(question)
        page.locator(".composer textarea").press("Enter")
        page.get_by_role("button", name="Stop").wait_for(state="hidden")
        page.locator(".reply:not([aria-busy=true])").last.wait_for()
    page.get_by_role("button", name="Bad reply").last.click()
    page.get_by_role("status").first.wait_for(state="attached")
    page.wait_for_timeout(500)


def _open_widget(page: Page) -> None:
    page.locator(".launcher").click()
    page.locator(".composer textarea").wait_for()


def _read(page: Page) -> None:
    page.locator(".message.reply").first.wait_for()


def _read_on_a_phone(page: Page) -> None:
    page.locator(".found-reply").first.wait_for()


def _answers(page: Page) -> None:
    answers = page.locator(".answers li").first
    while not answers.is_visible():  # on a busy machine one request is not enough for all of them
        page.get_by_role("button", name="Ask both").click()
        answers.or_(page.locator("form + div .note.bad")).wait_for()
    page.get_by_role("heading", name="What the staff prefers").evaluate("node => node.scrollIntoView()")


def _choose(page: Page) -> None:
    side, again = page.locator(".pair .side").first, page.locator(".note button").first
    side.or_(again).wait_for()
    while not side.is_visible():  # both said the same to all that was tried, or the machine is busy
        again.click()
        again.wait_for(state="detached")
        side.or_(again).wait_for()
    page.get_by_role("button", name="Reply 2 is better").click()
    page.locator(".owner:visible").first.wait_for()


PICTURES = (
    *(Picture("review", "/review", ".found-reply", scheme=scheme, prepare=_read) for scheme in ("light", "dark")),
    Picture("review", "/review", ".found-reply", 390, 760, prepare=_read_on_a_phone),
    Picture("pairs", "/review/pairs", ".pair-stage", height=700, prepare=_choose),
    Picture("ratings", "/review/ratings", ".raters"),
    *(Picture("models", "/models", ".timeline", scheme=scheme) for scheme in ("light", "dark")),
    Picture("models-answers", "/models", ".timeline", prepare=_answers),
    *(Picture("insights", "/insights", ".chart svg", scheme=scheme) for scheme in ("light", "dark")),
    Picture("insights", "/insights", ".chart svg", 768, 1000),
    # Last: who chats leaves conversations behind, which the staff would see.
    *(Picture("chat", "/", ".composer", scheme=scheme, prepare=_chat) for scheme in ("light", "dark")),
    Picture("chat", "/", ".composer", 320, 640, prepare=_chat),
    Picture("widget", "/web/shop.html", ".launcher", prepare=_open_widget),
)

if __name__ == "__main__":
    sys.exit(main())
