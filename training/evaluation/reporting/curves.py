"""A run's curves, read back from its TensorBoard logs: one value a step, the last one written."""

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
    SCALARS,
    EventAccumulator,
)

from training.evaluation.reporting.plots import Curve

FIRST = ("reward", "reward_human", "kl", "entropy", "num_tokens", "proper_endings", "loss", "kl_coefficient")
"""What a reader wants to see first: the known early signs of a policy that goes wrong."""
_ALL = 0


def read_curves(directory: Path) -> dict[str, Curve]:
    """Curves by name, the known early signs first; none for a directory without logs."""
    if not directory.is_dir():
        return {}
    events = EventAccumulator(str(directory), size_guidance={SCALARS: _ALL})
    events.Reload()
    names = events.Tags()["scalars"]
    ordered = [*(name for name in FIRST if name in names), *sorted(name for name in names if name not in FIRST)]
    # A run that was killed wrote some steps twice.
    return {name: sorted({event.step: event.value for event in events.Scalars(name)}.items()) for name in ordered}
