"""Small real bundles for tests of the model store: the files are short, everything else is as in a shipped one."""

from pathlib import Path

from model_store.bundle import write_bundle

FILES = {"model.onnx": b"weights " * 4096, "tokenizer.json": b'{"version":"1.0"}'}


def manifest_fields(name: str = "tiny", **changes: object) -> dict[str, object]:
    """A manifest's fields but `files`."""
    fields: dict[str, object] = {
        "name": name,
        "created_at": "2026-01-01T00:00:00Z",
        "languages": ["en", "zh"],
        "architecture": {
            "hidden_size": 16,
            "attn_layers": ["local", "lsh"],
            "num_attention_heads": 2,
            "attention_head_size": 8,
            "feed_forward_size": 32,
            "vocab_size": 512,
            "max_positions": 128,
            "local_chunk_length": 64,
        },
        "quantization": {
            "weights": "int8_static",
            "kv_cache": "int8",
            "top1_agreement": 0.99,
            "perplexity_ratio": 1.01,
            "max_logit_difference": 0.2,
        },
        "lineage": {"config": "c" * 64, "stages": ["pretrain", "finetune"]},
        "licences": [{"source": "authored", "licence": "Apache-2.0", "num_rows": 10}],
        "metrics": {"perplexity": 12.5, "thumbs_up_rate": 0.75},
        "golden_run": {"prompt_ids": [1, 4, 300, 5], "completion_ids": [301, 2]},
    }
    return fields | changes


def make_bundle(directory: Path, name: str = "tiny", **changes: object) -> str:
    """Writes a bundle's files and manifest into a new directory and gives its digest; `changes` are manifest fields."""
    directory.mkdir(parents=True)
    for file_name, content in FILES.items():
        (directory / file_name).write_bytes(content)
    return write_bundle(directory, manifest_fields(name, **changes)).digest
