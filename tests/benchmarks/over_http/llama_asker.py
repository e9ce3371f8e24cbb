"""Asks llama-cpp-python's server for as many tokens as our service has read and made in the same conversation."""

from collections.abc import Mapping, Sequence
from typing import Any

from tests.benchmarks.engines.llama_file import llama_text
from tests.benchmarks.over_http.conversations import Conversation
from tests.benchmarks.over_http.sse_client import Heard


class LlamaAsker:
    """Its network has random weights, so what it reads and says are random words; how many is ours."""

    path = "/v1/completions"

    def __init__(self, heard_from_us: Sequence[Sequence[Heard]], vocab_size: int) -> None:
        """`heard_from_us` are our service's turns of each conversation."""
        self._heard_from_us = heard_from_us
        self._vocab_size = vocab_size

    def body(self, conversation: Conversation, heard: Sequence[Heard]) -> Mapping[str, Any]:
        """The second turn's prompt begins with the first's, which the server finds in its cache where it can."""
        ours = self._heard_from_us[conversation.number][len(heard)]
        # The server puts a token that begins every text before the prompt.
        prompt = llama_text(max(1, ours.num_prompt_tokens - 1), self._vocab_size, seed=conversation.number)
        return {"prompt": prompt, "max_tokens": max(1, ours.num_tokens), "stream": True, "seed": conversation.number}
