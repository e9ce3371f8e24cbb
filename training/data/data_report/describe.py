"""Describing imported rows: everything that is said of them, as figures. START READING HERE. As text: `report_text`.

Every row is masked as training masks it, so figures are of what training would see. Nothing of the texts is written.
"""

import itertools
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from tqdm import tqdm

from model_store.contract.entities import EntityMasker, EntityVault
from model_store.contract.tokenizer import Tokenizer
from training.data.data_report.duplicates import DuplicateFinder, Groups
from training.data.data_report.measurements import (
    Lengths,
    PersonalData,
    PersonalDataCounter,
    Replies,
    ReplyCounter,
    Summary,
)
from training.data.data_report.nearest_intents import MessageSample, NearestIntents, nearest_intents
from training.data.data_report.suggested_split import SuggestedSplit, suggest_split
from training.data.data_report.uniform_rows import UniformRow, read_uniform_rows
from training.data.domain_pack import DomainPack
from training.errors import ImportFormatError

MAX_ROWS = 500_000
"""Rows that are described; further ones are not read."""


class DataReport(BaseModel):
    """Figures of a file or directory of uniform rows."""

    model_config = ConfigDict(frozen=True)

    num_rows: int
    is_cut: bool
    """Whether there are rows beyond the greatest number that is described."""
    num_conversations: int
    """Rows with turns; the others are single texts with an intent."""
    num_turns: Mapping[str, int]
    num_tokens: int | None
    languages: Mapping[str, int]
    splits: Mapping[str, int]
    turns_per_conversation: Summary
    characters_per_turn: Mapping[str, Summary]
    tokens_per_turn: Mapping[str, Summary] | None
    nearest_intents: Mapping[str, NearestIntents] | None
    """By language; None without a tokenizer, which the teacher needs."""
    num_exact_duplicates: int
    num_near_duplicates: int
    """Rows that are equal, or nearly equal, to an earlier one."""
    personal_data: Mapping[str, PersonalData]
    replies: Replies
    suggested_split: SuggestedSplit


def describe(path: Path, pack: DomainPack, tokenizer_path: Path | None = None) -> DataReport:
    """Measures the rows at `path`; tokens and nearest intents only with a tokenizer at `tokenizer_path`.

    Shows its progress on stderr when it takes more than a second.

    Raises:
        DataNotFoundError: There is nothing at `path`.
        ImportFormatError: A line is no uniform row, or there is none at all.
        InvalidTokenizerError: The file at `tokenizer_path` is no tokenizer of ours.
    """
    tokenizer = Tokenizer.load(tokenizer_path) if tokenizer_path and tokenizer_path.exists() else None
    tally = _Tally(tokenizer)
    rows = read_uniform_rows(path)
    for row in tqdm(itertools.islice(rows, MAX_ROWS), desc="describe", unit=" rows", delay=1):
        tally.add(row)
    if not tally.ids:
        raise ImportFormatError(path=path, problem="it holds no row; import a file first: python -m training import")
    is_cut = len(tally.ids) == MAX_ROWS and next(rows, None) is not None
    return tally.report(is_cut, nearest_intents(tally.sample, pack, tokenizer) if tokenizer else None)


class _Tally:
    """What is known of the rows so far; of every row itself only its id, split and fingerprints are kept."""

    def __init__(self, tokenizer: Tokenizer | None) -> None:
        self.ids: list[str] = []
        self.sample = MessageSample()
        self._tokenizer = tokenizer
        self._masker = EntityMasker()
        self._splits: list[str | None] = []
        self._languages: Counter[str] = Counter()
        self._turns_per_conversation = Lengths()
        self._characters = {"user": Lengths(), "agent": Lengths()}
        self._tokens = {"user": Lengths(), "agent": Lengths()}
        self._turns: Counter[str] = Counter()
        self._personal_data = PersonalDataCounter()
        self._replies = ReplyCounter()
        self._groups = Groups()
        self._duplicates = DuplicateFinder(self._groups)
        self._row_of_customer: dict[str, int] = {}
        self._num_conversations = 0

    def add(self, row: UniformRow) -> None:
        """Counts one row."""
        vault = EntityVault()
        masked = [self._masker.mask_keeping_placeholders(turn.text, vault) for turn in row.turns]
        for turn, text in zip(row.turns, masked, strict=True):
            self._add_turn(turn.role, turn.text, text)
        if row.is_conversation:
            self._num_conversations += 1
            self._turns_per_conversation.add(len(row.turns))
        first = next((text for turn, text in zip(row.turns, masked, strict=True) if turn.role == "user"), "")
        if first:
            self.sample.add(row.lang, first)
        self.ids.append(row.id)
        self._splits.append(row.split)
        self._languages[row.lang] += 1
        number = self._groups.add()
        self._duplicates.add(number, "\n".join(masked))
        if row.customer:
            self._groups.join(self._row_of_customer.setdefault(row.customer, number), number)

    def _add_turn(self, role: str, text: str, masked: str) -> None:
        self._turns[role] += 1
        self._characters[role].add(len(masked))
        self._personal_data.add(text, masked)
        if self._tokenizer:
            self._tokens[role].add(len(self._tokenizer.encode(masked)))
        if role == "agent":
            self._replies.add(masked)

    def report(self, is_cut: bool, intents: Mapping[str, NearestIntents] | None) -> DataReport:
        """The figures of all rows so far."""
        has_tokens = self._tokenizer is not None
        return DataReport(
            num_rows=len(self.ids),
            is_cut=is_cut,
            num_conversations=self._num_conversations,
            num_turns=dict(self._turns),
            num_tokens=sum(lengths.total for lengths in self._tokens.values()) if has_tokens else None,
            languages=dict(self._languages.most_common()),
            splits=dict(Counter(split or "none" for split in self._splits).most_common()),
            turns_per_conversation=self._turns_per_conversation.summary,
            characters_per_turn={role: lengths.summary for role, lengths in self._characters.items()},
            tokens_per_turn={role: lengths.summary for role, lengths in self._tokens.items()} if has_tokens else None,
            nearest_intents=intents,
            num_exact_duplicates=self._duplicates.num_exact,
            num_near_duplicates=self._duplicates.num_near,
            personal_data=self._personal_data.by_type,
            replies=self._replies.replies,
            suggested_split=suggest_split(self._groups.members(), self.ids, self._splits),
        )
