"""A sentence encoder of a few thousand weights in the file format of the real one."""

import struct
from pathlib import Path

import numpy as np

PIECES = ("<s>", "<pad>", "</s>", "<unk>", "▁query:", "▁", "▁refund", "▁my", "s", "退款", "我", "想")
HIDDEN, INNER, POSITIONS = 32, 64, 64
NORMALISATION = {ord("Ａ"): "A", 0xAD: ""}


def write_tiny_encoder(path: Path, seed: int = 0) -> dict[str, np.ndarray]:
    """Writes the file; returns the weights that a reader must find."""
    generator = np.random.default_rng(seed)
    weights: dict[str, np.ndarray] = {}
    blobs: dict[str, bytes] = {}
    for name, shape, is_matrix in _tensors():
        weights[name], blobs[name] = _draw(generator, shape, is_matrix)
    head = b"E5S1" + struct.pack("<I7ifi", 1, HIDDEN, 1, 2, INNER, len(PIECES), POSITIONS, 1, 1e-12, 32)
    head += _vocabulary()
    start = len(head) + 4 + sum(2 + len(name) + 1 + 4 + 8 + 8 for name in blobs)
    directory, body = struct.pack("<i", len(blobs)), b""
    for name, blob in blobs.items():
        directory += struct.pack("<H", len(name)) + name.encode()
        directory += struct.pack("<BIQQ", 0, weights[name].size, start + len(body), len(blob))
        body += blob
    path.write_bytes(head + directory + body)
    return weights


def _tensors() -> list[tuple[str, tuple[int, ...], bool]]:
    tensors: list[tuple[str, tuple[int, ...], bool]] = [
        ("emb.word", (len(PIECES), HIDDEN), True),
        ("emb.pos", (POSITIONS, HIDDEN), False),
        ("emb.type", (1, HIDDEN), False),
        ("emb.ln.w", (HIDDEN,), False),
        ("emb.ln.b", (HIDDEN,), False),
    ]
    for name, rows, columns in (
        ("q", HIDDEN, HIDDEN),
        ("k", HIDDEN, HIDDEN),
        ("v", HIDDEN, HIDDEN),
        ("ao", HIDDEN, HIDDEN),
        ("fi", INNER, HIDDEN),
        ("fo", HIDDEN, INNER),
    ):
        tensors += [(f"l0.{name}.w", (rows, columns), True), (f"l0.{name}.b", (rows,), False)]
    for name in ("aln", "oln"):
        tensors += [(f"l0.{name}.w", (HIDDEN,), False), (f"l0.{name}.b", (HIDDEN,), False)]
    return tensors


def _draw(generator: np.random.Generator, shape: tuple[int, ...], is_matrix: bool) -> tuple[np.ndarray, bytes]:
    if not is_matrix:
        values = generator.normal(1, 0.1, shape).astype("<f4")
        return values, values.tobytes()
    blocks = int(np.prod(shape)) // 32
    scales = generator.uniform(0.02, 0.05, (blocks, 1)).astype("<f2")
    nibbles = generator.integers(0, 16, (blocks, 32)).astype(np.uint8)
    packed = nibbles[:, :16] | (nibbles[:, 16:] << 4)
    blob = b"".join(scale.tobytes() + row.tobytes() for scale, row in zip(scales, packed, strict=True))
    return ((nibbles.astype(np.float32) - 8) * scales.astype(np.float32)).reshape(shape), blob


def _vocabulary() -> bytes:
    spellings = [piece.encode() for piece in PIECES]
    offsets = np.cumsum([0, *map(len, spellings)]).astype("<u4")
    scores = np.linspace(-1, -2, len(PIECES)).astype("<f4")
    entries = b"".join(
        struct.pack("<IB", code, len(text)) + struct.pack(f"<{len(text)}I", *map(ord, text))
        for code, text in NORMALISATION.items()
    )
    return (
        struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, len(b"".join(spellings)))
        + offsets.tobytes()
        + scores.tobytes()
        + b"".join(spellings)
        + struct.pack("<iI", len(NORMALISATION), len(entries))
        + entries
    )
