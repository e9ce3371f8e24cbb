"""An opinion of intents by n-grams of subwords, beside the encoder's: a linear support vector machine in its graph.

An encoder hears what a message means and now and then misses what it says; counted n-grams err about other messages.
Their margins are added to the encoder's logits, a product of experts (Hinton 2002). Of a later message its own words
are counted and not the turns before it: what to make of a "yes" is left to the encoder. Features are weighed and
normalised as TF-IDF has them (Salton & Buckley 1988), each once a message; the ones that matter are kept, and found in
the graph by hashing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto
from scipy import sparse
from sklearn.svm import LinearSVC

from training.export.graph_writer import GraphWriter

SHARPNESS = 5.0
"""Factor from margins to logits; chosen on development asks (`training/EXPERIMENTS.md`)."""
MAX_FEATURES = 65_000
"""Kept, of a few hundred thousand: they and their index take 6 MB."""
_MIN_MESSAGES = 4
"""In how many messages a feature must stand to be tried at all."""
_MAX_SHARE = 0.5
"""Of the messages: what stands in more of them, such as the prefix, tells nothing."""
_STRENGTH = 0.5
_TOLERANCE, _MAX_ITERATIONS = 1e-2, 100
_ID_BITS = 16
_NGRAMS: tuple[tuple[int, ...], ...] = ((0,), (0, 1), (0, 1, 2), (0, 2))
"""Places of a feature's tokens, counted from its first; the last kind skips one."""
_NUM_SLOTS = 524_287
"""A prime; slots of a feature are its key modulo this."""
_LARGEST_BYTE = 127


@dataclass(frozen=True, slots=True)
class NgramHead:
    """Kept features, row 0 standing for all others; keys are those of `feature_keys`."""

    keys: NDArray[np.int64]
    """[N]; -1 in row 0."""
    rarity: NDArray[np.float32]
    """[N]: inverse document frequency; 0 in row 0."""
    weight: NDArray[np.float32]
    """[N, num intents]: of a feature of rarity 1."""
    bias: NDArray[np.float32]
    """[num intents]"""
    end_ids: tuple[int, ...]
    """Tokens of the vocabulary that is served at the first of which a message ends; the closing token first."""

    def logits(self, messages: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """[n, num intents] of messages' token ids."""
        rows = {int(key): row for row, key in enumerate(self.keys)}
        found = np.zeros((len(messages), len(self.bias)), np.float32)
        for number, token_ids in enumerate(messages):
            kept = sorted({rows[key] for key in feature_keys(token_ids, self.end_ids) if key in rows})
            length = max(1.0, float(np.sqrt((self.rarity[kept] ** 2).sum())))
            found[number] = self.rarity[kept] @ self.weight[kept] / length + self.bias
        return SHARPNESS * found


def feature_keys(token_ids: Sequence[int], end_ids: Sequence[int]) -> set[int]:
    """Of every n-gram of the message itself, its end included, one whole number; no two n-grams share it."""
    ids = np.append(np.asarray(token_ids[: _num_own(token_ids, end_ids)], np.int64), end_ids[0])
    keys: set[int] = set()
    for kind, places in enumerate(_NGRAMS):
        num = len(ids) - places[-1]
        if num > 0:
            key = np.full(num, _kind_key(kind))
            for order, place in enumerate(places):
                key += ids[place : place + num] << _ID_BITS * order
            keys.update(key.tolist())
    return keys


def _num_own(token_ids: Sequence[int], end_ids: Sequence[int]) -> int:
    """Tokens before the first that ends the message."""
    ends = np.flatnonzero(np.isin(token_ids, end_ids))
    return int(ends[0]) if len(ends) else len(token_ids)


def fit_ngram_head(
    messages: Sequence[Sequence[int]],
    columns: Sequence[int],
    end_ids: tuple[int, ...],
    *,
    min_messages: int = _MIN_MESSAGES,
) -> NgramHead:
    """From messages' token ids and the columns of their intents, of which each must occur; takes minutes.

    Learned twice: from all features, and from those that mattered then.
    """
    counts, keys = _count(messages, end_ids, min_messages)
    influence = np.sqrt(_num_messages(counts))
    if len(keys) > MAX_FEATURES:
        trial, rarity = _fit(counts, columns)
        influence *= np.abs(trial.coef_).max(axis=0) * rarity
    kept = np.sort(_one_a_slot(keys, np.argsort(-influence, kind="stable"))[:MAX_FEATURES])
    classifier, rarity = _fit(counts[:, kept], columns)
    weight, bias = classifier.coef_.T, classifier.intercept_
    if len(bias) == 1:  # of two intents the classifier knows the second only
        weight, bias = np.hstack([-weight, weight]), np.concatenate([-bias, bias])
    return NgramHead(
        keys=np.concatenate([[-1], keys[kept]]),
        rarity=np.concatenate([[0], rarity]).astype(np.float32),
        weight=np.vstack([np.zeros_like(weight[:1]), weight]).astype(np.float32),
        bias=bias.astype(np.float32),
        end_ids=end_ids,
    )


def write_ngrams(write: GraphWriter, head: NgramHead, token_ids: str, is_own: str) -> str:
    """Adds the head's logits [1, num intents] to a graph of `token_ids` [1, S]; gives their name.

    `is_own` [1, S] is 1 for the message's own tokens and 0 for its end and those behind it.
    """
    flat = write.constant("ngrams.flat", [-1], np.int64)
    all_ids = write.node("Reshape", [token_ids, flat])
    num_own = write.node("Reshape", [write.node("ReduceSum", [is_own], keepdims=0), flat])
    num_own = write.node("Cast", [num_own], to=TensorProto.INT64)
    start = write.constant("ngrams.start", [0], np.int64)
    closing = write.constant("ngrams.closing", [head.end_ids[0]], np.int64)
    ids = write.node("Concat", [write.node("Slice", [all_ids, start, num_own]), closing], axis=0)
    return _margins(write, head, _known_rows(write, head, _distinct_keys(write, ids)))


def _margins(write: GraphWriter, head: NgramHead, rows: str) -> str:
    """[1, num intents], as sharp as logits."""
    rarity = write.node("Gather", [write.constant("ngrams.rarity", head.rarity, np.float32), rows])
    squared = write.node("ReduceSumSquare", [rarity], keepdims=1)
    length = write.node("Max", [write.node("Sqrt", [squared]), write.constant("ngrams.least", np.ones(1), np.float32)])
    weight = head.weight * head.rarity[:, None]
    scales = np.maximum(np.abs(weight).max(axis=0), 1e-12) / _LARGEST_BYTE
    steps = write.node("Gather", [write.constant("ngrams.steps", np.rint(weight / scales), np.int8), rows])
    axis = write.constant("ngrams.axis", [0], np.int64)
    total = write.node("ReduceSum", [write.node("Cast", [steps], to=TensorProto.FLOAT), axis], keepdims=1)
    scaled = write.node("Mul", [total, write.constant("ngrams.scales", SHARPNESS * scales, np.float32)])
    bias = write.constant("ngrams.bias", SHARPNESS * head.bias, np.float32)
    return write.node("Add", [write.node("Div", [scaled, length]), bias])


def _distinct_keys(write: GraphWriter, ids: str) -> str:
    """[K] int64: `feature_keys` in the graph, of a message [S]."""
    keys = [_keys_of_kind(write, ids, kind) for kind in range(len(_NGRAMS))]
    return write.node("Unique", [write.node("Concat", keys, axis=0)], name="ngrams.distinct", axis=0, sorted=0)


def _keys_of_kind(write: GraphWriter, ids: str, kind: int) -> str:
    """[at most S] int64; what is shorter than a feature has none of its kind."""
    places, name = _NGRAMS[kind], f"ngrams.{kind}"
    key = write.constant(f"{name}.key", [_kind_key(kind)], np.int64)
    for order, place in enumerate(places):
        behind = place - places[-1]
        bounds = [
            write.constant(f"{name}.{order}.{bound}", [value], np.int64)
            for bound, value in (("start", place), ("end", behind or np.iinfo(np.int64).max))
        ]
        part = write.node("Slice", [ids, *bounds])
        factor = write.constant(f"{name}.{order}.factor", [1 << _ID_BITS * order], np.int64)
        key = write.node("Add", [write.node("Mul", [part, factor]), key])
    return key


def _known_rows(write: GraphWriter, head: NgramHead, keys: str) -> str:
    """[K] int64: the rows of keys, 0 for those that were not kept."""
    slots = np.zeros(_NUM_SLOTS, np.uint16)
    slots[head.keys[1:] % _NUM_SLOTS] = np.arange(1, len(head.keys))
    slot = write.node("Mod", [keys, write.constant("ngrams.num_slots", [_NUM_SLOTS], np.int64)])
    row = write.node("Gather", [write.constant("ngrams.slots", slots, np.uint16), slot])
    row = write.node("Cast", [row], to=TensorProto.INT64)
    found = write.node("Gather", [write.constant("ngrams.keys", head.keys, np.int64), row])
    is_it = write.node("Cast", [write.node("Equal", [found, keys])], to=TensorProto.INT64)
    return write.node("Mul", [row, is_it])


def _kind_key(kind: int) -> int:
    return kind << _ID_BITS * max(map(len, _NGRAMS))


def _count(
    messages: Sequence[Sequence[int]], end_ids: Sequence[int], min_messages: int
) -> tuple[sparse.csc_matrix, NDArray[np.int64]]:
    """1 where a message [n] has a feature [N], and the features' keys; without those that are rare or everywhere."""
    of_messages = [np.fromiter(feature_keys(token_ids, end_ids), np.int64) for token_ids in messages]
    keys, columns = np.unique(np.concatenate(of_messages), return_inverse=True)
    starts = np.cumsum([0, *map(len, of_messages)])
    counts = sparse.csr_matrix((np.ones(len(columns), np.float32), columns, starts), (len(messages), len(keys)))
    num_messages = _num_messages(counts)
    is_tried = (num_messages >= min_messages) & (num_messages <= _MAX_SHARE * len(messages))
    return counts[:, is_tried], keys[is_tried]


def _num_messages(counts: sparse.csr_matrix) -> NDArray[np.float64]:
    return np.asarray(counts.sum(axis=0), np.float64).ravel()


def _one_a_slot(keys: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[np.int64]:
    """`order` without features whose slot an earlier one has taken."""
    _, first = np.unique(keys[order] % _NUM_SLOTS, return_index=True)
    return order[np.sort(first)]


def _fit(counts: sparse.csr_matrix, columns: Sequence[int]) -> tuple[LinearSVC, NDArray[np.float64]]:
    """The machine, and the features' rarity by which it was taught."""
    rarity = np.log((1 + counts.shape[0]) / (1 + _num_messages(counts))) + 1
    weighed = counts.multiply(rarity).tocsr()
    lengths = np.maximum(np.sqrt(np.asarray(weighed.multiply(weighed).sum(axis=1))).ravel(), 1)
    machine = LinearSVC(C=_STRENGTH, tol=_TOLERANCE, max_iter=_MAX_ITERATIONS, random_state=0)
    return machine.fit(sparse.diags(1 / lengths) @ weighed, columns), rarity
