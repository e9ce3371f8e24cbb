"""How long the engine takes for what, out of the file that `make bench` writes.

A step decodes one token of each of n replies in `step_base + n x step_row` seconds, and reads at most one prompt, which
takes as many seconds more as some first token of that turn took when nobody else was there. A reply that is alone is
guessed ahead and takes `step_alone` a token. The numbers that no row says by itself (those of the step, and the length
of a reply where the file does not know it) are chosen so that the simulation repeats the measured tokens a second in
one stream, in many, and in few where they were measured.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from statistics import fmean

from pydantic import BaseModel, ConfigDict

SAMPLE = Path(__file__).with_name("bench_sample.json")
"""Measured figures of one machine, which the file names: what is used where `make bench` has not run here."""
_SERVICE = "this service"
"""Its rows' name: `over_http.http_rounds.SERVICE`, which would bring every engine with it."""
_BISECTIONS = 12
_CALIBRATION_CONVERSATIONS = 160


class MeasuredRow(BaseModel):
    """What is used of `over_http.http_rounds.HttpRow`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    streams: int
    num_slots: int
    tokens_per_second: float
    first_token_ms: float
    second_turn_first_token_ms: float
    gap_ms_p50: float
    reply_tokens: tuple[int, ...] = ()
    first_tokens_ms: tuple[tuple[float, ...], ...] = ()
    """All of them, by turn, where they are known; else the two medians above stand for them."""

    @property
    def read(self) -> tuple[tuple[float, ...], ...]:
        """Seconds until the first token, by turn."""
        found = self.first_tokens_ms or ((self.first_token_ms,), (self.second_turn_first_token_ms,))
        return tuple(tuple(ms / 1000 for ms in turn) for turn in found)


class ServiceTimes(BaseModel):
    """What a simulated pod is made of. Seconds."""

    model_config = ConfigDict(frozen=True)

    machine: str
    step_alone: float
    step_base: float
    step_row: float
    read: tuple[tuple[float, ...], ...]
    """Until the first token, by turn, each as likely as another; later turns take as long as the last one."""
    reply_tokens: tuple[int, ...]
    """Lengths of replies, each as likely as another."""

    @property
    def mean_reply_tokens(self) -> float:
        """Tokens of a reply."""
        return fmean(self.reply_tokens)

    def step_seconds(self, num_replies: int, *, is_reading: bool) -> float:
        """For a token of each reply; beside a prompt nothing is guessed."""
        if num_replies == 1 and not is_reading:
            return self.step_alone
        return self.step_base + num_replies * self.step_row if num_replies else 0.0

    @property
    def mean_read_seconds(self) -> tuple[float, ...]:
        """Until the first token, by turn."""
        return tuple(fmean(turn) for turn in self.read)

    def read_seconds(self, turn: int, dice: Random) -> float:
        """For some prompt of a turn."""
        return dice.choice(self.read[min(turn, len(self.read) - 1)])


ClosedLoop = Callable[[ServiceTimes, int, int], float]
"""Tokens a second of so many streams that hold so many conversations, one after the other, without thinking."""


def load_rows(path: Path) -> tuple[str, list[MeasuredRow]]:
    """The machine and the service's own rows. Raises ValueError when it was not measured with one stream and many."""
    report = json.loads(path.read_text(encoding="utf-8"))
    rows = [MeasuredRow.model_validate(row) for row in report["http"] if row["server"] == _SERVICE]
    rows.sort(key=lambda row: row.streams)
    if len(rows) < 2 or rows[0].streams != 1:
        raise ValueError(f"{path} lacks the service with 1 stream and with more: make bench OPTIONS='--parts http'")
    return str(report["machine"]), rows


def calibrate(machine: str, rows: Sequence[MeasuredRow], closed_loop: ClosedLoop) -> ServiceTimes:
    """The numbers with which the simulation repeats the rows of one stream, of the most that slots hold, and of few.

    Without a row of few, a reply in company is taken to cost as much as one alone.
    """
    one = rows[0]
    company = sorted((row for row in rows[1:] if row.streams <= row.num_slots), key=lambda row: row.streams)
    few, many = company[0], company[-1]
    lengths = one.reply_tokens or (_reply_tokens(one),)
    alone = _step_alone(one, fmean(lengths))

    def times(base: float, row: float) -> ServiceTimes:
        return ServiceTimes(
            machine=machine, step_alone=alone, step_base=base, step_row=row, read=one.read, reply_tokens=lengths
        )

    def is_too_fast(found: ServiceTimes, row: MeasuredRow) -> bool:
        return closed_loop(found, row.streams, _CALIBRATION_CONVERSATIONS) > row.tokens_per_second

    def with_base(base: float) -> ServiceTimes:
        """Repeats the row of many."""
        return times(base, _bisect(2 * alone, lambda row: is_too_fast(times(base, row), many)))

    if few is many:
        row = _bisect(2 * alone, lambda row: is_too_fast(times(max(0.0, alone - row), row), many))
        return times(max(0.0, alone - row), row)
    return with_base(_bisect(10 * alone, lambda base: is_too_fast(with_base(base), few)))


def _bisect(highest: float, is_too_small: Callable[[float], bool]) -> float:
    """The least number up to this one that is not too small."""
    low, high = 0.0, highest
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_too_small(middle) else (low, middle)
    return (low + high) / 2


def _reply_tokens(one: MeasuredRow) -> int:
    """Tokens of a reply, of an old file without them: what makes first tokens and gaps fill the measured time."""
    gap = one.gap_ms_p50 / 1000
    first = (one.first_token_ms + one.second_turn_first_token_ms) / 1000
    return max(2, round(one.tokens_per_second * (first - 2 * gap) / (2 - 2 * gap * one.tokens_per_second)))


def _step_alone(one: MeasuredRow, mean_tokens: float) -> float:
    """Seconds of a step with one reply: what is left of its time after the first token, the client included."""
    seconds_a_reply = mean_tokens / one.tokens_per_second
    return max(1e-5, (seconds_a_reply - fmean(map(fmean, one.read))) / max(1.0, mean_tokens - 1))
