"""What operators see: JSON log lines on stderr and Prometheus metrics. Neither ever holds a message's text.

Label values are bounded: route templates, status codes, error codes, sentiments, names of plans, rules and aliases,
and digests of loaded versions only.
"""

import logging
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from datetime import datetime
from functools import partial
from typing import TextIO

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from model_store.backends.protocol import RunReport
from model_store.errors import StoreAccessDeniedError, StoreUnavailableError
from model_store.intents.sentiment import SENTIMENTS

_LATENCY_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


def configure_logging(level: str) -> None:
    """Sends structlog's and the standard library's records to stderr, one JSON object a line."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    render: list[structlog.typing.Processor] = [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(ensure_ascii=False),
    ]
    handler = logging.StreamHandler(sys.stderr)
    # Our own lines go past the standard library, which takes twice the time of a line.
    structlog.configure(
        processors=[*shared, *render],
        logger_factory=partial(_LineLogger, handler),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
    )
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    handler.setLevel(level.upper())  # the root's level is none for libraries that set their own
    root = logging.getLogger()
    root.handlers = [handler]
    # They would log addresses and headers, which may hold secrets.
    for name in ("httpx", "httpcore", "httpx2", "httpcore2", "authlib"):
        logging.getLogger(name).setLevel(logging.WARNING)
    root.setLevel(level.upper())


class _LineLogger:
    """What structlog hands its rendered lines to: the stream of a handler, whose own lines come in between."""

    def __init__(self, handler: "logging.StreamHandler[TextIO]", *_: object) -> None:
        self._handler = handler

    def write(self, line: str) -> None:
        """Writes a line and flushes. One that cannot be written is lost, as a handler loses it: no request fails."""
        with self._handler.lock or nullcontext(), suppress(OSError, ValueError):
            self._handler.stream.write(f"{line}\n")
            self._handler.stream.flush()

    debug = info = warning = error = critical = write


class Telemetry:
    """The metrics of one service, in a registry of its own. Safe to use from any thread."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.http_requests = self._counter("http_requests", "HTTP requests by route template.", "route", "status")
        self.http_latency = self._histogram("http_request_seconds", "From request to the response's end.", "route")
        self.completions = self._counter("completions", "Completions that ended.", "finish_reason")
        self.tokens = self._counter("tokens", "Tokens read and made.", "kind")
        self.first_token_seconds = self._histogram("time_to_first_token_seconds", "From request to first token.")
        self.completion_seconds = self._histogram("completion_seconds", "From request to the completion's end.")
        self.feedback = self._counter("feedback", "Thumbs recorded.", "rating")
        self.customer_messages = self._counter("customer_messages", "Messages answered, by sentiment.", "sentiment")
        for sentiment in SENTIMENTS:
            self.customer_messages.labels(sentiment)
        for rating in ("up", "down", "withdrawn"):  # from 0 on, or Prometheus would not see the first thumb as a rise
            self.feedback.labels(rating)
        self._add_reply_counters()
        self.alias_completions = self._counter("alias_completions", "Completions, by who made them.", "alias")
        self.alias_feedback = self._counter(
            "alias_feedback", "Thumbs recorded, by who made the reply.", "alias", "rating"
        )
        self.refused_callers = self._counter("refused_callers", "Requests without a right to ask.", "code")
        self.sign_ins = self._counter("sign_ins", "Sign-ins of the staff, by how they ended.", "outcome")
        self._prefix_cache_queries = self._counter(
            "prefix_cache_queries", "Prompt tokens looked up among earlier ones."
        )
        self._prefix_cache_hits = self._counter("prefix_cache_hits", "Prompt tokens found there, not read again.")
        self._draft_tokens = self._counter("draft_tokens", "Tokens guessed ahead of the model.", "outcome")
        for outcome in ("accepted", "rejected"):
            self._draft_tokens.labels(outcome)
        self._prefix_cache_bytes = self._gauge("prefix_cache_bytes", "Memory that holds what earlier prompts left.")
        self.record_failures = self._counter("record_failures", "Writes that the record store refused.", "record")
        for record in ("completion", "feedback"):
            self.record_failures.labels(record)
        self.model_load_failures = self._counter("model_load_failures", "Model versions refused.", "code")
        self.handover_deliveries = self._counter("handover_deliveries", "Times that the desk was told.", "outcome")
        for outcome in ("delivered", "failed", "dead"):
            self.handover_deliveries.labels(outcome)
        self._add_gauges()
        self._add_model_store()
        self._aliases: Mapping[str, str] = {}
        self._last_report: RunReport | None = None

    def _add_reply_counters(self) -> None:
        """What replies set out to say, which rules had a say, and how they were liked."""
        self.replies = self._counter("replies", "Replies by what they set out to say.", "plan", "rule")
        self.safety_findings = self._counter(
            "safety_findings", "Replies that a safety rule had a say in.", "rule", "outcome", "found_by"
        )
        self.plan_feedback = self._counter("plan_feedback", "Thumbs recorded, by the reply's plan.", "plan", "rating")

    def _add_gauges(self) -> None:
        """What is the case now: load, versions, and how learning went."""
        self._running = self._gauge("requests_running", "Completions in a slot.")
        self._waiting = self._gauge("requests_waiting", "Completions waiting for a slot.")
        self._ready = self._gauge("ready", "1 while a model can answer, else 0.")
        self._engines = self._gauge("engines", "Engines of the loaded versions that take completions.")
        self._engines_missing = self._gauge("engines_missing", "Engines of these that should, and do not.")
        self._slots = self._gauge("slots", "Completions that the loaded versions can make at the same time.")
        self._models = self._gauge("model_info", "1 for each loaded model version.", "digest", "name")
        self._refused = self._gauge("model_refused_info", "1 for the version refused last.", "digest", "code")
        self._alias_models = self._gauge(
            "alias_info", "1 for the version that answers by each alias.", "alias", "digest"
        )
        self._last_run = self._gauge(
            "training_last_run_timestamp_seconds", "When the last learning run ended, by how it did.", "outcome"
        )
        self._same_runs = self._gauge(
            "training_same_outcome_runs", "Learning runs in a row that ended as the last one did.", "outcome"
        )
        self._canary_share = self._gauge("canary_share", "Share of conversations that a candidate answers now.")
        self._handovers_pending = self._gauge("handovers_pending", "Hand-overs that the desk is still to be told of.")
        self._handovers_dead = self._gauge("handovers_dead", "Hand-overs that the desk was not told of: given up.")
        self._oldest_handover = self._gauge(
            "handover_oldest_pending_seconds", "Age of the oldest hand-over that the desk is still to be told of."
        )

    def _add_model_store(self) -> None:
        """Whether versions can still arrive from where they lie."""
        self._model_store_read = self._gauge(
            "model_store_last_read_timestamp_seconds",
            "When the model store was last read; at first, the service's start.",
        )
        self._model_store_read.set_to_current_time()
        self._model_store_failures = self._counter(
            "model_store_failures", "Looks at the model store that failed.", "code"
        )
        for code in (StoreUnavailableError.code, StoreAccessDeniedError.code):
            self._model_store_failures.labels(code)
        self._store_certificate = self._gauge(
            "store_certificate_expiry_timestamp_seconds", "When the model store's certificate runs out.", "server"
        )

    def watch_load(
        self,
        *,
        is_ready: Callable[[], bool],
        num_slots: Callable[[], int],
        num_running: Callable[[], int],
        num_waiting: Callable[[], int],
        prefix_cache_bytes: Callable[[], int],
    ) -> None:
        """Lets the load gauges ask these functions at every scrape."""
        self._ready.set_function(is_ready)
        self._slots.set_function(num_slots)
        self._running.set_function(num_running)
        self._waiting.set_function(num_waiting)
        self._prefix_cache_bytes.set_function(prefix_cache_bytes)

    def watch_engines(self, num_running: Callable[[], int], num_missing: Callable[[], int]) -> None:
        """Lets the engines' gauges ask these functions at every scrape."""
        self._engines.set_function(num_running)
        self._engines_missing.set_function(num_missing)

    def prompt_read(self, num_tokens: int, num_reused: int) -> None:
        """Counts a prompt that was read to its end, and what of it an earlier prompt had begun with."""
        self._prefix_cache_queries.inc(num_tokens)
        self._prefix_cache_hits.inc(num_reused)

    def drafted(self, num_drafted: int, num_accepted: int) -> None:
        """Counts tokens that were guessed ahead, and those of them that the model said indeed."""
        self._draft_tokens.labels("accepted").inc(num_accepted)
        self._draft_tokens.labels("rejected").inc(num_drafted - num_accepted)

    def release_changed(self, aliases: Mapping[str, str], canary_share: float) -> None:
        """Notes which alias each digest answers for, and the candidate's share of conversations; 0: no canary."""
        self._aliases = aliases
        self._canary_share.set(canary_share)
        self._alias_models.clear()
        for digest, alias in aliases.items():
            self._alias_models.labels(alias, digest).set(1)

    def training_ended(self, report: RunReport) -> None:
        """Shows how the last learning run ended, in place of the one before; may be told again and again."""
        if report == self._last_report:  # clearing would leave a moment in which a scrape finds nothing
            return
        self._last_report = report
        for gauge, value in (
            (self._last_run, report.finished_at.timestamp()),
            (self._same_runs, report.num_in_a_row),
        ):
            gauge.clear()
            gauge.labels(report.outcome.value).set(value)

    def store_certificate_read(self, server: str, expires: datetime) -> None:
        """Shows until when the certificate of the model store's server is good."""
        self._store_certificate.labels(server).set(expires.timestamp())

    def model_store_read(self) -> None:
        """Notes that the aliases were read, and every version that they name is here or was refused."""
        self._model_store_read.set_to_current_time()

    def model_store_failed(self, code: str) -> None:
        """Counts a look at the model store that did not bring what it should; the service goes on with what it has."""
        self._model_store_failures.labels(code).inc()

    def handovers_counted(self, num_pending: int, oldest_created_at: datetime | None, num_dead: int) -> None:
        """Shows what the desk has not been told, by all replicas together; the oldest ages by itself."""
        self._handovers_pending.set(num_pending)
        self._handovers_dead.set(num_dead)
        since = oldest_created_at.timestamp() if oldest_created_at else None
        self._oldest_handover.set_function(lambda: max(0.0, time.time() - since) if since else 0.0)

    def alias_of(self, digest: str) -> str:
        """The alias that a version answers for now; `other` for one that has gone."""
        return self._aliases.get(digest, "other")

    def model_loaded(self, digest: str, name: str) -> None:
        """Shows a version as loaded; the mark of a refused one goes, since the alias has moved on."""
        self._models.labels(digest, name).set(1)
        self._refused.clear()

    def model_closed(self, digest: str, name: str) -> None:
        """Takes a version's series away."""
        self._models.remove(digest, name)

    def model_refused(self, digest: str, code: str) -> None:
        """Counts a refused version and shows it, in place of any earlier one."""
        self.model_load_failures.labels(code).inc()
        self._refused.clear()
        self._refused.labels(digest, code).set(1)

    def render(self) -> bytes:
        """All metrics in Prometheus' text format, UTF-8."""
        return generate_latest(self.registry)

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(name, documentation, labels, namespace="rejoinder", registry=self.registry)

    def _gauge(self, name: str, documentation: str, *labels: str) -> Gauge:
        return Gauge(name, documentation, labels, namespace="rejoinder", registry=self.registry)

    def _histogram(self, name: str, documentation: str, *labels: str) -> Histogram:
        return Histogram(
            name, documentation, labels, namespace="rejoinder", registry=self.registry, buckets=_LATENCY_BUCKETS
        )
