"""The authored domain pack: reading it, checking it, and what it holds. Generating conversations: `generator`.

A pack is data (`domain/README.md` says its format); another domain is another folder. Held-out asks are read here but
handed out only by `held_out_prompts`, which training never calls.
"""

import gc
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import yaml

from model_store.contract.control_tokens import NUM_PLANS
from model_store.contract.conversation import Message, Role
from model_store.contract.facts import LANGUAGES
from model_store.contract.placeholders import ALL_PLACEHOLDERS, ARTICLE, entity_type_of, split_masked
from model_store.knowledge.offer import HELP_PLAN
from training.data.fitting.answers import parse_answers
from training.data.fitting.fitting_replies import FittingReplies, parse_fitting
from training.data.flows.flow import Flow, problems
from training.data.flows.reading import parse_flow
from training.data.knowledge.articles import HelpArticle, article_problems, parse_article
from training.errors import DataNotFoundError, InvalidDomainPackError

PACKS_DIRECTORY = Path(__file__).parent / "domain"
TONES = ("warm", "brief", "formal")
BAD_REASONS = frozenset({"mechanical", "wrong_intent", "blaming", "promising", "flattering", "too_long"})
_BESIDE = ("asks", "development_asks", "later_replies", "fitting", "answers", "follow_ups", "held_out_follow_ups")
"""Folders with more of a file's intents."""
_ARTICLES, _HELD_OUT_ARTICLES = "articles/articles.yaml", "articles/held_out.yaml"
_DEVELOPMENT_ARTICLES = "articles/development.yaml"
_HELP_REPLIES = "articles/replies.yaml"
_YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # eighty thousand asks: the C one is ten times faster
_SLOT = re.compile(r"\{([a-z_0-9]+)\}")
_NO_WORD = re.compile(r"[\W_]+")
_PLACEHOLDER_SHAPE = re.compile(r"<\w+>")


@dataclass(frozen=True)
class Intent:
    """One intent in one language."""

    name: str
    language: str
    topic: str
    asks: tuple[str, ...]
    held_out_asks: tuple[str, ...]
    development_asks: tuple[str, ...]
    """Not trained on either: settings are chosen by these, so that held-out asks stay unseen."""
    replies_by_tone: Mapping[str, tuple[str, ...]]
    replies_given: Mapping[str, tuple[str, ...]]
    replies_missing: Mapping[str, tuple[str, ...]]
    bad_replies: tuple[tuple[str, str], ...]
    """(text, reason)"""
    later_replies: tuple[str, ...] = ()
    """What is said to a customer who goes on about it after one of the others; no one is taught them as an answer."""
    fitting: FittingReplies = FittingReplies()
    follow_ups: tuple[str, ...] = ()
    """What customers say next about it, in words that by themselves may point to another intent."""
    held_out_follow_ups: tuple[str, ...] = ()
    """More of the same, for evaluation only."""

    @property
    def replies(self) -> tuple[str, ...]:
        """Every good reply, whatever the customer gave."""
        groups = (*self.replies_by_tone.values(), *self.replies_given.values(), *self.replies_missing.values())
        return tuple(reply for group in groups for reply in group)

    @property
    def every_reply(self) -> tuple[str, ...]:
        """All that is ever said about it: to everybody, later on, and to those who ask for something in particular."""
        return (*self.replies, *self.later_replies, *(each.text for each in self.fitting.said))


@dataclass(frozen=True)
class Phrases:
    """What customers and operators say around the asks, where the pack words it (`phrases.yaml`)."""

    system_messages: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By language."""
    tone_messages: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    """How an operator asks for a tone, by tone and language."""
    given_along: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    """Endings that give a detail along with an ask, by entity and language."""
    given_later: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    """Messages that give a detail that was asked for, by entity and language."""


@dataclass(frozen=True)
class DomainPack:
    """Everything that was authored for a domain."""

    name: str
    intents: tuple[Intent, ...]
    flows: tuple[Flow, ...]
    slots: Mapping[str, Mapping[str, Sequence[str]]]
    source_intents: Mapping[str, Mapping[str, str]]
    """Public data's intents that mean the same: source → its label → intent here."""
    phrases: Phrases = Phrases()
    articles: tuple[HelpArticle, ...] = ()
    held_out_articles: tuple[HelpArticle, ...] = ()
    """For evaluation only."""
    development_articles: tuple[HelpArticle, ...] = ()
    """For choosing thresholds by: neither trained on nor what a model is judged by."""
    help_intents: tuple[Intent, ...] = ()
    """How replies quote an article, by language: intents without asks of their own."""

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that the pack speaks, sorted."""
        return tuple(sorted({intent.language for intent in self.intents}))

    def intent(self, name: str, language: str) -> Intent | None:
        """The intent of that name in that language, or None."""
        return self._by_key.get((name, language))

    @property
    def plans(self) -> tuple[str, ...]:
        """What a reply can set out to do, sorted: answer an intent, ask for a detail, quote an article."""
        asking = {plan_of(intent.name, entity) for intent in self.intents for entity in intent.replies_missing}
        return tuple(sorted({intent.name for intent in (*self.intents, *self.help_intents)} | asking))

    @cached_property
    def _by_key(self) -> Mapping[tuple[str, str], Intent]:
        return {(intent.name, intent.language): intent for intent in self.intents}


@cache
def load_pack(name: str) -> DomainPack:
    """Reads and checks a pack. Raises DataNotFoundError or InvalidDomainPackError."""
    root = PACKS_DIRECTORY / name
    if not root.is_dir():
        raise DataNotFoundError(what=f"The domain pack {name!r}", path=root, remedy="Packs are folders there.")
    with _no_garbage_collection():
        pack = _read_pack(root)
        check_pack(pack, root)
    return pack


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """While a pack is read, only what stays is made: to look through all of it again and again took a quarter of it."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _read_pack(root: Path) -> DomainPack:
    intents: list[Intent] = []
    flows: list[Flow] = []
    for path in sorted(root.glob("*/*.yaml")):
        language = path.parent.name
        beside = {folder: _read_more(path, folder) for folder in _BESIDE}
        for entry in _read(path):
            if "flow" in entry:
                flows.append(parse_flow(path, language, entry))
            else:
                name = entry.get("intent")
                more = {folder: of_intents.pop(name, ()) for folder, of_intents in beside.items()}
                intents.append(_parse_intent(path, language, entry, more))
        for folder, unknown in beside.items():
            _require(not unknown, root, f"{language}/{folder}/{path.name} names unknown intents {sorted(unknown)}")
    mapping = _read(root / "source_intents.yaml") if (root / "source_intents.yaml").exists() else {}
    phrases = _parse_phrases(root / "phrases.yaml")
    return DomainPack(
        root.name,
        tuple(intents),
        tuple(flows),
        _read_slots(root / "slots.yaml", intents),
        mapping,
        phrases,
        articles=_read_articles(root, _ARTICLES),
        held_out_articles=_read_articles(root, _HELD_OUT_ARTICLES),
        development_articles=_read_articles(root, _DEVELOPMENT_ARTICLES),
        help_intents=_read_help_intents(root),
    )


def held_out_prompts(pack: DomainPack) -> list[tuple[Intent, str]]:
    """Every held-out ask with its intent, slots filled the same way each time. For evaluation only."""
    generator = random.Random(7)
    return [
        (intent, fill_slots(ask, pack.slots[intent.language], generator))
        for intent in pack.intents
        for ask in intent.held_out_asks
    ]


def fill_slots(text: str, values: Mapping[str, Sequence[str]], generator: random.Random) -> str:
    """Text with every `{slot}` drawn at random."""
    return _SLOT.sub(lambda match: str(generator.choice(values[match.group(1)])), text)


def plan_of(intent: str, missing_entity: str | None = None) -> str:
    """The plan of answering an intent, or of asking for the entity that its answer needs."""
    return f"{intent}/ask_{missing_entity.lower()}" if missing_entity else intent


def intent_of(plan: str) -> str:
    """The intent that a plan answers, or asks for a detail of."""
    return plan.partition("/")[0]


def entities_in(text: str) -> frozenset[str]:
    """Entity types whose placeholders occur in masked text."""
    found = (entity_type_of(s.text) for s in split_masked(text) if s.is_placeholder)
    return frozenset(entity for entity in found if entity)


def check_pack(pack: DomainPack, path: Path) -> None:
    """Raises InvalidDomainPackError for the first broken rule, naming where it is."""
    _require(bool(pack.intents) and set(pack.languages) <= set(LANGUAGES), path, f"folders are {', '.join(LANGUAGES)}")
    _check_held_out(path, pack)
    _check_articles(path, pack)
    _check_phrases(path, pack.phrases)
    for intent in pack.intents:
        where = f"{intent.language}/{intent.topic}.yaml {intent.name}"
        _check_asks(path, where, intent, pack.slots[intent.language])
        for reply in intent.every_reply:
            _check_reply(path, where, reply)
        for _text, reason in intent.bad_replies:
            _require(reason in BAD_REASONS, path, f"{where}: unknown reason {reason!r}")
    _require(len(pack.plans) <= NUM_PLANS, path, f"{len(pack.plans)} plans, room for {NUM_PLANS}")
    plans = {None, *pack.plans}
    for flow in pack.flows:
        where = f"{flow.language} flow {flow.name}"
        for problem in problems(flow, entities_in):
            _require(False, path, f"{where}: {problem}")
        for turn in flow.turns:
            _require(turn.plan in plans, path, f"{where}: unknown plan {turn.plan!r}")
            for wording in turn.wordings if turn.role is Role.ASSISTANT else ():
                _check_reply(path, where, wording)


def _check_held_out(path: Path, pack: DomainPack) -> None:
    """Nothing held out may occur in training, under any intent, not even in other case or punctuation."""
    asks = (ask for intent in pack.intents for ask in (*intent.asks, *intent.follow_ups))
    known = {_bare(text) for text in (*asks, *(text for article in pack.articles for text in article.texts))}
    for intent in pack.intents:
        unseen = (*intent.held_out_asks, *intent.development_asks, *intent.held_out_follow_ups)
        shared = [ask for ask in unseen if _bare(ask) in known]
        where = f"{intent.language}/{intent.topic}.yaml {intent.name}"
        _require(not shared, path, f"{where}: held-out asks also occur in asks: {shared[:2]}")
    for article in (*pack.held_out_articles, *pack.development_articles):
        shared = [text for text in article.texts if _bare(text) in known]
        where = f"{article.language} article {article.title!r}"
        _require(not shared, path, f"{where} is held out but also occurs in training: {shared[:2]}")


def _check_articles(path: Path, pack: DomainPack) -> None:
    names = {(intent.name, intent.language) for intent in pack.intents}
    articles = (*pack.articles, *pack.held_out_articles, *pack.development_articles)
    problem = next(article_problems(articles, names), None)
    _require(problem is None, path, str(problem))
    answered = {intent.language for intent in pack.help_intents}
    silent = {article.language for article in pack.articles} - answered
    _require(not silent, path, f"{sorted(silent)} articles need {_HELP_REPLIES}")
    for intent in pack.help_intents:
        where = f"{intent.language}/{_HELP_REPLIES}"
        _require(intent.name == HELP_PLAN, path, f"{where}: its one intent is {HELP_PLAN}")
        _require(bool(intent.replies), path, f"{where}: needs replies")
        for reply in intent.replies:
            _check_reply(path, where, reply, num_articles=1)


def _bare(ask: str) -> str:
    """An ask without case, spaces and punctuation; itself where nothing else is left of it."""
    return _NO_WORD.sub("", ask.lower()) or ask


def _check_asks(path: Path, where: str, intent: Intent, slots: Mapping[str, Sequence[str]]) -> None:
    is_whole = bool(intent.asks) and any(intent.replies_by_tone.values())
    _require(is_whole, path, f"{where}: needs asks, and replies in one of the tones {', '.join(TONES)}")
    later = *intent.follow_ups, *intent.held_out_follow_ups
    for ask in (*intent.asks, *intent.held_out_asks, *intent.development_asks, *later):
        if unknown := [slot for slot in _SLOT.findall(ask) if slot not in slots]:
            raise InvalidDomainPackError(path=path, problem=f"{where}: unknown slots {unknown} in {ask!r}")
        _check_placeholders(path, where, ask)


def _check_phrases(path: Path, phrases: Phrases) -> None:
    """A detail is given by its placeholder, and every placeholder exists."""
    for texts in phrases.system_messages.values():
        for text in texts:
            _check_placeholders(path, "phrases.yaml system_messages", text)
    for tone, by_language in phrases.tone_messages.items():
        _require(tone in TONES, path, f"phrases.yaml tone_messages: {tone!r} is none of {', '.join(TONES)}")
        for text in (text for texts in by_language.values() for text in texts):
            _check_placeholders(path, f"phrases.yaml tone_messages {tone}", text)
    for entity, by_language in (*phrases.given_along.items(), *phrases.given_later.items()):
        for text in (text for texts in by_language.values() for text in texts):
            _require(entities_in(text) == {entity}, path, f"phrases.yaml {entity}: {text!r} does not give <{entity}>")


def _check_reply(path: Path, where: str, reply: str, *, num_articles: int = 0) -> None:
    bare = "".join(segment.text for segment in split_masked(reply) if not segment.is_placeholder)
    _require(not _SLOT.search(reply), path, f"{where}: a reply holds a slot: {reply!r}")
    _require(reply.count(ARTICLE) == num_articles, path, f"{where}: {num_articles} {ARTICLE} belong in {reply!r}")
    _require(not re.search(r"\d", bare), path, f"{where}: a reply holds a digit: {reply!r}")
    _check_placeholders(path, where, reply)


def _check_placeholders(path: Path, where: str, text: str) -> None:
    if unknown := [shape for shape in _PLACEHOLDER_SHAPE.findall(text) if shape not in ALL_PLACEHOLDERS]:
        raise InvalidDomainPackError(path=path, problem=f"{where}: unknown placeholders {unknown} in {text!r}")


def _require(holds: bool, path: Path, problem: str) -> None:
    if not holds:
        raise InvalidDomainPackError(path=path, problem=problem)


def _read(path: Path) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_YAML_LOADER)
    except (OSError, yaml.YAMLError) as error:
        raise InvalidDomainPackError(path=path, problem=error) from error


def _read_more(path: Path, folder: str) -> dict[str, Any]:
    """Further texts by intent, from the file of the same name in a folder beside it."""
    more = path.parent / folder / path.name
    return dict(_read(more)) if more.exists() else {}


def _read_slots(path: Path, intents: Sequence[Intent]) -> dict[str, Mapping[str, Sequence[str]]]:
    """Slots of every language that the pack speaks; a pack without slots has no such file."""
    slots = _read(path) if path.exists() else {}
    return {intent.language: (slots or {}).get(intent.language) or {} for intent in intents}


def _parse_phrases(path: Path) -> Phrases:
    if not path.exists():
        return Phrases()
    try:
        return Phrases(**_read(path))
    except TypeError as error:
        raise InvalidDomainPackError(path=path, problem=error) from error


def _read_articles(root: Path, name: str) -> tuple[HelpArticle, ...]:
    """The articles of a file that each language may have."""
    articles: list[HelpArticle] = []
    for path in sorted(root.glob(f"*/{name}")):
        for entry in _read(path):
            try:
                articles.append(parse_article(entry, path.parent.parent.name))
            except (KeyError, TypeError, AttributeError) as error:
                raise InvalidDomainPackError(path=path, problem=f"{entry}: {error!r}") from error
    return tuple(articles)


def _read_help_intents(root: Path) -> tuple[Intent, ...]:
    return tuple(
        _parse_intent(path, path.parent.parent.name, {"asks": (), **entry})
        for path in sorted(root.glob(f"*/{_HELP_REPLIES}"))
        for entry in _read(path)
    )


def _parse_intent(path: Path, language: str, entry: Mapping[str, Any], more: Mapping[str, Any] | None = None) -> Intent:
    """`more` is what stands about it in the folders beside its file."""
    beside = dict.fromkeys(_BESIDE, ()) | dict(more or {})
    try:
        return Intent(
            name=entry["intent"],
            language=language,
            topic=path.stem,
            asks=tuple(dict.fromkeys(map(str, (*entry["asks"], *beside["asks"])))),
            held_out_asks=tuple(map(str, entry.get("held_out_asks", ()))),
            development_asks=tuple(map(str, beside["development_asks"])),
            replies_by_tone={tone: tuple(entry["replies"].get(tone, ())) for tone in TONES},
            replies_given={key: tuple(texts) for key, texts in (entry.get("replies_given") or {}).items()},
            replies_missing={key: tuple(texts) for key, texts in (entry.get("replies_missing") or {}).items()},
            bad_replies=tuple((bad["text"], bad["reason"]) for bad in entry.get("bad_replies", ())),
            later_replies=tuple(map(str, beside["later_replies"])),
            fitting=parse_fitting(beside["fitting"] or {}).with_further(parse_answers(beside["answers"])),
            follow_ups=tuple(map(str, beside["follow_ups"])),
            held_out_follow_ups=tuple(map(str, beside["held_out_follow_ups"])),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InvalidDomainPackError(path=path, problem=f"{entry.get('intent')}: {error!r}") from error


def user_message(text: str) -> Message:
    """A customer's message."""
    return Message(Role.USER, text)
