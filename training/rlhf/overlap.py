"""Overlap with texts that people wrote: the mean of sentence BLEU and ROUGE-L, Chinese by characters."""

from collections.abc import Sequence
from functools import cache

from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU

from model_store.contract.conversation import detect_language


class _Words:
    """Latin words and numbers in lower case, every other letter by itself."""

    def tokenize(self, text: str) -> list[str]:
        spaced = "".join(
            f" {c} " if c.isalpha() and not c.isascii() else c if c.isalnum() else " " for c in text.lower()
        )
        return spaced.split()


def overlap(text: str, references: Sequence[str]) -> float:
    """From 0 (nothing in common) to 1 (equal to a reference); the best reference counts. 0 without references."""
    if not references or not text.strip():
        return 0.0
    bleu = _bleu(detect_language(references[0])).sentence_score(text, list(references)).score / 100
    rouge = max(_rouge().score(reference, text)["rougeL"].fmeasure for reference in references)
    return float(min(1.0, bleu) + rouge) / 2


@cache
def _bleu(language: str) -> BLEU:
    return BLEU(effective_order=True, lowercase=True, tokenize="zh" if language == "zh" else "13a")


@cache
def _rouge() -> RougeScorer:
    return RougeScorer(["rougeL"], tokenizer=_Words())
