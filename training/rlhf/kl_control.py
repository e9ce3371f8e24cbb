"""How hard the policy is pulled back to its reference: a coefficient that keeps the KL near a target."""

_MAX_ERROR = 0.2


def adapted_kl_coefficient(coefficient: float, kl: float, *, target: float, gain: float) -> float:
    """The next step's coefficient: higher above the target, lower below it (Ziegler et al. 2019, section 2.2).

    `kl` and `target` > 0 are nats a completion; the relative error counts up to 20 %, times `gain`, so that one noisy
    measurement moves little.
    """
    error = min(_MAX_ERROR, max(-_MAX_ERROR, kl / target - 1))
    return coefficient * (1 + gain * error)
