"""A message's body as the words its writer typed: no tags, no quoted mail history, no signature marks.

Quotes are recognised by what mail programs put around them: elements and classes of Gmail, Outlook, Thunderbird and
Yahoo, and the lines that introduce a quote in English and Chinese. Masking: `conversations`.
"""

import html
import re
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser

MAX_BODY_CHARS = 50_000
"""Characters of a body, tags included, that are read; further ones are cut."""
MAX_MESSAGE_CHARS = 4_000
"""Characters of a message's text that are kept."""

_TAG = re.compile(
    r"</?(?:html|body|div|p|br|span|a|b|i|u|em|strong|font|img|ul|ol|li|table|tr|td|pre|code|blockquote|h[1-6]|style)"
    r"(?:\s[^<>]{0,4000})?/?>",
    re.IGNORECASE,
)
_BLOCKS = frozenset(
    "address article blockquote body br dd div dl dt figure footer form h1 h2 h3 h4 h5 h6 header hr html li ol p pre"
    " section table tr ul".split()
)
_UNSEEN = frozenset(("script", "style", "head", "title", "template"))
_QUOTE_CLASSES = frozenset(
    ("gmail_quote", "gmail_quote_container", "gmail_attr", "yahoo_quoted", "moz-cite-prefix", "zmail_extra")
)
_SIGNATURE_CLASSES = frozenset(("gmail_signature", "moz-signature"))
_HISTORY_IDS = frozenset(("divRplyFwdMsg", "appendonsend", "stopSpelling"))
_QUOTE_MARK = ">"

_LINE_END = re.compile(r"\r\n|[\r\n\u2028\u2029]")
_WRAPPED_ATTRIBUTION = re.compile(r"^(On [^\n]{4,200})\n([^\n]{0,100}wrote:)[ \t]*$", re.MULTILINE)
_ATTRIBUTION = re.compile(r"(?:On\b.{4,300}\bwrote:|.{4,300}写道[:：])")
_SEPARATOR = re.compile(
    r"-{2,}\s{0,4}(?:original message|forwarded message|reply message|原始邮件|转发邮件|转发的邮件)\s{0,4}-{2,}"
    r"|begin forwarded message:|##- .{1,200} -##|--",
    re.IGNORECASE,
)
_SENDER_HEADER = re.compile(r"\*?(?:from|发件人)\*?\s?[:：]", re.IGNORECASE)
_OTHER_HEADER = re.compile(r"\*?(?:sent|date|to|subject|发送时间|日期|收件人|主题)\*?\s?[:：]", re.IGNORECASE)
_DEVICE_NOTE = re.compile(r"(?:sent from my .{2,40}|get outlook for .{2,20}|发自我的.{2,20})", re.IGNORECASE)
_HEADER_LINES = 5


def written_text(body: str) -> str:
    """The text that the writer of a plain or HTML body typed, at most `MAX_MESSAGE_CHARS` of it; may be empty."""
    body = body[:MAX_BODY_CHARS]
    text = _text_of_html(body) if _TAG.search(body) else html.unescape(body)
    text = _WRAPPED_ATTRIBUTION.sub(r"\1 \2", _LINE_END.sub("\n", text))
    lines = [line.strip() for line in text.split("\n")]
    return "\n".join(_written_lines(lines)).strip()[:MAX_MESSAGE_CHARS]


def _text_of_html(markup: str) -> str:
    parser = _TextParser()
    parser.feed(markup)
    parser.close()
    return "".join(parser.pieces)


class _TextParser(HTMLParser):
    """Collects text; a quoted element leaves one line with a quote mark, so that what follows it is seen to follow."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._hidden_tag = ""
        self._hidden_depth = 0
        self._is_over = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Hides quotes and signatures, and ends lines at blocks."""
        if self._is_over:
            return
        if self._hidden_depth:
            self._hidden_depth += tag == self._hidden_tag
            return
        named = {name: value or "" for name, value in attrs}
        if named.get("id") in _HISTORY_IDS:
            self._is_over = True
            return
        classes = frozenset(named.get("class", "").split())
        is_quote = tag == "blockquote" or bool(classes & _QUOTE_CLASSES)
        if is_quote or tag in _UNSEEN or classes & _SIGNATURE_CLASSES:
            self._hidden_tag, self._hidden_depth = tag, 1
            self.pieces.append(f"\n{_QUOTE_MARK}\n" if is_quote else "")
        elif tag in _BLOCKS:
            self.pieces.append("\n")
        elif tag == "td":
            self.pieces.append(" ")

    def handle_endtag(self, tag: str) -> None:
        """Ends what is hidden, and lines at blocks."""
        if self._hidden_depth:
            self._hidden_depth -= tag == self._hidden_tag
        elif tag in _BLOCKS and not self._is_over:
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        """Keeps what is seen; line ends inside text are spaces in HTML."""
        if not (self._hidden_depth or self._is_over):
            self.pieces.append(re.sub(r"\s+", " ", data))


def _written_lines(lines: Sequence[str]) -> Iterator[str]:
    for index, line in enumerate(lines):
        following = [later for later in lines[index + 1 : index + 1 + _HEADER_LINES] if later]
        is_attribution = bool(_ATTRIBUTION.fullmatch(line))
        if is_attribution and not (following and following[0].startswith(_QUOTE_MARK)):
            return
        if _SEPARATOR.fullmatch(line) or _is_mail_header(line, following):
            return
        if not (is_attribution or line.startswith(_QUOTE_MARK) or _DEVICE_NOTE.fullmatch(line)):
            yield line


def _is_mail_header(line: str, following: Sequence[str]) -> bool:
    """Outlook puts the earlier mail's header in front of it: a sender, then at least two of its other fields."""
    if not _SENDER_HEADER.match(line):
        return False
    return sum(bool(_OTHER_HEADER.match(later)) for later in following) >= 2
