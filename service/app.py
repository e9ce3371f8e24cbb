"""The composition root: settings in, application out. Nothing is opened before the application starts.

Everything that lives as long as the service is made in `_lifespan` and handed to the routes as the request's state.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import structlog
from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles

from model_store.backends.places import open_backend
from model_store.bundle import Bundle
from model_store.contract.entities import EntityMasker
from model_store.contract.facts import FactSheet
from model_store.contract.manifest import MANIFEST_NAME
from model_store.contract.safety.rules_file import load_safety_rules
from model_store.digest import short
from model_store.errors import StoreError, StoreUnavailableError, UnsafeStoreError
from model_store.intents.intent_model import DEFAULT_DIRECTORY as INTENT_MODEL
from model_store.intents.intent_model import IntentModel
from model_store.signing import TrustedKeys
from model_store.store import DEFAULT_BUNDLE, ModelStore, seed
from model_store.trust import Trust
from service.access.access_control import open_access, operator_keys
from service.api import completions, feedback, health, models
from service.api.access import sign_in, widget_tokens
from service.api.access.middleware import AccessMiddleware
from service.api.errors import install_error_handlers
from service.api.keeping import conversations
from service.api.middleware import ReceiveLimitMiddleware, RequestContextMiddleware
from service.api.oversight import comparisons, insights, versions
from service.api.review import console, explanations, pairs
from service.chat.chatbot import Chatbot, ChatLimits, Guidance
from service.chat.comparison.comparison import open_comparison
from service.chat.comparison.version_lender import NUM_SLOTS as NUM_LENT_SLOTS
from service.chat.conversations.archive import Archive
from service.chat.conversations.reception import Reception
from service.chat.conversations.retention import keep_purging
from service.chat.handovers.courier import make_courier
from service.chat.knowledge.help_articles import HelpArticles
from service.chat.masking import ConversationMasker, load_entity_patterns
from service.chat.model_router import EngineOpener, EnginePlanner, ModelRouter
from service.chat.oversight.oversight import open_oversight
from service.chat.oversight.store_certificate import watch_certificate
from service.chat.plan_rules import DEFAULT_PLAN_RULES_FILE, PlanRules
from service.chat.recording import Recorder
from service.chat.review.review_desk import open_review
from service.engine.cpu_limit import cpu_quota, num_affordable_engines
from service.engine.running.engine_process import EngineProcess
from service.engine.running.engine_thread import EngineStarter
from service.engine.running.messages import EngineSpec
from service.engine.running.opening import open_engine as try_engine
from service.engine.types import EngineOptions
from service.records.copies.tombstones import ErasureLog, open_records
from service.records.feedback_tokens import FeedbackTokenSigner
from service.records.sql_store import SqlRecordStore
from service.settings import Settings, load_feedback_secret
from service.telemetry import Telemetry

DEFAULT_FACTS_FILE = Path(__file__).with_name("facts.yaml")
DEFAULT_KNOWLEDGE_DIRECTORY = Path(__file__).with_name("knowledge")
IntentLoader = Callable[[Path], IntentModel]
_NUM_REMEMBERED = 1_000
"""Messages; see `IntentModel.load`."""
_MEBIBYTE = 2**20
_WEB_DIRECTORY = Path(__file__).with_name("web")
_PAGES = {
    "/": "index.html",
    "/review": "staff/review.html",
    "/review/pairs": "staff/pairs.html",
    "/models": "staff/models.html",
    "/insights": "staff/insights.html",
    "/review/ratings": "staff/ratings.html",
}
_PAGE_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
        "trusted-types 'none'"
    ),
    "cache-control": "no-cache",
}
# A shop's page on another origin imports the widget's modules; they are public and the same for everybody.
_WIDGET_HEADERS = {"access-control-allow-origin": "*", "cross-origin-resource-policy": "cross-origin"}

_log = structlog.get_logger(__name__)


_API = (
    completions,
    conversations,
    feedback,
    widget_tokens,
    sign_in,
    models,
    versions,
    insights,
    comparisons,
    console,
    explanations,
    pairs,
    health,
)


def load_intent_model(directory: Path) -> IntentModel:
    """One that remembers greetings, suggested questions and what is asked again. Raises IntentModelUnusableError."""
    return IntentModel.load(directory, num_remembered=_NUM_REMEMBERED)


def create_app(
    settings: Settings, *, open_engine: EngineOpener | None = None, load_intents: IntentLoader = load_intent_model
) -> FastAPI:
    """The application; its lifespan opens and closes everything.

    `open_engine` replaces the real engine in tests; `load_intents` lets many services of one process share a model.
    """
    operator_keys(settings)  # what cannot be used is named here, not when the service is half open
    telemetry = Telemetry()
    app = FastAPI(
        title="Rejoinder",
        lifespan=_lifespan(
            settings,
            telemetry,
            _openers(settings, open_engine, load_intents),
        ),
        docs_url=None,
        redoc_url=None,
    )
    install_error_handlers(app)
    for module in _API:
        app.include_router(module.router)
    if _WEB_DIRECTORY.is_dir():
        for path, file in _PAGES.items():
            app.add_api_route(path, _page(file), include_in_schema=False)
        app.mount("/web", GZipMiddleware(_PageFiles(directory=_WEB_DIRECTORY)), name="web")
    # The last one added is the outermost.
    app.add_middleware(completions.DirectCompletions)
    app.add_middleware(
        ReceiveLimitMiddleware, max_bytes=settings.max_body_bytes, timeout_seconds=settings.receive_timeout_seconds
    )
    app.add_middleware(AccessMiddleware, telemetry=telemetry)
    app.add_middleware(RequestContextMiddleware, telemetry=telemetry)
    return app


def engine_opener(settings: Settings) -> EngineOpener:
    """Opens the real engine, and lets no version near people that does not reproduce its golden run."""
    return partial(try_engine, options=_engine_options(settings))


def further_engines(settings: Settings) -> EnginePlanner:
    """Plans as many processes beside the first engine as the settings, or else the container's CPU limit, ask for."""
    number = settings.num_engines or num_affordable_engines(cpu_quota(), settings.num_threads)
    options = _engine_options(settings)

    def plan(bundle: Bundle) -> list[EngineStarter]:
        _log.info("engines_planned", number=number)
        spec = EngineSpec(bundle.directory.absolute(), bundle.digest, options)
        return [partial(EngineProcess, spec)] * (number - 1)

    return plan


def _engine_options(settings: Settings) -> EngineOptions:
    return EngineOptions(
        num_slots=settings.num_slots,
        num_threads=settings.num_threads,
        prefix_cache_bytes=settings.prefix_cache_mib * _MEBIBYTE,
        max_draft_tokens=settings.max_draft_tokens,
        knows_phrases=settings.keep_to_phrases,
    )


def load_masker(settings: Settings, facts: FactSheet) -> ConversationMasker:
    """The masker with the operator's facts and patterns. Raises InvalidDataFileError."""
    if facts.missing:
        _log.warning("facts_missing", names=facts.missing)
    patterns = load_entity_patterns(settings.entity_patterns_file) if settings.entity_patterns_file else ()
    return ConversationMasker(facts, EntityMasker(patterns))


def load_guidance(settings: Settings, facts: FactSheet, load_intents: IntentLoader) -> Guidance:
    """The shop's rules and help articles; embedding many takes some ten seconds.

    The sample articles speak for the sample shop: a shop with facts of its own has no articles until it names some.
    Raises InvalidDataFileError, InvalidSafetyRulesError.
    """
    folder = settings.knowledge_dir or (DEFAULT_KNOWLEDGE_DIRECTORY if settings.facts_file is None else None)
    plans = PlanRules.load(
        settings.plan_rules_file or DEFAULT_PLAN_RULES_FILE, min_confidence=settings.min_plan_confidence
    )
    intents = _load_intents(settings, load_intents)
    articles = HelpArticles.load(folder, facts, intents) if folder else HelpArticles()
    found_by = "words and meaning" if articles.is_by_meaning else "words"
    _log.info("knowledge_loaded", folder=str(folder), num_passages=articles.num_passages, found_by=found_by)
    return Guidance(load_safety_rules(settings.safety_rules_file), plans, articles, intents, settings.intent_weight)


def _load_intents(settings: Settings, load: IntentLoader) -> IntentModel | None:
    """Raises IntentModelUnusableError."""
    if settings.intent_weight == 0:
        return None
    intents = load(settings.intent_model_dir or INTENT_MODEL)
    _log.info("intent_model_loaded", digest=short(intents.digest), num_intents=len(intents.intents))
    return intents


def lent_engine_opener(settings: Settings) -> EngineOpener:
    """`engine_opener` for a version that serves nobody and is only asked: one slot, nothing kept of earlier prompts."""
    return engine_opener(
        settings.model_copy(update={"num_slots": NUM_LENT_SLOTS, "prefix_cache_mib": 0, "max_draft_tokens": 0})
    )


class _Openers(NamedTuple):
    """How models are opened: the real ones, or what a test lends."""

    engine: EngineOpener
    lent_engine: EngineOpener
    further: EnginePlanner
    intents: IntentLoader


def _openers(settings: Settings, lent: EngineOpener | None, load_intents: IntentLoader) -> _Openers:
    if lent is not None:
        return _Openers(lent, lent, lambda bundle: (), load_intents)
    return _Openers(engine_opener(settings), lent_engine_opener(settings), further_engines(settings), load_intents)


def _lifespan(
    settings: Settings, telemetry: Telemetry, openers: _Openers
) -> Callable[[FastAPI], AbstractAsyncContextManager[dict[str, Any]]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        masker, guidance = await _load_shop(settings, openers.intents)
        store = await asyncio.to_thread(_open_store, settings)
        secret = load_feedback_secret(settings)
        records = await asyncio.to_thread(open_records, settings.records_url, settings.data_dir, settings.erasures_path)
        courier = make_courier(settings, records.handovers, telemetry)
        recorder = Recorder(records, _token_signer(settings, secret), masker, telemetry, courier)
        model_router = _route(settings, store, openers, telemetry)
        limits = _chat_limits(settings, secret)
        chatbot = Chatbot(model_router, masker, guidance, recorder, limits)
        made = {"settings": settings, "telemetry": telemetry, "recorder": recorder, "chatbot": chatbot}
        archive = Archive(records, ErasureLog(settings.erasures_path), lambda: store.versions(verify_contents=False))
        await model_router.poll()
        follow, purge = model_router.follow(settings.poll_seconds), keep_purging(records, settings.retention_days)
        watch = watch_certificate(settings.model_store_location, telemetry)
        try:
            async with (
                _in_background(follow, purge, watch, *([courier.run()] if courier else [])),
                open_access(settings, secret, records) as access,
                open_oversight(settings, store, records, masker) as oversight,
                open_review(settings, records, recorder) as review_desk,
                open_comparison(settings, chatbot, (store, model_router), records, openers.lent_engine) as comparison,
            ):
                yield {
                    **made,
                    "access": access,
                    "archive": archive,
                    "comparison": comparison,
                    "reception": Reception(chatbot, archive, records, recorder, limits),
                    "model_router": model_router,
                    "oversight": oversight,
                    "review_desk": review_desk,
                }
        finally:
            await _close(chatbot, model_router, recorder, records)

    return lifespan


def _route(settings: Settings, store: ModelStore, openers: _Openers, telemetry: Telemetry) -> ModelRouter:
    return ModelRouter(
        store, openers.engine, settings.num_slots, settings.canary_share, telemetry, plan_further=openers.further
    )


async def _load_shop(settings: Settings, load_intents: IntentLoader) -> tuple[ConversationMasker, Guidance]:
    """What the operator has told the service about the shop."""
    facts = FactSheet.load(settings.facts_file or DEFAULT_FACTS_FILE)
    return load_masker(settings, facts), await asyncio.to_thread(load_guidance, settings, facts, load_intents)


async def _close(chatbot: Chatbot, model_router: ModelRouter, recorder: Recorder, records: SqlRecordStore) -> None:
    """In this order: what is still being said is recorded before the records close."""
    await chatbot.drain(grace_seconds=0)
    await model_router.close()
    await asyncio.to_thread(recorder.close)
    await asyncio.to_thread(records.close)


@asynccontextmanager
async def _in_background(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs coroutines beside the block and cancels them at its end."""
    tasks = [asyncio.create_task(coroutine) for coroutine in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()


def _chat_limits(settings: Settings, secret: str) -> ChatLimits:
    return ChatLimits(
        max_completion_tokens=settings.max_completion_tokens,
        max_wait_seconds=settings.max_wait_seconds,
        rater_secret=secret,
    )


def _token_signer(settings: Settings, secret: str) -> FeedbackTokenSigner:
    return FeedbackTokenSigner([secret], settings.feedback_token_max_age_seconds)


def _open_store(settings: Settings) -> ModelStore:
    """The model store, with the bundle that ships put into it when it is empty; makes the data directory.

    Raises UnsafeStoreError where two publishers could both win.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    store = ModelStore(open_backend(settings.model_store_location, settings.model_cache_path), trust=_trust(settings))
    bundle_directory = settings.default_bundle or DEFAULT_BUNDLE
    try:
        store.check()
        if (bundle_directory / MANIFEST_NAME).exists():
            seed(store, bundle_directory)
    except UnsafeStoreError:
        raise
    except StoreUnavailableError as error:  # what was taken up last can still serve
        _log.error("model_store_unavailable", code=error.code, problem=str(error))
    except StoreError as error:  # a version that is already in the store can still serve
        _log.error("default_bundle_refused", code=error.code, problem=str(error))
    return store


def _trust(settings: Settings) -> Trust | None:
    """Whose versions are taken; None, said in the log, where the operator names no keys."""
    if not settings.trusted_model_keys:
        _log.warning("model_signatures_not_checked", remedy="set SERVICE_TRUSTED_MODEL_KEYS")
        return None
    keys = TrustedKeys.parse(settings.trusted_model_keys)
    _log.info("model_signatures_checked", keys=sorted(keys.keys))
    return Trust(keys, settings.data_dir / "trusted_versions.json")


def _page(file: str) -> Callable[[], Coroutine[Any, Any, FileResponse]]:
    async def page() -> FileResponse:
        return FileResponse(_WEB_DIRECTORY / file, headers=_PAGE_HEADERS)

    return page


class _PageFiles(StaticFiles):
    """Static files under the page's content security policy, for pages of any origin."""

    def file_response(self, *arguments: Any, **options: Any) -> Any:
        response = super().file_response(*arguments, **options)
        response.headers.update({**_PAGE_HEADERS, **_WIDGET_HEADERS})
        return response
