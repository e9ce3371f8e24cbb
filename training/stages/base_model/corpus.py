"""Corpus: everything the base model reads, masked and tokenised, and the tokenizer itself.

Writes `tokenizer.json`, and `windows/<source>.npz` into the workspace. Left out: de-duplication across sources
(they share no text) and quality filters beyond `data.cleaning`.
"""

import itertools
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from model_store.contract.conversation import Message, detect_language
from model_store.contract.manifest import DataLicence
from model_store.contract.tokenizer import Tokenizer
from training.config import TrainingConfig
from training.data.corpora import LICENCES, Corpus, load_corpus, load_extra_asks
from training.data.domain_pack import load_pack, user_message
from training.data.generator import ConversationGenerator
from training.data.plan_teacher.pretrained_encoder import LICENCE
from training.data.plan_teacher.unlabelled import draw_mixtures
from training.data.subwords import name_plans, train_subwords
from training.data.windows import PlannedConversation, cut_windows
from training.errors import UnfitCheckpointError
from training.stages.base_model.plan_teacher import load_teachers
from training.workspace import StageResult, Workspace

PACK_SOURCE = "domain_pack"
ASKS_SOURCE = "domain_asks"
MIXTURES_SOURCE = "domain_mixtures"
GIVEN_PLANS_SOURCE = "domain_given_plans"
VALIDATION_SOURCE = "domain_pack_validation"
_DRAWN_SOURCES = {PACK_SOURCE, ASKS_SOURCE, MIXTURES_SOURCE, GIVEN_PLANS_SOURCE}
_NUM_VALIDATION = 400
_EARLIER_SHARE = 0.2
_TOKENIZER_CHARS_PER_SOURCE = 3_000_000


def run(config: TrainingConfig, workspace: Workspace) -> StageResult:
    """Builds tokenizer and windows. Raises DataNotFoundError when a configured source is missing."""
    corpora = _load_corpora(config)
    conversations = _collect_conversations(config, corpora)
    tokenizer = _train_tokenizer(config, workspace, conversations)
    conversations[MIXTURES_SOURCE] = _draw_mixtures(config, workspace, tokenizer)
    (workspace.path("windows")).mkdir(exist_ok=True)
    num_tokens = {}
    for source, items in tqdm(conversations.items(), desc="tokenising", file=sys.stderr):
        windows = cut_windows(items, tokenizer, config.corpus.max_window_tokens)
        windows.save(workspace.path("windows") / f"{source}.npz")
        num_tokens[source] = len(windows.token_ids)
    licences = [licence.model_dump() for licence in _licences(config, corpora, len(conversations[PACK_SOURCE]))]
    return {"num_tokens": num_tokens, "vocab_size": tokenizer.vocab_size, "licences": licences}


def _collect_conversations(config: TrainingConfig, corpora: Sequence[Corpus]) -> dict[str, list[PlannedConversation]]:
    """Every source's conversations, the authored pack's included; writes nothing."""
    corpus = config.corpus
    conversations = {
        source.source: [PlannedConversation(messages) for messages in source.conversations] for source in corpora
    }
    pack = load_pack(corpus.domain_pack)
    extra = load_extra_asks(corpus.uniform_data_dir, pack) if corpus.uniform_data_dir else {}
    generator = ConversationGenerator(pack, config.seed, extra, flow_share=corpus.flow_share)
    drawn = itertools.islice(generator, corpus.num_generated_conversations)
    unseen = itertools.islice(ConversationGenerator(pack, config.seed + 1_000_003), _NUM_VALIDATION)
    asks = (generator.draw_ask() for _ in range(corpus.num_generated_asks))
    for source, generated in ((PACK_SOURCE, drawn), (ASKS_SOURCE, asks), (VALIDATION_SOURCE, unseen)):
        conversations[source] = [PlannedConversation(item.messages, item.plan) for item in generated]
    given = (generator.draw_with_another_plan() for _ in range(corpus.num_given_plans))
    conversations[GIVEN_PLANS_SOURCE] = [
        PlannedConversation(item.messages, item.plan, plan_is_given=True) for item in given
    ]
    return conversations


def _draw_mixtures(config: TrainingConfig, workspace: Workspace, tokenizer: Tokenizer) -> list[PlannedConversation]:
    if config.corpus.num_mixtures == 0:
        return []
    pack = load_pack(config.corpus.domain_pack)
    teachers, sources = load_teachers(config, workspace, tokenizer)
    mixtures = draw_mixtures(pack, teachers, config.corpus.num_mixtures, config.seed, sources)
    earlier = ConversationGenerator(pack, config.seed + 1)
    coin = random.Random(config.seed)
    return [
        PlannedConversation(
            (*_maybe_earlier(earlier, text, coin), user_message(text)), plan_probabilities=probabilities
        )
        for text, probabilities in mixtures
    ]


def _maybe_earlier(generator: ConversationGenerator, text: str, coin: random.Random) -> list[Message]:
    """Sometimes another concern and its reply, so that a message is heard after others as well as alone."""
    return generator.draw_earlier(detect_language(text)) if coin.random() < _EARLIER_SHARE else []


def _load_corpora(config: TrainingConfig) -> list[Corpus]:
    folder = config.corpus.uniform_data_dir
    if folder is None:
        return []
    stages = [stage for stage in (config.pretrain, config.finetune, config.polish) if stage is not None]
    wanted = sorted({source for stage in stages for source in stage.source_shares} - _DRAWN_SOURCES)
    progress = tqdm(wanted, desc="reading corpora", file=sys.stderr)
    return [load_corpus(folder, source, config.corpus.max_rows_per_source) for source in progress]


def _train_tokenizer(
    config: TrainingConfig, workspace: Workspace, conversations: Mapping[str, Sequence[PlannedConversation]]
) -> Tokenizer:
    """Saves the tokenizer, with the pack's plans: the configured one, or a new one.

    A new one sees an even share of each source, so that Chinese gets its subwords. A bundle that goes on learning keeps
    its own; raises UnfitCheckpointError where the pack has other plans than that.
    """
    plans = load_pack(config.corpus.domain_pack).plans
    if config.goes_on_from is not None:
        backend = _tokenizer_of(config.goes_on_from, plans).backend
    elif config.corpus.tokenizer is not None:
        backend = Tokenizer.load(config.corpus.tokenizer).backend
    else:
        backend = train_subwords(_tokenizer_texts(conversations), config.model.vocab_size)
    backend = name_plans(backend, plans)
    backend.save(str(workspace.path("tokenizer.json")))
    return Tokenizer(backend)


def _tokenizer_of(bundle: Path, plans: Sequence[str]) -> Tokenizer:
    tokenizer = Tokenizer.load(bundle / "tokenizer.json")
    if sorted(tokenizer.plans, key=lambda name: tokenizer.plans[name]) != list(plans):
        raise UnfitCheckpointError(path=bundle, problem="it knows other plans than the domain pack")
    return tokenizer


def _tokenizer_texts(conversations: Mapping[str, Sequence[PlannedConversation]]) -> list[str]:
    texts: list[str] = []
    for source, items in conversations.items():
        num_chars = 0
        for content in (message.content for item in items for message in item.messages):
            if source == VALIDATION_SOURCE or num_chars > _TOKENIZER_CHARS_PER_SOURCE:
                break
            texts.append(content)
            num_chars += len(content)
    return texts


def _licences(config: TrainingConfig, corpora: Sequence[Corpus], num_generated: int) -> tuple[DataLicence, ...]:
    """What the manifest says about the data behind the weights."""
    pack = Path(config.corpus.domain_pack)
    licence = "the operator's own" if pack.is_absolute() else "Apache-2.0"
    licences = [DataLicence(source=f"authored pack {pack.name!r}", licence=licence, num_rows=num_generated)]
    if config.plan_teacher.kind == "encoder":
        name = "opinions of multilingual-e5-small, tuned on the pack"
        licences.append(DataLicence(source=name, licence=LICENCE, num_rows=config.corpus.num_mixtures))
    if config.corpus.uniform_data_dir is None:
        return tuple(licences)
    extra = load_extra_asks(config.corpus.uniform_data_dir, load_pack(config.corpus.domain_pack))
    if num_asks := sum(map(len, extra.values())):
        licence = f"{LICENCES['bitext_cs']} (bitext), {LICENCES['intents']}"
        licences.append(DataLicence(source="ways to ask (bitext_cs, intents)", licence=licence, num_rows=num_asks))
    return (*licences, *(corpus.licence for corpus in corpora))
