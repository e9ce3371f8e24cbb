"""Configuration of the job that makes a first model: the network's shape, its data and the stages that train it."""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from model_store.contract.manifest import Architecture, Hashing


class Section(BaseModel):
    """A part of the configuration; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelConfig(Section):
    """The network's shape."""

    hidden_size: int = Field(256, ge=16)
    num_layers: int = Field(6, ge=2, multiple_of=2)
    num_attention_heads: int = Field(4, ge=1)
    attention_head_size: int = Field(64, ge=8)
    feed_forward_size: int = Field(1024, ge=16)
    vocab_size: int = Field(4096, ge=600)
    max_positions: int = Field(512, ge=64)
    local_chunk_length: int = Field(64, ge=16)
    ngram_rows: int = Field(0, ge=0)
    """Room for n-grams that are known by look-up (88 % of the rows can be taken); 0: none."""
    start_from: Path | None = None
    """A bundle of the same shape whose embeddings, layers and head are taken over; its n-grams are not."""
    message_summary: bool = False
    """Whether a reply's opening gets the sum of the message's n-grams; needs rows for them."""

    def architecture(self) -> Architecture:
        """The same as the manifest says it; layers alternate local and LSH."""
        return Architecture(
            hidden_size=self.hidden_size,
            attn_layers=("local", "lsh") * (self.num_layers // 2),
            num_attention_heads=self.num_attention_heads,
            attention_head_size=self.attention_head_size,
            feed_forward_size=self.feed_forward_size,
            vocab_size=self.vocab_size,
            max_positions=self.max_positions,
            local_chunk_length=self.local_chunk_length,
            ngram_rows=self.ngram_rows,
            message_summary=self.message_summary,
        )


class CorpusConfig(Section):
    """Which dialogues the base model learns from."""

    domain_pack: str = "shop"
    uniform_data_dir: Path | None = None
    """Folder of uniform JSON lines (`*.jsonl.gz`); without it the authored pack is all there is."""
    tokenizer: Path | None = None
    """Keep the vocabulary of this `tokenizer.json`: token ids in stored feedback stay valid. None: train a new one."""
    max_rows_per_source: int = Field(6000, ge=1)
    max_window_tokens: int = Field(256, ge=32)
    num_generated_conversations: int = Field(40_000, ge=10)
    """Conversations drawn from the authored pack for supervised tuning, both languages together."""
    flow_share: float = Field(0.18, ge=0, lt=0.7)
    """Of these conversations, those on a path through an authored flow: several turns in words of their own."""
    num_generated_asks: int = Field(0, ge=0)
    """Messages drawn with their plans alone: the source `domain_asks`."""
    num_mixtures: int = Field(0, ge=0)
    """Messages mixed of pieces of asks, with the teacher's opinion of their plan: the source `domain_mixtures`."""
    num_given_plans: int = Field(0, ge=0)
    """Conversations whose last reply follows its plan and not the message: the source `domain_given_plans`."""


class PlanTeacherConfig(Section):
    """Whose opinion of unlabelled messages the network learns to share."""

    kind: Literal["linear", "encoder"] = "linear"
    """linear: a bag of n-grams. encoder: its opinion averaged with that of a pretrained sentence encoder, tuned on
    the pack's asks; needs the extra `teacher`."""
    start_from: Path | None = None
    """encoder: folder of an exported intent model that goes on learning; None: the pretrained encoder is tuned anew."""
    replay_share: float = Field(1.0, gt=0, le=1)
    """With start_from: share of the asks that it has learned which an epoch repeats; of new ones it reads all."""
    num_epochs: float = Field(2.0, ge=0)
    """0: what it starts from is exported anew, with its other heads learned from the pack as it is now."""
    num_later_messages: int = Field(0, ge=0)
    """encoder: messages that an epoch hears with the turn before them, beside the asks. 0: it hears single messages."""
    batch_tokens: int = Field(3072, ge=64)
    lr: float = Field(1.5e-4, gt=0)
    """Of the encoder; the head's is ten times as large."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Of the encoder's hidden states."""

    @model_validator(mode="after")
    def _learns_something(self) -> Self:
        if self.num_epochs == 0 and self.start_from is None:
            raise ValueError("num_epochs 0 exports what start_from names: set start_from, or train for longer")
        return self


class MessageSummaryConfig(Section):
    """Choosing n-grams and teaching their rows, before anything else, what messages are about."""

    num_epochs: int = Field(2, ge=1)
    batch_size: int = Field(256, ge=1)
    mixture_share: float = Field(0.33, ge=0, lt=1)
    """Share of the messages that are mixed ones with a teacher's opinion."""
    authored_share: float = Field(1.0, gt=0, le=1)
    """Share of the pack's asks that an epoch reads; less than all of them is for trials."""
    drawn_share: float = Field(0.3, ge=0)
    """Generated asks (after other concerns, from flows, about articles) for each authored one."""
    lr: float = Field(3e-3, gt=0)
    """Of the matrices; the n-grams' rows take steps three times as large."""
    dropout: float = Field(0.2, ge=0, lt=1)


class LanguageModelConfig(Section):
    """One stage of next-token training."""

    num_tokens: int = Field(ge=1)
    batch_tokens: int = Field(4096, ge=64)
    source_shares: dict[str, float]
    """Token share of each source; sources without data are left out and the rest scaled up."""
    source_temperature: float | None = Field(None, ge=1)
    """Weigh the shares by the sources' tokens to the power 1 / temperature: at 1 as much as there is, the higher the
    more alike. None: the shares as they stand."""
    user_token_weight: float = Field(0.3, ge=0, le=1)
    plan_token_weight: float = Field(1.0, ge=0)
    """Weight of a reply's plan against one of its words: one token decides whether dozens make sense."""
    summary_weight: float = Field(0.0, ge=0)
    """Weight of the plan's loss by the message's summary alone, which keeps the summary good; 0: no such loss."""
    muon_lr: float = Field(2e-3, gt=0)
    adamw_lr: float = Field(1e-3, gt=0)
    decay_share: float = Field(0.4, ge=0, le=1)
    """Share of the steps, at the end, over which the learning rate falls linearly to 3 %."""
    dropout: float = Field(0.0, ge=0, lt=1)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    distillation_share: float = Field(0.0, ge=0, le=1)
    """polish of a bundle: how much of a token's loss is the divergence from what that bundle says; 0: none."""
    checkpoint_every: int = Field(500, ge=1)


class PruningConfig(Section):
    """What a bundle's network is made smaller by, before it is polished."""

    drop_layers: int = Field(0, ge=0)
    """Layers, those whose absence costs least."""
    drop_heads: int = Field(0, ge=0)
    """Attention heads of every layer."""
    feed_forward_share: float = Field(1.0, gt=0, le=1)
    """Of the feed-forward units of every layer, those that stay."""
    calibration_batches: int = Field(16, ge=1)
    """Batches of `polish.batch_tokens` that importance is measured on."""


class LengtheningConfig(Section):
    """How far a bundle's network shall read, and how it learns to: `python -m training lengthen`."""

    max_positions: int = Field(16_384, ge=128)
    num_known_positions: int = Field(256, ge=128)
    """Positions that the bundle has met often enough to be copied for those that it never met; whole local chunks."""
    hashing: Hashing = Hashing(hash_beyond=4096, num_hashes=1, num_buckets=16, bucket_window=64)
    text_lengths: tuple[int, ...] = (256, 2048, 4096)
    """Tokens of the texts that are learned from, in turns; short ones so that nothing is forgotten."""
    source_shares: dict[str, float] = {}
    """Share of the texts that is made of a public source's conversations; the rest is drawn from the pack."""
    num_tokens: int = Field(800_000, ge=1)
    batch_tokens: int = Field(4096, ge=64)
    """Or one text, where that is longer."""
    user_token_weight: float = Field(0.1, ge=0, le=1)
    plan_token_weight: float = Field(2.0, ge=0)
    muon_lr: float = Field(2e-4, gt=0)
    adamw_lr: float = Field(1e-4, gt=0)
    decay_share: float = Field(0.6, ge=0, le=1)
    checkpoint_every: int = Field(20, ge=1)
    measured_lengths: tuple[int, ...] = (1024, 2048, 4096, 8192, 16_384)
    """Tokens of the held-out texts that are read exactly and hashed."""
    measured_tokens: int = Field(32_768, ge=1)
    """Of each length at least so many, in whole texts."""
    max_gap: float = Field(0.02, gt=0)
    """Nats a token of the assistant by which hashing may read worse than exact attention does, at every length."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        longest = max(self.text_lengths + self.measured_lengths, default=0)
        if not self.text_lengths or not self.measured_lengths:
            raise ValueError("text_lengths and measured_lengths need one length at least")
        if longest > self.max_positions or min(self.text_lengths + self.measured_lengths) < 64:
            raise ValueError(f"texts have 64 to max_positions ({self.max_positions}) tokens")
        if sum(self.source_shares.values()) > 1:
            raise ValueError("source_shares add up to 1 at most")
        return self
