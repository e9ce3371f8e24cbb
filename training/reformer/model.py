"""The policy network: a Reformer language model with Hugging Face's weights and a plain-autograd encoder.

`ReformerModelWithLMHead` loads our checkpoints and we load its; known n-grams, where there are any, are ours alone. The
reversible encoder stays as a switch for deep or long models, where it saves memory; at our size it only costs a second
forward pass and reproducible randomness.
Sampling lives in `decoder`, the reward head in `heads`.
"""

from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import ReformerConfig, ReformerModelWithLMHead
from transformers.modeling_outputs import CausalLMOutput
from transformers.models.reformer import modeling_reformer as stock

from model_store.contract.manifest import Architecture
from model_store.intents.listener import Listener
from model_store.phrases import PhraseBook
from training.errors import OutdatedCheckpointError, UnfitCheckpointError
from training.reformer.attention import ExactLocalSelfAttention, ExactLSHSelfAttention
from training.reformer.config import reformer_config
from training.reformer.dropout import dropout
from training.reformer.message_summary import MessageSummary
from training.reformer.ngrams import CONTEXT, KnownNgrams

EncoderKind = Literal["plain", "reversible"]
_HASHED_TABLES = "ngrams.tables.weight"
_LEARNED_BEFORE = ("ngrams.", "summary.")


class PlainEncoder(stock.ReformerEncoder):  # type: ignore[misc]
    """The reversible encoder's function without its custom backward: x1 += attention(x2); x2 += feed_forward(x1).

    Dropout is on what the sublayers add, and nowhere else.
    """

    def forward(self, hidden_states: Tensor, **stock_arguments: Any) -> stock.ReformerEncoderOutput:
        """hidden_states [B, S, H] → normalised, concatenated streams [B, S, 2H]."""
        num_hashes = stock_arguments.get("num_hashes")
        x1 = x2 = hidden_states
        for layer in self.layers:
            attended = layer.attention(hidden_states=x2, num_hashes=num_hashes).hidden_states
            x1 = x1 + dropout(attended, self.dropout, training=self.training)
            x2 = x2 + dropout(layer.feed_forward(x1), self.dropout, training=self.training)
        normalised = self.layer_norm(torch.cat([x1, x2], dim=-1))
        return stock.ReformerEncoderOutput(
            hidden_states=normalised, all_hidden_states=[], all_attentions=[], past_buckets_states=None
        )


class ReformerPolicy(ReformerModelWithLMHead):  # type: ignore[misc]
    """A causal language model over token ids; right padding, any length up to the positions there are."""

    def __init__(self, config: ReformerConfig) -> None:
        super().__init__(config)
        num_rows = int(getattr(config, "ngram_rows", 0))
        self.ngrams = KnownNgrams(num_rows, config.hidden_size, config.hidden_dropout_prob) if num_rows else None
        has_summary = bool(getattr(config, "message_summary", False))
        self.summary = MessageSummary(config.hidden_size, config.hidden_dropout_prob) if has_summary else None
        self.reformer.encoder = PlainEncoder(config)
        for index, layer in enumerate(self.reformer.encoder.layers):
            is_local = config.attn_layers[index] == "local"
            attention = ExactLocalSelfAttention if is_local else ExactLSHSelfAttention
            layer.attention.self_attention = attention(config, index)
        _silence_stock_dropout(self.reformer)
        self.phrases: PhraseBook | None = None
        """What wordings are kept to when replies are drawn, as in the service; None in training."""
        self.listener: Listener | None = None
        """Who has an opinion of openings when replies are drawn, as in the service; no weight, and None in training."""
        self.post_init()
        self.leave_untrained()

    def leave_untrained(self) -> None:
        """What is learned before the layers, and a bias that the stock head never adds: its gradient breaks DDP."""
        self.lm_head.bias.requires_grad_(False)
        for part in (self.ngrams, self.summary):
            if part is not None:
                part.requires_grad_(False)

    def use_encoder(self, kind: EncoderKind) -> None:
        """Swaps the encoder's way of running; the weights stay."""
        encoder_class = PlainEncoder if kind == "plain" else stock.ReformerEncoder
        encoder = encoder_class(self.config)
        encoder.load_state_dict(self.reformer.encoder.state_dict())
        encoder.layers = self.reformer.encoder.layers
        self.reformer.encoder = encoder

    def hash_beyond_chunk(self, allowed: bool) -> None:
        """Lets LSH layers hash sequences longer than their chunk; off by default because hashing leaks the future."""
        for layer in self.reformer.encoder.layers:
            if isinstance(layer.attention.self_attention, ExactLSHSelfAttention):
                layer.attention.self_attention.hash_beyond_chunk = allowed

    def hash_beyond(self, num_tokens: int) -> None:
        """Lets LSH layers hash what is longer than this, in place of what the architecture says; for training."""
        for layer in self.reformer.encoder.layers:
            attention = layer.attention.self_attention
            if isinstance(attention, ExactLSHSelfAttention) and attention.hashing is not None:
                attention.hashing = attention.hashing.model_copy(update={"hash_beyond": num_tokens})

    def read_exactly(self, exactly: bool) -> None:
        """Lets LSH layers read long texts without hashing, whatever the architecture says; off by default."""
        for layer in self.reformer.encoder.layers:
            if isinstance(layer.attention.self_attention, ExactLSHSelfAttention):
                layer.attention.self_attention.reads_exactly = exactly

    def embed(self, token_ids: Tensor, positions: Tensor | None = None, previous_ids: Tensor | None = None) -> Tensor:
        """[B, S, H] of token ids [B, S] at `positions` [B, S], from 0 on by default, after `previous_ids` [B, P].

        P is two or more: what n-grams and, where a reply opens, the message before it reach back to; 0 where the text
        has not begun.
        """
        embedded: Tensor = self.reformer.embeddings(input_ids=token_ids, position_ids=positions)
        if self.ngrams is None:
            return embedded
        context = token_ids.new_zeros(len(token_ids), CONTEXT) if previous_ids is None else previous_ids
        text = torch.cat([context[:, CONTEXT:], token_ids], dim=1)
        ngrams = self.ngrams(text, context[:, :CONTEXT])
        length = token_ids.shape[1]
        embedded = embedded + ngrams[:, -length:]
        return embedded if self.summary is None else embedded + self._summarize(text, ngrams)[:, -length:]

    def _summarize(self, text: Tensor, ngrams: Tensor) -> Tensor:
        assert self.summary is not None
        summary: Tensor = self.summary(ngrams, text)
        return summary

    def summary_logits(self, token_ids: Tensor, rows: Tensor, openings: Tensor) -> Tensor:
        """Logits [M, V] of what follows positions `openings` [M] of rows `rows` [M], by the message's summary alone.

        token_ids are [B, S].
        """
        return self.token_logits(self.summary_states(token_ids, rows, openings))

    def summary_states(self, token_ids: Tensor, rows: Tensor, openings: Tensor) -> Tensor:
        """States [M, 2H] where the layers' output would be: of a network all of whose layers are silent.

        Needs a network with a message summary.
        """
        assert self.ngrams is not None
        summary = self._summarize(token_ids, self.ngrams(token_ids))[rows, openings]
        states: Tensor = self.reformer.encoder.layer_norm(torch.cat([summary, summary], dim=-1))
        return states

    def encode(self, token_ids: Tensor, positions: Tensor | None = None) -> Tensor:
        """Hidden states [B, S, 2H] of token ids [B, S] at `positions` [B, S], from 0 on by default."""
        embedded = self.embed(token_ids, positions)
        hidden: Tensor = self.reformer.encoder(hidden_states=embedded).hidden_states
        return hidden

    def token_logits(self, hidden_states: Tensor) -> Tensor:
        """Logits [..., V] of hidden states [..., 2H]; the caller picks the positions that matter."""
        return F.linear(hidden_states, self.lm_head.decoder.weight)

    def forward(self, input_ids: Tensor, labels: Tensor | None = None, **_: Any) -> CausalLMOutput:
        """Hugging Face's calling convention, for PEFT and for comparison; the stages call `encode`."""
        logits = self.token_logits(self.encode(input_ids))
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=-100)
        return CausalLMOutput(loss=loss, logits=logits)


def _silence_stock_dropout(reformer: nn.Module) -> None:
    """The stock parts drop out with torch's slow randomness, in more places than we need; `PlainEncoder` does it."""
    for module in reformer.modules():
        if not isinstance(module, PlainEncoder) and hasattr(module, "dropout"):
            setattr(module, "dropout", 0.0)  # noqa: B010 - the stock class's plain number, not a submodule


def new_policy(architecture: Architecture, *, seed: int, dropout: float = 0.0) -> ReformerPolicy:
    """A freshly initialised policy; the same seed gives the same weights."""
    torch.manual_seed(seed)
    policy = ReformerPolicy(reformer_config(architecture, dropout=dropout))
    std = 0.02 * (256 / architecture.hidden_size) ** 0.5
    for name, parameter in policy.named_parameters():
        if parameter.ndim == 2 and "encoder.layers" in name:
            nn.init.normal_(parameter, std=std)
    if policy.ngrams is not None:
        policy.ngrams.reset_parameters()
    if policy.summary is not None:
        policy.summary.reset_parameters()
    return policy


def load_policy(directory: Path, *, dropout: float = 0.0) -> ReformerPolicy:
    """Reads a checkpoint directory (`config.json`, `model.safetensors`) in fp32.

    Raises OSError when there is none, OutdatedCheckpointError when its network is no longer made.
    """
    weights = directory / "model.safetensors"
    if weights.is_file():
        with safe_open(weights, framework="pt") as file:
            if _HASHED_TABLES in file.keys():
                raise OutdatedCheckpointError(path=directory)
    policy: ReformerPolicy = ReformerPolicy.from_pretrained(
        directory, dtype=torch.float32, hidden_dropout_prob=float(dropout)
    )
    policy.leave_untrained()
    return policy


def take_over(policy: ReformerPolicy, directory: Path) -> None:
    """Gives `policy` the weights of a checkpoint but for what it knows of n-grams.

    Raises UnfitCheckpointError when there is no checkpoint, or it lacks a weight or has one of another shape.
    """
    path = directory / "model.safetensors"
    if not path.is_file():
        raise UnfitCheckpointError(path=directory, problem="there is no model.safetensors")
    found = load_file(path)
    weights = policy.state_dict()
    wanted = [name for name in weights if not name.startswith(_LEARNED_BEFORE)]
    unfit = [name for name in wanted if name not in found or found[name].shape != weights[name].shape]
    if unfit:
        raise UnfitCheckpointError(path=directory, problem=f"it lacks {', '.join(unfit[:3])} in this shape")
    policy.load_state_dict({name: found[name].float() for name in wanted}, strict=False)


def save_policy(policy: ReformerPolicy, directory: Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Writes a checkpoint that the stock class loads as well; `dtype` is what is stored."""
    weights = {
        name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in policy.state_dict().items()
    }
    policy.config.architectures = ["ReformerModelWithLMHead"]
    policy.save_pretrained(directory, state_dict=weights, safe_serialization=True)
