"""A pretrained sentence encoder, tuned on a domain pack's asks: three files that onnxruntime serves.

`intents.json` names the intents and accounts for the other two, `model.onnx` and `tokenizer.json`, which
`training.export.intents.intent_graph` makes. One message costs some milliseconds of one core, once a reply. A graph may
also say where a text lies among others by its meaning, which help articles are searched by, which sentiment a message
has, and whether a later one goes on about the matter before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from tokenizers import Tokenizer as BackendTokenizer

from model_store.contract.manifest import FileEntry
from model_store.contract.placeholders import fold_case
from model_store.contract.tokenizer import read_backend
from model_store.digest import digest_bytes, digest_stream
from model_store.errors import IntentModelUnusableError, InvalidTokenizerError, problems_of
from model_store.graphs import GRAPH_ERRORS, open_graph, ort
from model_store.intents.sentiment import Sentiment, likeliest_sentiment

DESCRIPTION_NAME = "intents.json"
GRAPH_NAME = "model.onnx"
TOKENIZER_NAME = "tokenizer.json"
DEFAULT_DIRECTORY = Path(__file__).with_name("default")
LOGITS_OUTPUT = "logits"
EMBEDDING_OUTPUT = "embedding"
SENTIMENT_OUTPUT = "sentiment"
GOING_ON_OUTPUT = "going_on"
"""The graph's outputs; all but the first may be missing."""
_FORMAT = 1
_MAX_BYTES = 256 << 20
_MAX_CHARS = 2_000
"""Of a message, from its start: many times what `max_tokens` can hold, and little to tokenise."""
_MAX_PASSAGE_TOKENS = 160
"""Of a passage; nearly all of what may be quoted at once."""


class IntentModelDescription(BaseModel):
    """What `intents.json` says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = Field(_FORMAT, ge=_FORMAT, le=_FORMAT)
    intents: tuple[str, ...] = Field(min_length=2)
    """The columns of the graph's output."""
    prefix: str
    """What the encoder was taught to read before every message."""
    separator: str | None = None
    """What it was taught to read between a message and the turns before it; None: it hears single messages."""
    max_tokens: int = Field(ge=8, le=512)
    made_of: str
    licence: str
    metrics: dict[str, float] = {}
    """Of the pack's development asks, the share whose intent it finds, by language."""
    files: dict[str, FileEntry]


@dataclass(frozen=True, slots=True)
class Heard:
    """What one pass over a message gives."""

    probabilities: NDArray[np.float32]
    """[num intents], in the order of `IntentModel.intents`."""
    embedding: NDArray[np.float32] | None
    """[D], of unit length; None from a model that does not embed."""
    sentiment: Sentiment | None = None
    """Of the message itself, whatever came before it; None from a model that does not tell."""
    going_on: float | None = None
    """Of a later message, how likely it goes on about what was said before; None from a model that does not tell."""


class IntentModel:
    """Says how likely each intent is for a message. Immutable; threads may share it."""

    def __init__(
        self, description: IntentModelDescription, directory: Path, digest: str, num_remembered: int = 0
    ) -> None:
        """Opens verified files; `load` is the way in."""
        self.intents = description.intents
        self.metrics = description.metrics
        self.digest = digest
        self._prefix = description.prefix
        self._separator = description.separator
        self._tokenizer = _open_tokenizer(directory / TOKENIZER_NAME, description.max_tokens)
        self._passage_tokenizer = _open_tokenizer(directory / TOKENIZER_NAME, _MAX_PASSAGE_TOKENS)
        self._session = _open_session(directory / GRAPH_NAME)
        outputs = {output.name for output in self._session.get_outputs()}
        self.embeds = EMBEDDING_OUTPUT in outputs
        """Whether texts can be compared by their meaning."""
        self.tells_sentiment = SENTIMENT_OUTPUT in outputs
        """Whether it says which sentiment a message has."""
        self._tells_going_on = GOING_ON_OUTPUT in outputs
        optional = {
            EMBEDDING_OUTPUT: self.embeds,
            SENTIMENT_OUTPUT: self.tells_sentiment,
            GOING_ON_OUTPUT: self._tells_going_on,
        }
        self._outputs = [LOGITS_OUTPUT, *(name for name, is_there in optional.items() if is_there)]
        self._hear = lru_cache(num_remembered)(self._hear_anew)

    @classmethod
    def load(cls, directory: Path = DEFAULT_DIRECTORY, num_remembered: int = 0) -> "IntentModel":
        """Verifies a directory, opens it and asks it once. Raises IntentModelUnusableError naming what is wrong.

        What it made of the `num_remembered` last messages it says again without a pass; each takes 2 KB.
        """
        try:
            text = (directory / DESCRIPTION_NAME).read_bytes()
            description = IntentModelDescription.model_validate_json(text)
            for name in (GRAPH_NAME, TOKENIZER_NAME):
                with (directory / name).open("rb") as source:
                    if digest_stream(source, _MAX_BYTES) != description.files.get(name):
                        raise IntentModelUnusableError(path=directory / name, problem="it is not what was exported")
        except OSError as error:
            path, problem = error.filename or directory, error.strerror or str(error)
            raise IntentModelUnusableError(path=path, problem=problem) from error
        except ValidationError as error:
            raise IntentModelUnusableError(path=directory / DESCRIPTION_NAME, problem=problems_of(error)) from error
        model = cls(description, directory, digest_bytes(text), num_remembered)
        model._try_out(directory / GRAPH_NAME)
        return model

    @property
    def hears_turns(self) -> bool:
        """Whether it heeds what came before a message."""
        return self._separator is not None

    def probabilities(self, text: str, before: Sequence[str] = ()) -> NDArray[np.float32]:
        """[num intents], in the order of `intents`; `before`: `turns.turns_before` a later message."""
        return self.hear(text, before).probabilities

    def hear(self, text: str, before: Sequence[str] = ()) -> Heard:
        """All that one pass over a message, with what came `before`, can tell. Its arrays are shared: read only."""
        return self._hear(text if self._separator is None else self._separator.join((text, *before)))

    def _hear_anew(self, text: str) -> Heard:
        found = self._run(self._tokenizer, text)
        logits = found[LOGITS_OUTPUT][0]
        weights = np.exp(logits - logits.max())
        probabilities = np.asarray(weights / weights.sum(), np.float32)
        embedding = found[EMBEDDING_OUTPUT][0] if self.embeds else None
        sentiment = likeliest_sentiment(found[SENTIMENT_OUTPUT][0]) if self.tells_sentiment else None
        going_on = float(found[GOING_ON_OUTPUT].item()) if self._tells_going_on else None
        for array in (probabilities, embedding):
            if array is not None:
                array.setflags(write=False)
        return Heard(probabilities, embedding, sentiment, going_on)

    def embed_passage(self, text: str) -> NDArray[np.float32]:
        """[D], of unit length: where a passage lies among messages, which are short. Only where the model `embeds`."""
        embedding: NDArray[np.float32] = self._run(self._passage_tokenizer, fold_case(text))[EMBEDDING_OUTPUT][0]
        return embedding

    def _run(self, tokenizer: BackendTokenizer, text: str) -> dict[str, NDArray[np.float32]]:
        token_ids = np.array([tokenizer.encode(self._prefix + text[:_MAX_CHARS]).ids], np.int64)
        return dict(zip(self._outputs, self._session.run(self._outputs, {"token_ids": token_ids}), strict=True))

    def _try_out(self, path: Path) -> None:
        """A graph that opens and answers otherwise than described would fail every customer's message."""
        try:
            num_answers = len(self.probabilities(""))
        except (*GRAPH_ERRORS, ValueError, TypeError) as error:
            raise IntentModelUnusableError(path=path, problem=str(error).strip()) from error
        if num_answers != len(self.intents):
            problem = f"it tells {num_answers} intents apart and names {len(self.intents)}"
            raise IntentModelUnusableError(path=path, problem=problem)


def _open_tokenizer(path: Path, max_tokens: int) -> BackendTokenizer:
    try:
        tokenizer = read_backend(path)
    except InvalidTokenizerError as error:
        raise IntentModelUnusableError(path=path, problem=error.context["problem"]) from error
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


def _open_session(path: Path) -> ort.InferenceSession:
    try:
        return open_graph(path, num_threads=1)
    except GRAPH_ERRORS as error:
        raise IntentModelUnusableError(path=path, problem=str(error).strip()) from error
