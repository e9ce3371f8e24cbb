"""Intent model: the tuned encoder of the stage before, made small enough to be asked for every message that is served.

A network of our size learned from the encoder what it could (`message_summary`) and stays ten points behind it and its
own ear together; so the service asks both. Copy the folder to `model_store/intents/default` to ship it.
"""

import random
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from model_store.contract.manifest import FileEntry
from model_store.contract.placeholders import fold_case
from model_store.digest import digest_bytes
from model_store.durable import replace_file
from model_store.intents.intent_model import (
    DESCRIPTION_NAME,
    GRAPH_NAME,
    TOKENIZER_NAME,
    IntentModel,
    IntentModelDescription,
)
from model_store.intents.turns import SEPARATOR
from model_store.knowledge.search import passage_text
from training.config import TrainingConfig
from training.data.corpora import load_public_messages
from training.data.domain_pack import PACKS_DIRECTORY, DomainPack, fill_slots, load_pack
from training.data.plan_teacher.encoder import MAX_TOKENS, IntentEncoder
from training.data.plan_teacher.later_messages import draw_later_messages
from training.data.plan_teacher.pretrained_encoder import LICENCE, PREFIX, end_ids
from training.data.sentiment.messages import read_sentiment_messages
from training.export.intents.intent_graph import (
    EncoderHeads,
    EncoderShape,
    build_intent_graph,
    pieces_in_use,
    prune_tokenizer,
)
from training.export.intents.search_space import MIN_ARTICLES, SearchSpace, fit_search_space, search_layers
from training.stages.base_model.going_on import add_ear_for_going_on
from training.stages.base_model.ngrams import ngram_head
from training.stages.base_model.plan_teacher import (
    intents_of,
    load_encoder,
    taught_pack,
    write_learned_asks,
)
from training.stages.base_model.sentiment import sentiment_head, turns_to_ignore
from training.workspace import StageResult, Workspace

DIRECTORY = "intents"
_MADE_OF = "multilingual-e5-small (Wang et al. 2024), tuned on the authored asks of the pack '{pack}'"
_NUM_FIRST_EXAMPLES = 300
_NUM_LATER_EXAMPLES = 120
_WORDS = "network.embeddings.word_embeddings.weight"


def run(config: TrainingConfig, workspace: Workspace) -> StageResult:
    """Writes the directory `intents`. Nothing for a pack that only a linear teacher has learned."""
    if config.plan_teacher.kind == "linear":
        return {}
    pack = taught_pack(config)
    encoder = load_encoder(workspace, pack)
    directory = workspace.path(DIRECTORY)
    directory.mkdir(exist_ok=True)
    write_learned_asks(load_pack(config.corpus.domain_pack), directory)
    hears_turns = config.plan_teacher.num_later_messages > 0
    messages = read_sentiment_messages(PACKS_DIRECTORY / config.corpus.domain_pack).to_learn
    turns = turns_to_ignore(pack, config.seed) if hears_turns else {}
    texts = [*_texts(config, pack), *(fold_case(message.text) for message in messages)]
    examples = list(draw_examples(pack, config.plan_teacher.num_later_messages, config.seed))
    tokenizer = _served_tokenizer(encoder, texts)
    heads = EncoderHeads(
        space=search_space(encoder, pack),
        sentiment=sentiment_head(encoder, messages, turns, config.seed),
        ngrams=ngram_head(pack, tokenizer, config.seed, hears_turns=hears_turns),
        end_ids=end_ids(tokenizer),
    )
    _write_files(encoder, tokenizer, heads, examples, directory)
    description = _description(encoder, pack, directory, SEPARATOR if hears_turns else None)
    _write_description(description, directory)
    if heads.sentiment:
        add_ear_for_going_on(directory, pack, config.seed)
        description = IntentModelDescription.model_validate_json((directory / DESCRIPTION_NAME).read_bytes())
    metrics = right_intents(IntentModel.load(directory), pack)
    _write_description(description.model_copy(update={"metrics": metrics}), directory)
    num_bytes = sum(entry.num_bytes for entry in description.files.values())
    return {
        "num_pieces": tokenizer.get_vocab_size(),
        "num_bytes": num_bytes,
        "right_on_development_asks": metrics,
        "num_sentiment_messages": len(messages),
    }


def right_intents(model: IntentModel, pack: DomainPack) -> dict[str, float]:
    """Of each language's development asks, the share whose intent the model finds most likely."""
    is_right: dict[str, list[bool]] = defaultdict(list)
    generator = random.Random(0)
    for intent in pack.intents:
        for ask in intent.development_asks:
            heard = fold_case(fill_slots(ask, pack.slots[intent.language], generator))
            best = int(model.probabilities(heard).argmax())
            is_right[intent.language].append(model.intents[best] == intent.name)
    return {language: float(np.mean(rights)) for language, rights in is_right.items()}


def draw_examples(pack: DomainPack, num_later_messages: int, seed: int) -> Iterator[str]:
    """A little of what an encoder of the pack has learned from, as it reads it: rounding is fitted to it."""
    generator = random.Random(seed)
    asks = [(ask, intent.language) for intent in pack.intents for ask in intent.asks]
    for ask, language in generator.sample(asks, min(len(asks), _NUM_FIRST_EXAMPLES)):
        yield PREFIX + fold_case(fill_slots(ask, pack.slots[language], generator))
    later = draw_later_messages(pack, intents_of(pack), seed)
    for text, _, _ in islice(later, min(num_later_messages, _NUM_LATER_EXAMPLES)):
        yield PREFIX + fold_case(text)


def search_space(encoder: IntentEncoder, pack: DomainPack) -> SearchSpace | None:
    """Where help articles are searched by meaning, learned from the pack's training articles; None for too few."""
    if len(pack.articles) < MIN_ARTICLES:
        return None
    texts = [(passage_text(article.title, article.passage), number) for number, article in enumerate(pack.articles)]
    texts += [(question, number) for number, article in enumerate(pack.articles) for question in article.questions]
    layers = search_layers(encoder.network.config.num_hidden_layers)
    states = encoder.mean_states([fold_case(text) for text, _ in texts], layers)
    return fit_search_space(layers, states, [number for _, number in texts])


def _texts(config: TrainingConfig, pack: DomainPack) -> Iterator[str]:
    """What customers write, as the service lets the model hear it."""
    generator = random.Random(config.seed)
    for intent in pack.intents:
        for ask in (*intent.asks, *intent.development_asks):
            yield PREFIX + fold_case(fill_slots(ask, pack.slots[intent.language], generator))
    for article in pack.articles:
        yield from map(fold_case, article.texts)
    later = draw_later_messages(pack, intents_of(pack), config.seed)
    yield from (fold_case(text) for text, _, _ in islice(later, config.plan_teacher.num_later_messages))
    folder = config.corpus.uniform_data_dir
    for messages in (load_public_messages(folder) if folder else {}).values():
        yield from map(fold_case, messages)


def _served_tokenizer(encoder: IntentEncoder, texts: list[str]) -> Tokenizer:
    """The encoder's, with the subwords that these texts need."""
    backend = encoder.tokenizer.backend
    return prune_tokenizer(backend, pieces_in_use(backend, (" ".join(text.split()) for text in texts)))


def _write_files(
    encoder: IntentEncoder, tokenizer: Tokenizer, heads: EncoderHeads, examples: list[str], directory: Path
) -> None:
    backend = encoder.tokenizer.backend
    pieces = sorted(tokenizer.get_vocab().items(), key=lambda piece: piece[1])
    kept = [backend.token_to_id(text) for text, _ in pieces]
    weights = {name: tensor.detach().float().numpy() for name, tensor in encoder.state_dict().items()}
    weights[_WORDS] = weights[_WORDS][kept]
    shape = encoder.network.config
    sizes = EncoderShape(shape.num_hidden_layers, shape.num_attention_heads, shape.layer_norm_eps)
    token_ids = [tokenizer.encode(example).ids[:MAX_TOKENS] for example in examples]
    graph = build_intent_graph(weights, sizes, heads, token_ids)
    replace_file(directory / GRAPH_NAME, graph.SerializeToString())
    replace_file(directory / TOKENIZER_NAME, tokenizer.to_str().encode())


def _description(
    encoder: IntentEncoder, pack: DomainPack, directory: Path, separator: str | None
) -> IntentModelDescription:
    files = {}
    for name in (GRAPH_NAME, TOKENIZER_NAME):
        data = (directory / name).read_bytes()
        files[name] = FileEntry(sha256=digest_bytes(data), num_bytes=len(data))
    return IntentModelDescription(
        intents=encoder.intents,
        prefix=PREFIX,
        separator=separator,
        max_tokens=MAX_TOKENS,
        made_of=_MADE_OF.format(pack=pack.name),
        licence=LICENCE,
        files=files,
    )


def _write_description(description: IntentModelDescription, directory: Path) -> None:
    replace_file(directory / DESCRIPTION_NAME, (description.model_dump_json(indent=1) + "\n").encode())
