"""How far a policy may go from its reference: the penalty's strength, when to measure, and the way back to a limit."""

import math
from collections.abc import Sequence

_MAX_ERROR = 0.2
_SQUARE = 2.0
"""KL begins with the square of the way from the reference, where its gradient is zero."""
_FURTHER_OUT = 2.5
"""What it goes with between 1 and 7 nats: 2.2 to 2.7 was measured."""
_EXPONENTS = (1.0, 6.0)


def adapted_kl_coefficient(coefficient: float, kl: float, *, target: float, gain: float) -> float:
    """The next step's coefficient: higher above the target, lower below it (Ziegler et al. 2019, section 2.2).

    `kl` and `target` > 0 are nats a completion; the relative error counts up to 20 %, times `gain`, so that one noisy
    measurement moves little.
    """
    error = min(_MAX_ERROR, max(-_MAX_ERROR, kl / target - 1))
    return coefficient * (1 + gain * error)


def steps_to_next_measurement(step: int, kl: float, *, limit: float, shortest: int, longest: int) -> int:
    """After how many steps to measure again, where `kl` nats were measured before `step`; `shortest` to `longest`.

    When half of what is left below the limit would be spent, if KL goes on with the square of the steps.
    """
    if kl >= limit:
        return shortest
    if kl <= 0 or step == 0:
        return longest
    growth = math.pow((kl + limit) / (2 * kl), 1 / _SQUARE)
    return int(min(longest, max(shortest, step * (growth - 1))))


def share_of_way(measured: Sequence[tuple[float, float]], target: float) -> float:
    """The share of the way from the reference where KL should be `target` nats, going by (share, KL) measured so far.

    KL as a power of the share, through the last two of them, or of a usual exponent through a single one.
    """
    (share, kl), exponent = measured[-1], _FURTHER_OUT
    if len(measured) > 1:
        earlier_share, earlier_kl = measured[-2]
        slope = math.log(kl / earlier_kl) / math.log(share / earlier_share)
        exponent = min(_EXPONENTS[1], max(_EXPONENTS[0], slope))
    return share * math.pow(target / kl, 1 / exponent)
