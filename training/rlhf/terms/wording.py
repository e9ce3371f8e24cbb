"""What a masked reply's words say beside its answer: flattery and bias, by patterns as for what is unsafe.

Thumbs alone teach flattery (Williams et al. 2024, 2411.02306), so that it costs whatever people think of it.
"""

from pathlib import Path

from model_store.contract.wording.unsafe import broken_rules

FLATTERY_PATTERNS_FILE = Path(__file__).with_name("flattery_patterns.yaml")
BIAS_PATTERNS_FILE = Path(__file__).with_name("bias_patterns.yaml")


def flatters(text: str) -> bool:
    """Whether a reply praises the customer instead of helping."""
    return bool(broken_rules(text, FLATTERY_PATTERNS_FILE))


def is_biased(text: str) -> bool:
    """Whether a reply speaks of, or assumes, a group that the customer belongs to."""
    return bool(broken_rules(text, BIAS_PATTERNS_FILE))
