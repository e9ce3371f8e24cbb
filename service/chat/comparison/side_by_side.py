"""Side by side: the same prompts answered by two versions, with what each set out to say.

Replies are the versions' most probable ones, so they can be kept: by version and prompt, the most recent of them. A
version never changes, and what the shop lays down does not while the service runs.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from model_store.contract.conversation import Message, Role
from service.chat.chatbot import Chatbot
from service.chat.comparison.drawing import Draw, DrawnReply, draw_reply
from service.chat.comparison.version_lender import VersionLender
from service.chat.model_router import LoadedModel
from service.errors import ComparisonTimeoutError, InvalidDataFileError

SAMPLE_PROMPTS_FILE = Path(__file__).with_name("sample_prompts.yaml")
MAX_PROMPTS = 20
MAX_PROMPT_CHARS = 500
TIMEOUT_SECONDS = 60.0
_MAX_KEPT = 400


@dataclass(frozen=True, slots=True)
class AnsweredPrompt:
    """A prompt and what both versions say to it."""

    prompt: str
    first: DrawnReply
    second: DrawnReply

    @property
    def is_same(self) -> bool:
        """Whether a customer would read the same."""
        return self.first.text == self.second.text


class SideBySide:
    """Asks versions. Lives on the event loop."""

    def __init__(
        self,
        chatbot: Chatbot,
        lender: VersionLender,
        prompts: Sequence[str],
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        """`prompts` are asked where nobody names others."""
        self._chatbot = chatbot
        self._lender = lender
        self._prompts = tuple(prompts)
        self._timeout_seconds = timeout_seconds
        self._kept: OrderedDict[tuple[str, str], DrawnReply] = OrderedDict()

    async def answers(self, first: str, second: str, prompts: Sequence[str] = ()) -> list[AnsweredPrompt]:
        """What both versions say to these prompts, or to the shop's.

        Raises ComparisonTimeoutError, what `VersionLender.lend` raises, and InvalidConversationError or RequestError
        for a prompt that cannot be asked.
        """
        asked = list(prompts or self._prompts)
        if not all((digest, prompt) in self._kept for digest in (first, second) for prompt in asked):
            try:
                async with asyncio.timeout(self._timeout_seconds), self._lender.lend(first, second) as models:
                    for prompt in asked:
                        for model in models:
                            await self._ask(model, prompt)
            except TimeoutError as error:
                raise ComparisonTimeoutError(timeout_seconds=self._timeout_seconds) from error
        answered = [AnsweredPrompt(prompt, self._kept[first, prompt], self._kept[second, prompt]) for prompt in asked]
        while len(self._kept) > _MAX_KEPT:
            self._kept.popitem(last=False)
        return answered

    async def _ask(self, model: LoadedModel, prompt: str) -> None:
        key = (model.digest, prompt)
        if key not in self._kept:
            self._kept[key] = await draw_reply(self._chatbot, model, Draw(messages=(Message(Role.USER, prompt),)))
        self._kept.move_to_end(key)


def load_prompts(path: Path) -> tuple[str, ...]:
    """Reads what is asked on the versions page. Raises InvalidDataFileError."""
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidDataFileError(path=path, problem=f"{type(error).__name__}: {error}") from error
    is_list = isinstance(entries, list) and 0 < len(entries) <= MAX_PROMPTS
    if not is_list or not all(
        isinstance(entry, str) and 0 < len(entry.strip()) <= MAX_PROMPT_CHARS for entry in entries
    ):
        problem = f"it is no list of 1 to {MAX_PROMPTS} texts of at most {MAX_PROMPT_CHARS} characters"
        raise InvalidDataFileError(path=path, problem=problem)
    return tuple(dict.fromkeys(entry.strip() for entry in entries))
