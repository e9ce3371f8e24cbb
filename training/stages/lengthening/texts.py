"""Long texts: one customer's concerns, one after the other, with things to remember far back; and public dialogues.

What a customer gave once, an order's number or an address, holds for the rest of the text: replies use it, and none
asks for it again. Left out: several customers in one text, which would teach that what lies far back does not matter.
"""

import itertools
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from model_store.contract.chat_template import render
from model_store.contract.control_tokens import ASSISTANT_ID, BOS_ID
from model_store.contract.conversation import Message, Role
from model_store.contract.tokenizer import Tokenizer
from training.base_config import LengtheningConfig
from training.config import TrainingConfig
from training.data.corpora import load_corpus
from training.data.domain_pack import load_pack
from training.data.generator import ConversationGenerator
from training.data.windows import LISTENER, SPEAKER, STRUCTURE
from training.errors import UnfitCheckpointError
from training.workspace import StageResult, Workspace

TRAINING_NAME, HELD_OUT_NAME = "long_texts", "long_held_out"
_HELD_OUT_SEED = 2_000_003
_CONCERNS_AT_ONCE = 16


@dataclass(frozen=True)
class LongTexts:
    """Texts of one length S: `token_ids` and `kinds` [N, S], and plans that are known.

    The reply that opens behind position `openings` [M] of text `rows` [M] follows plan `plans` [M], a token id.
    """

    token_ids: np.ndarray
    kinds: np.ndarray
    rows: np.ndarray
    openings: np.ndarray
    plans: np.ndarray

    def __len__(self) -> int:
        return len(self.token_ids)

    def save(self, path: Path) -> None:
        """Writes an .npz file."""
        np.savez(path, **vars(self))

    @classmethod
    def load(cls, path: Path) -> "LongTexts":
        """Reads an .npz file."""
        with np.load(path) as data:
            return cls(**data)


@dataclass(frozen=True, slots=True)
class Turn:
    """A message, and the plan of a reply where it is known."""

    message: Message
    plan: str | None = None


def run(config: TrainingConfig, workspace: Workspace) -> StageResult:
    """Writes `tokenizer.json` and, for each length, texts to learn from and held-out ones.

    Raises DataNotFoundError when a configured source is missing, UnfitCheckpointError when the bundle knows other plans
    than the pack.
    """
    assert config.lengthening is not None and config.model.start_from is not None
    lengthening = config.lengthening
    pack = load_pack(config.corpus.domain_pack)
    tokenizer = Tokenizer.load(config.model.start_from / "tokenizer.json")
    if missing := set(pack.plans) - set(tokenizer.plans):
        raise UnfitCheckpointError(path=config.model.start_from, problem=f"it has no plan {min(missing)!r}")
    tokenizer.backend.save(str(workspace.path("tokenizer.json")))
    sources, licences = _public(config)
    num_texts = {}
    share = lengthening.num_tokens / len(lengthening.text_lengths)
    for number, length in enumerate(lengthening.text_lengths):
        generator = ConversationGenerator(pack, config.seed + number)
        turns = _mixed(_customers(generator, length), sources, lengthening, config.seed + number)
        texts = make_texts(turns, tokenizer, length, max(1, round(share / length)))
        texts.save(workspace.path(f"{TRAINING_NAME}_{length}.npz"))
        num_texts[str(length)] = len(texts)
    for length in lengthening.measured_lengths:
        unseen = ConversationGenerator(pack, config.seed + _HELD_OUT_SEED + length)
        number = -(-lengthening.measured_tokens // length)
        held_out = make_texts(_customers(unseen, length), tokenizer, length, number)
        held_out.save(workspace.path(f"{HELD_OUT_NAME}_{length}.npz"))
    return {"num_texts": num_texts, "licences": licences}


def make_texts(turns_of_texts: Iterator[Iterator[Turn]], tokenizer: Tokenizer, length: int, number: int) -> LongTexts:
    """So many texts, each cut where its length is reached."""
    token_ids, kinds = np.zeros((number, length), np.uint16), np.zeros((number, length), np.uint8)
    known: list[tuple[int, int, int]] = []
    for row, turns in enumerate(tqdm(itertools.islice(turns_of_texts, number), "long texts", number, file=sys.stderr)):
        ids, own_kinds = [BOS_ID], [STRUCTURE]
        while len(ids) < length:
            turn = next(turns)
            more, more_kinds = _turn_tokens(turn, tokenizer)
            opening = len(ids)
            if turn.plan is not None and opening < length:
                known.append((row, opening, tokenizer.plans[turn.plan]))
            ids += more
            own_kinds += more_kinds
        token_ids[row], kinds[row] = ids[:length], own_kinds[:length]
    rows, openings, plans = np.array(known, np.int64).reshape(-1, 3).T
    return LongTexts(token_ids, kinds, rows, openings, plans)


def _turn_tokens(turn: Turn, tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Ids and kinds of a message. A reply's first word is not learned: a reply that is being made opens with a plan."""
    rendered = render([turn.message], tokenizer, for_completion=False)
    kind = SPEAKER if turn.message.role is Role.ASSISTANT else LISTENER
    ids = list(rendered.token_ids[1:])
    kinds = [STRUCTURE if speaker is None else kind for speaker in rendered.speakers[1:]]
    if ids[0] == ASSISTANT_ID:
        kinds[1] = STRUCTURE
    return ids, kinds


def _customers(generator: ConversationGenerator, length: int) -> Iterator[Iterator[Turn]]:
    """Customers who go on for at least `length` tokens."""
    while True:
        # No concern takes fewer tokens than its message and its reply have words.
        yield itertools.chain.from_iterable(_turns(generator, length))


def _turns(generator: ConversationGenerator, length: int) -> Iterator[list[Turn]]:
    for concern in generator.draw_customer(max(_CONCERNS_AT_ONCE, length)):
        *earlier, last = concern.messages
        yield [*(Turn(message) for message in earlier), Turn(last, concern.plan)]


def _public(config: TrainingConfig) -> tuple[dict[str, list[Sequence[Message]]], list[dict[str, object]]]:
    """Conversations by source, and what the manifest says of them."""
    assert config.lengthening is not None
    folder = config.corpus.uniform_data_dir
    if folder is None:
        return {}, []
    corpora = [
        load_corpus(folder, name, config.corpus.max_rows_per_source) for name in config.lengthening.source_shares
    ]
    conversations: dict[str, list[Sequence[Message]]] = {c.source: list(c.conversations) for c in corpora}
    return conversations, [corpus.licence.model_dump() for corpus in corpora]


def _mixed(
    customers: Iterator[Iterator[Turn]],
    sources: Mapping[str, Sequence[Sequence[Message]]],
    lengthening: LengtheningConfig,
    seed: int,
) -> Iterator[Iterator[Turn]]:
    """Texts of customers and, as the shares say, of public conversations one after the other."""
    generator = random.Random(seed)
    names = [name for name, conversations in sources.items() if conversations]
    shares = [lengthening.source_shares[name] for name in names]
    while True:
        (name,) = generator.choices([None, *names], [1 - sum(shares), *shares])
        yield next(customers) if name is None else _one_after_the_other(sources[name], generator)


def _one_after_the_other(conversations: Sequence[Sequence[Message]], generator: random.Random) -> Iterator[Turn]:
    while True:
        for message in generator.choice(conversations):
            yield Turn(message)
