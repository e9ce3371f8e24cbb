"""The manifest: what a bundle is, where it comes from, how good it is.

A bundle is a directory with `manifest.json` and the files it lists. The version's digest is the sha256 of the canonical
manifest, which holds every file's sha256: one name stands for every byte. Reading and checking files:
`model_store.bundle`.
"""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from model_store.errors import InvalidManifestError, problems_of

MANIFEST_NAME = "manifest.json"
MAX_HASHED_CHUNK = 64
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(_Frozen):
    """One file of the bundle."""

    sha256: Sha256
    num_bytes: int = Field(ge=0)


class Hashing(_Frozen):
    """How LSH layers read prompts that are long: of what lies far back each token sees what shares its bucket alone."""

    hash_beyond: int = Field(ge=1)
    """Prompts of more tokens than this are read so; shorter ones exactly."""
    num_hashes: int = Field(ge=1, le=8)
    """Rounds, each with buckets of its own."""
    num_buckets: int = Field(ge=2, le=256, multiple_of=2)
    """Of a round, in every head."""
    bucket_window: int = Field(ge=1)
    """The latest tokens of its own bucket that a token sees, a round."""


class Architecture(_Frozen):
    """The network's shape; everything the engine needs to allocate caches and cut prompts."""

    hidden_size: int = Field(ge=1)
    attn_layers: tuple[Literal["local", "lsh"], ...]
    num_attention_heads: int = Field(ge=1)
    attention_head_size: int = Field(ge=1)
    feed_forward_size: int = Field(ge=1)
    vocab_size: int = Field(ge=256)
    max_positions: int = Field(ge=64)
    local_chunk_length: int = Field(ge=1)
    ngram_rows: int = Field(0, ge=0)
    """Rows of the n-gram table; 0: a network without one, whose graph does not ask for previous tokens."""
    message_summary: bool = False
    """Whether a reply's opening reads the whole message's n-grams, so that previous tokens are all of them."""
    hashing: Hashing | None = None
    """None: a network that reads every prompt exactly, and was not trained on long ones."""

    @model_validator(mode="after")
    def _check_hashing(self) -> "Architecture":
        if self.hashing is not None and self.local_chunk_length > MAX_HASHED_CHUNK:
            raise ValueError(f"hashing needs local chunks of at most {MAX_HASHED_CHUNK} tokens, what one step reads")
        return self

    @model_validator(mode="after")
    def _check_summary(self) -> "Architecture":
        if self.message_summary and not self.ngram_rows:
            raise ValueError("message_summary needs an n-gram table: set ngram_rows")
        return self

    @model_serializer(mode="wrap")
    def _without_absent_parts(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Bundles made before there were such parts keep their digest.
        fields: dict[str, Any] = serialize(self)
        absent = {name for name in ("ngram_rows", "message_summary", "hashing") if not fields[name]}
        return {name: value for name, value in fields.items() if name not in absent}


WeightFormat = Literal["float32", "int8_block64", "int8_static"]
"""How weights are stored: as they are; in blocks of 64 with a scale each; or in columns for products with activations
that are bytes themselves."""


class Quantization(_Frozen):
    """How weights and caches are stored, and what that cost against fp32 on real prompts."""

    weights: WeightFormat
    kv_cache: Literal["float32", "int8"]
    top1_agreement: float = Field(ge=0, le=1)
    perplexity_ratio: float = Field(gt=0)
    max_logit_difference: float = Field(ge=0)


class Lineage(_Frozen):
    """Where a version comes from."""

    parent: Sha256 | None = None
    data_snapshot: Sha256 | None = None
    config: Sha256
    stages: tuple[str, ...]
    """What was done, in order, e.g. ("pretrain", "finetune") or ("reward_model", "rloo")."""


class DataLicence(_Frozen):
    """A source the weights were trained on."""

    source: str
    licence: str
    num_rows: int = Field(ge=0)


class GoldenRun(_Frozen):
    """A greedy completion that the engine must reproduce before a version serves people."""

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]


class Manifest(_Frozen):
    """Everything about a version that is not a weight."""

    format_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    created_at: str
    languages: tuple[str, ...]
    architecture: Architecture
    quantization: Quantization
    lineage: Lineage
    licences: tuple[DataLicence, ...]
    metrics: dict[str, float]
    golden_run: GoldenRun
    files: dict[str, FileEntry]

    def canonical_bytes(self) -> bytes:
        """The one serialisation that is hashed and stored: sorted keys, no white space, UTF-8."""
        return json.dumps(
            self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        ).encode()

    @property
    def digest(self) -> str:
        """The version's name: sha256 of `canonical_bytes`, 64 hex digits."""
        return hashlib.sha256(self.canonical_bytes()).hexdigest()


def parse_manifest(data: bytes, *, digest: str) -> Manifest:
    """Reads a manifest; `digest` only names the version in errors. Raises InvalidManifestError."""
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        raise InvalidManifestError(digest=digest, problem=problems_of(error)) from error
