"""The space in which passages are searched by meaning: what to make of the tuned encoder's states.

Tuning to tell intents apart spoils the states for finding passages (`training/EXPERIMENTS.md`); a linear map mends much
of it: within-class covariance normalisation (Hatch et al. 2006), where a class is an article and the questions that it
answers. Left out: learning the map by gradient, for a pack has a hundred articles.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MIN_ARTICLES = 20
"""Fewer say too little about how the questions of one article differ."""
_SHRINKAGE = 0.3
"""How much of the covariance is taken to be the same in every direction."""
_MAX_DIMENSIONS = 256


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """A projection of mean hidden states; texts about the same thing come to lie in the same direction."""

    layers: tuple[int, ...]
    """The layers whose mean states are taken; 0 are the embeddings."""
    centres: NDArray[np.float32]
    """[num layers, H]: subtracted from them, before each is brought to unit length."""
    directions: NDArray[np.float32]
    """[num layers * H, D]: what is projected on."""


def search_layers(num_layers: int) -> tuple[int, int]:
    """A layer a little behind the middle, where words are understood and intents not yet told apart, and the last."""
    return 7 * num_layers // 12, num_layers


def fit_search_space(layers: tuple[int, ...], states: NDArray[np.float32], articles: Sequence[int]) -> SearchSpace:
    """From the mean states [n, num layers, H] of passages and questions; `articles` [n] says which each is about."""
    centres = states.mean(axis=0)
    rows = unit_rows(states - centres).reshape(len(states), -1).astype(np.float64)
    numbers = np.asarray(articles)
    within = np.concatenate([_centred(rows[numbers == number]) for number in np.unique(numbers)])
    covariance = within.T @ within / len(within)
    even = np.eye(len(covariance)) * np.trace(covariance) / len(covariance)
    variances, axes = np.linalg.eigh((1 - _SHRINKAGE) * covariance + _SHRINKAGE * even)
    whitening = axes / np.sqrt(variances)
    _, spreads = np.linalg.eigh(np.cov(rows @ whitening, rowvar=False))
    directions = whitening @ spreads[:, ::-1][:, : min(_MAX_DIMENSIONS, len(rows))]
    return SearchSpace(layers, centres.astype(np.float32), directions.astype(np.float32))


def unit_rows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors [..., H] brought to unit length."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-12), np.float32)


def _centred(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(rows - rows.mean(axis=0))
