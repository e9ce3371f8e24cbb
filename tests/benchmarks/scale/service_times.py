"""How long the engine takes for what, out of the file that `make bench` writes.

A request takes until its first token what some first token of its turn took when nobody else was there: a share of it
to be heard, beside the engine, the rest as a part of a step. A step decodes one token of each of n replies in
`step_base + n x step_row` seconds and reads at most one prompt. A reply that is alone is guessed ahead and takes
`step_alone` a token. The numbers that no row says by itself (those of the step, the share, and the length of a reply
where the file does not know it) are chosen so that the simulation repeats the measured tokens a second in one stream,
in many, and in few where they were measured, and the first token in few.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from statistics import fmean, median
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict
from scipy.optimize import brentq

SAMPLE = Path(__file__).with_name("bench_sample.json")
"""Measured figures of one machine, which the file names: what is used where `make bench` has not run here."""
_SERVICE = "this service"
"""Its rows' name: `over_http.http_rounds.SERVICE`, which would bring every engine with it."""
_PRECISION = 1e-3
"""Of a fitted number, as a share of the highest it may be."""
_SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0)
"""Of the time until a first token that hearing may take."""


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
    num_conversations: int = 160
    """Of a round; towards its end fewer streams are left."""
    first_tokens_ms: tuple[tuple[float, ...], ...] = ()
    """All of them, by turn, where they are known; else the two medians above stand for them."""

    @property
    def first(self) -> tuple[tuple[float, ...], ...]:
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
    first: tuple[tuple[float, ...], ...]
    """Until the first token of who is alone, by turn, each as likely as another; later turns take as the last one."""
    hear_share: float = 0.0
    """Of it, spent beside the engine."""
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
    def mean_first_token_seconds(self) -> tuple[float, ...]:
        """By turn, of who is alone."""
        return tuple(fmean(turn) for turn in self.first)

    def first_token_seconds(self, turn: int, dice: Random) -> float:
        """Of some request of a turn that is alone."""
        return dice.choice(self.first[min(turn, len(self.first) - 1)])


class Steady(NamedTuple):
    """What streams get that hold one conversation after the other without thinking."""

    tokens_per_second: float
    first_token_seconds: float
    """Mean over the turns of their medians."""


ClosedLoop = Callable[[ServiceTimes, int, int], Steady]
"""So many streams that hold so many conversations."""


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

    Without a row of few, a reply in company is taken to cost as much as one alone, and hearing to stop the engine.
    """
    one = rows[0]
    company = sorted((row for row in rows[1:] if row.streams <= row.num_slots), key=lambda row: row.streams)
    few, many = company[0], company[-1]
    lengths = one.reply_tokens or (_reply_tokens(one),)
    alone = _step_alone(one, fmean(lengths))
    fields = {"machine": machine, "step_alone": alone, "first": one.first, "reply_tokens": lengths}
    unfitted = ServiceTimes(**fields, step_base=alone, step_row=0.0)
    if few is many:
        return _with_row(unfitted, many, closed_loop, is_like_alone=True)
    fits = [_with_steps(unfitted.model_copy(update={"hear_share": share}), few, many, closed_loop) for share in _SHARES]
    measured = fmean(median(turn) for turn in few.first)
    return min(fits, key=lambda found: abs(_held(found, few, closed_loop).first_token_seconds - measured))


def _with_steps(times: ServiceTimes, few: MeasuredRow, many: MeasuredRow, closed_loop: ClosedLoop) -> ServiceTimes:
    """Steps that repeat the tokens a second of both rows."""

    def with_base(base: float) -> ServiceTimes:
        return _with_row(times.model_copy(update={"step_base": base}), many, closed_loop)

    return with_base(_root(10 * times.step_alone, lambda base: _too_fast_by(with_base(base), few, closed_loop)))


def _with_row(
    times: ServiceTimes, many: MeasuredRow, closed_loop: ClosedLoop, *, is_like_alone: bool = False
) -> ServiceTimes:
    """A time a reply that repeats the tokens a second of many; `is_like_alone`: the step's base follows from it."""

    def with_row(row: float) -> ServiceTimes:
        base = max(0.0, times.step_alone - row) if is_like_alone else times.step_base
        return times.model_copy(update={"step_base": base, "step_row": row})

    return with_row(_root(2 * times.step_alone, lambda row: _too_fast_by(with_row(row), many, closed_loop)))


def _held(times: ServiceTimes, row: MeasuredRow, closed_loop: ClosedLoop) -> Steady:
    return closed_loop(times, row.streams, row.num_conversations)


def _too_fast_by(times: ServiceTimes, row: MeasuredRow, closed_loop: ClosedLoop) -> float:
    return _held(times, row, closed_loop).tokens_per_second - row.tokens_per_second


def _root(highest: float, too_fast_by: Callable[[float], float]) -> float:
    """The number up to this one at which the simulation is neither too fast nor too slow; else the nearer end."""
    if too_fast_by(0.0) <= 0:
        return 0.0
    if too_fast_by(highest) >= 0:
        return highest
    return float(brentq(too_fast_by, 0.0, highest, xtol=_PRECISION * highest))


def _reply_tokens(one: MeasuredRow) -> int:
    """Tokens of a reply, of an old file without them: what makes first tokens and gaps fill the measured time."""
    gap = one.gap_ms_p50 / 1000
    first = (one.first_token_ms + one.second_turn_first_token_ms) / 1000
    return max(2, round(one.tokens_per_second * (first - 2 * gap) / (2 - 2 * gap * one.tokens_per_second)))


def _step_alone(one: MeasuredRow, mean_tokens: float) -> float:
    """Seconds of a step with one reply: what is left of its time after the first token, the client included."""
    seconds_a_reply = mean_tokens / one.tokens_per_second
    return max(1e-5, (seconds_a_reply - fmean(map(fmean, one.first))) / max(1.0, mean_tokens - 1))
