"""The feedback record: what a person said about a completion, and how training reads it.

The service's database offers the view `training_examples`; its columns below are the contract. Training reads that view
with SQLAlchemy Core, or the same rows as JSON lines. Token ids and log-probabilities travel as JSON text.
"""

from typing import Literal

Rating = Literal["up", "down"]

MAX_REASONS = 8
MAX_COMMENT_CHARS = 2000
MAX_CORRECTION_CHARS = 4000
REASON_PATTERN = r"^[a-z][a-z0-9_]{0,39}$"
"""Reasons are short slugs such as `mechanical`, `wrong_intent` or `too_long`; pages offer a list, the API takes any."""

STAFF_RATER_PREFIX = "staff_"
"""Begins the rater id of a member of the shop's staff; no customer's id begins so."""

TRAINING_EXAMPLES_VIEW = "training_examples"
TRAINING_EXAMPLES_COLUMNS = (
    "completion_id",
    "conversation_id",
    "created_at",  # ISO 8601, UTC
    "model_digest",
    "language",  # "en" | "zh"
    "prompt_messages",  # JSON: [{"role", "content"}], masked
    "completion_text",  # masked
    "completion_token_ids",  # JSON: [int], what was sampled
    "token_logprobs",  # JSON: [float], natural log, under the sampler's distribution
    "sampling",  # JSON: temperature, top_p, top_k, repetition_penalty, seed, banned ids are implied by the prompt
    "finish_reason",
    "rater",  # opaque id; "anonymous" where nobody is named, "staff_…" for the shop's staff
    "rating",  # "up" | "down"
    "reasons",  # JSON: [str]
    "comment",  # masked, or null
    "correction",  # masked, or null
    "rated_at",  # ISO 8601, UTC
    "tenant",  # conversation ids are a tenant's own
    "origin",  # the web page or the API key that the rating came through; "" where nobody noted it
    "gold",  # "up" | "down": what the staff calls the truth about this completion, or null
    "ruling",  # "count" | "set_aside": what the staff decided about this rating or its rater, or null
)
"""One row a (completion, rater) with a standing rating; withdrawn ratings and half completions are not in the view."""

Ruling = Literal["count", "set_aside"]
"""What a person decided about a rating: that it counts whatever looks odd about it, or that it does not."""

CONVERSATION_TURNS_VIEW = "conversation_turns"
CONVERSATION_TURNS_COLUMNS = (
    "completion_id",
    "tenant",
    "conversation_id",
    "created_at",  # ISO 8601, UTC
    "language",
    "prompt_messages",  # JSON, as above
    "completion_text",  # masked
    "completion_token_ids",  # JSON, as above
    "sampling",  # JSON, as above
    "finish_reason",
    "rater",  # whom the reply was given to
)
"""One row a finished completion, rated or not: what people did after a reply says something about it too."""

SERVED_COMPLETIONS_VIEW = "served_completions"
SERVED_COMPLETIONS_COLUMNS = (
    "completion_id",
    "tenant",  # conversation ids are a tenant's own
    "conversation_id",
    "created_at",  # ISO 8601, UTC
    "model_digest",
    "completion_text",  # masked
    "sampling",  # JSON, as above; "rule" without "plan" names a reply that no model had a part in
    "latency_ms",  # number: from request to the completion's end
    "rater",  # null, as the next two, for a completion without a standing rating
    "rating",
    "rated_at",
)
"""One row a finished completion, and one more for each further rater: what a candidate is judged by."""

Choice = Literal["first", "second", "tie", "skip"]
"""Of two replies as they were shown: one is better, both are as good, or somebody would not say."""

PREFERENCE_EXAMPLES_VIEW = "preference_examples"
PREFERENCE_EXAMPLES_COLUMNS = (
    "pair_id",
    "completion_id",  # whose prompt two versions have answered anew
    "conversation_id",
    "created_at",  # of that completion; ISO 8601, UTC
    "language",  # "en" | "zh"
    "prompt_messages",  # JSON: [{"role", "content"}], masked
    "chosen_digest",  # the version whose reply was preferred
    "chosen_text",  # masked
    "chosen_token_ids",  # JSON: [int]; empty for a reply that a rule gave
    "rejected_digest",
    "rejected_text",
    "rejected_token_ids",
    "rater",  # "staff_…"
    "chosen_at",  # ISO 8601, UTC
)
"""One row a pair in which one reply was preferred; ties, and what was skipped, are not in the view."""
