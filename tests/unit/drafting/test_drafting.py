"""Drafts: several tokens a step where replies repeat, and no completion can tell. Of the model that ships."""

import gzip
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model_store.contract.chat_template import render
from model_store.contract.control_tokens import ASSISTANT_ID, EOS_ID
from model_store.contract.conversation import Message, Role
from model_store.contract.manifest import MANIFEST_NAME, Manifest
from model_store.contract.tokenizer import Tokenizer
from model_store.replies import (
    AFTER_ITS_PLAN,
    MAX_TOKENS,
    OLDER_NAMES,
    ORDER_NAME,
    REPLIES_NAME,
    load_order,
    load_replies,
    save_replies,
)
from model_store.store import DEFAULT_BUNDLE
from service.engine.drafting.continuations import Continuations
from service.engine.drafting.drafter import Drafter
from service.engine.engine import Engine
from service.engine.errors import ModelUnusableError
from service.engine.ort_session import OrtSession
from service.engine.sampler import Sampler, SamplingState
from service.engine.types import CompletionRequest, Delta, EngineOptions, SamplingParams

OpenEngine = Callable[..., Engine]
MANIFEST = Manifest.model_validate_json((DEFAULT_BUNDLE / MANIFEST_NAME).read_bytes())
VOCAB_SIZE = MANIFEST.architecture.vocab_size
TOKENIZER = Tokenizer.load(DEFAULT_BUNDLE / "tokenizer.json")
PROMPTS = [
    render([Message(Role.USER, ask)], TOKENIZER, for_completion=True).token_ids
    for ask in ("I forgot my password, and now I cannot sign in any more. " * 3, "我的快递还没到")
]
LONG = 40
"""Tokens of a completion, of which one begins shortly before a local chunk's border."""
WAYS_TO_SAMPLE = {
    "greedy": SamplingParams(temperature=0, max_tokens=LONG, banned_token_ids=frozenset({EOS_ID})),
    "nucleus": SamplingParams(temperature=0.3, top_p=0.9, seed=5, max_tokens=LONG),
    "all at once": SamplingParams(
        temperature=0.4,
        top_k=20,
        top_p=0.95,
        repetition_penalty=1.1,
        seed=6,
        max_tokens=LONG,
        num_top_logprobs=3,
        banned_token_ids=frozenset(range(300, 320)),
        opening_token_ids=frozenset({128, 129, 177}),
        opening_min_p=0.5,
    ),
}


@pytest.fixture
def open_engine() -> Iterator[OpenEngine]:
    """Opens engines by their options, a slot if nothing else is said, and closes them in the end."""
    engines: list[Engine] = []

    def open_one(directory: Path = DEFAULT_BUNDLE, num_slots: int = 1, **options: int) -> Engine:
        engines.append(Engine.open(directory, MANIFEST, EngineOptions(num_slots=num_slots, **options)))
        return engines[-1]

    yield open_one
    for engine in engines:
        engine.close()


def complete(engine: Engine, prompt: tuple[int, ...], sampling: SamplingParams) -> list[Delta]:
    """The deltas of a completion made alone."""
    engine.submit(CompletionRequest("r", prompt, sampling))
    deltas: list[Delta] = []
    while engine.has_work:
        deltas += engine.step()
    return deltas


def what_it_says(deltas: list[Delta]) -> list[tuple[object, ...]]:
    """Everything that a delta tells about its token, to the last bit."""
    return [(d.token_id, d.logprob, d.sampling_logprob, d.top_logprobs, d.finish_reason) for d in deltas]


def draft_counts(deltas: list[Delta]) -> tuple[int, int]:
    """Tokens guessed, and guessed right."""
    return sum(delta.num_drafted for delta in deltas), sum(delta.num_accepted for delta in deltas)


@pytest.mark.parametrize("way", WAYS_TO_SAMPLE)
def test_a_completion_is_the_same_with_and_without_drafts(open_engine: OpenEngine, way: str) -> None:
    """Bit for bit, where guesses are right, wrong (of four authored tokens one is another), and made before."""
    plain = open_engine()
    drafting = open_engine(max_draft_tokens=4)
    sampling = WAYS_TO_SAMPLE[way]
    num_accepted = num_rejected = 0
    for prompt in PROMPTS:
        expected = complete(plain, prompt, sampling)
        wrong = [delta.token_id if number % 4 else 999 for number, delta in enumerate(expected, 2)]
        drafting.drafter.read((*wrong, EOS_ID))
        for _ in range(2):
            found = complete(drafting, prompt, sampling)
            assert what_it_says(found) == what_it_says(expected)
            drafted, accepted = draft_counts(found)
            num_accepted, num_rejected = num_accepted + accepted, num_rejected + drafted - accepted
    assert num_accepted > LONG // 2
    assert num_rejected > 0


def test_drafts_come_and_go_with_company_and_change_nothing(open_engine: OpenEngine) -> None:
    """Requests arrive and leave in the middle; those that were made alone for a while were drafted."""
    sampling = WAYS_TO_SAMPLE["nucleus"]
    plain = open_engine()
    expected = {str(number): complete(plain, prompt, sampling) for number, prompt in enumerate(PROMPTS)}
    engine = open_engine(num_slots=3, max_draft_tokens=3, prefix_cache_bytes=1 << 22)
    complete(engine, PROMPTS[0], sampling)
    found: dict[str, list[Delta]] = defaultdict(list)

    def steps(number: int) -> None:
        for _ in range(number):
            for delta in engine.step():
                found[delta.request_id].append(delta)

    for number, prompt in enumerate(PROMPTS):
        engine.submit(CompletionRequest(str(number), prompt, sampling))
        engine.submit(CompletionRequest(f"leaves {number}", prompt, sampling))
        steps(9)
        engine.cancel(f"leaves {number}")
        steps(4)
    while engine.has_work:
        steps(1)
    for name, deltas in expected.items():
        assert what_it_says(found[name]) == what_it_says(deltas)
    assert draft_counts(found["0"])[1] > 0


def test_a_repeated_completion_takes_a_fraction_of_the_steps(open_engine: OpenEngine) -> None:
    """What was said once is guessed: four tokens a step, but for chunk borders."""
    engine = open_engine(max_draft_tokens=3)
    sampling = SamplingParams(temperature=0, max_tokens=60, banned_token_ids=frozenset({EOS_ID}))
    complete(engine, PROMPTS[0], sampling)
    engine.submit(CompletionRequest("again", PROMPTS[0], sampling))
    num_steps = 0
    while engine.has_work:
        engine.step()
        num_steps += 1
    assert num_steps < 25


def test_a_processor_on_which_bits_would_change_gets_no_drafts(
    open_engine: OpenEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then one token a step is made, as without the option."""
    monkeypatch.setattr(OrtSession, "repeats_bits", lambda session, num_tokens: False)
    engine = open_engine(max_draft_tokens=3)
    for _ in range(2):
        deltas = complete(engine, PROMPTS[0], WAYS_TO_SAMPLE["greedy"])
        assert draft_counts(deltas) == (0, 0)


def test_a_network_whose_bits_depend_on_the_call_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One changed bit in the last of the drafted rows is enough."""
    options = EngineOptions(num_slots=1, max_draft_tokens=3)
    session = OrtSession(DEFAULT_BUNDLE / "model.onnx", MANIFEST.architecture, options)
    assert session.repeats_bits(4)
    run_draft = OrtSession._run_draft

    def with_another_bit(self: OrtSession, inputs: object) -> object:
        logits = run_draft(self, inputs)  # type: ignore[arg-type]
        logits[-1, 7] = np.nextafter(logits[-1, 7], np.float32(np.inf))
        return logits

    monkeypatch.setattr(OrtSession, "_run_draft", with_another_bit)
    assert not session.repeats_bits(4)


def test_a_drafted_token_is_accepted_as_often_as_the_model_says_it() -> None:
    """Speculative sampling's law, on a distribution by hand: guessed or not, each token is drawn as often as it is
    likely (0.6, 0.3, 0.1), the guess accepted with its own probability.
    """
    logits = np.log(np.array([[0.6, 0.3, 0.1]], np.float32)).repeat(2, axis=0)
    for guess, probability in enumerate((0.6, 0.3, 0.1)):
        counts, num_accepted, num_draws = np.zeros(3), 0, 1000
        for seed in range(num_draws):
            state = SamplingState(SamplingParams(seed=seed), (), 3)
            drawn = Sampler().sample_drafted(logits, state, (guess,))
            counts[drawn[0].token_id] += 1
            num_accepted += len(drawn) - 1
        four_sigma = 4 * np.sqrt(0.25 / num_draws)
        assert np.allclose(counts / num_draws, (0.6, 0.3, 0.1), atol=four_sigma)
        assert num_accepted / num_draws == pytest.approx(probability, abs=four_sigma)


def test_the_majority_is_guessed_after_the_longest_known_end() -> None:
    """Two of three say 7; after five tokens that were seen once, what came then."""
    known = Continuations(1 << 16)
    for token_id in (7, 8, 7):
        known.learn((1, 2), token_id)
    assert known.guess((9, 9, 1, 2)) == 7
    known.learn((5, 4, 3, 1, 2), 6)
    assert known.guess((5, 4, 3, 1, 2)) == 6
    assert known.guess((1,)) is None
    assert known.guess((2, 1)) is None


def test_a_full_table_keeps_its_size_and_takes_up_new_wordings() -> None:
    """A hundred times as many contexts as rows; then one that is repeated is known."""
    known = Continuations(64 * 16)
    generator = np.random.default_rng(0)
    for first, second, token_id in generator.integers(0, 4000, (6400, 3)).tolist():
        known.learn((first, second), token_id)
    for _ in range(9):
        known.learn((1, 2), 3)
    assert known.guess((1, 2)) == 3
    assert known.num_bytes == 64 * 16


def test_a_draft_stops_before_the_end_of_sequence_and_where_there_is_no_room() -> None:
    """After the opening 130 the reply 5, 6, 7 is known, and then its end."""
    drafter = Drafter(8)
    drafter.read((130, 5, 6, 7, EOS_ID))
    assert drafter.draft((ASSISTANT_ID, 130), room=9) == (5, 6, 7)
    assert drafter.draft((ASSISTANT_ID, 130), room=2) == (5, 6)
    assert drafter.draft((ASSISTANT_ID, 130), room=0) == ()
    assert Drafter(2).draft((ASSISTANT_ID, 130), room=9) == ()


def test_wrong_drafts_stop_for_a_while() -> None:
    """A dozen or so refused in a row; it tries again after 512 steps, and not before."""
    drafter = Drafter(3)
    drafter.read((130, 5, 6, 7, EOS_ID))
    before = (ASSISTANT_ID, 130)
    num_tried = 0
    while drafter.draft(before, room=3):
        drafter.judge(3, 0)
        num_tried += 1
    assert 10 <= num_tried <= 20
    # The refusal above was the first of 512.
    assert [bool(drafter.draft(before, room=3)) for _ in range(512)] == [False] * 511 + [True]


def test_drafts_that_are_right_more_often_than_not_go_on() -> None:
    """Two of three accepted, two hundred times."""
    drafter = Drafter(3)
    drafter.read((130, 5, 6, 7, EOS_ID))
    for _ in range(200):
        assert drafter.draft((ASSISTANT_ID, 130), room=3)
        drafter.judge(3, 2)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A folder with the graph that ships and nothing else."""
    (tmp_path / "model.onnx").symlink_to(DEFAULT_BUNDLE / "model.onnx")
    return tmp_path


def test_a_bundle_s_replies_are_guessed_from_the_first_request_on(open_engine: OpenEngine, bundle: Path) -> None:
    """What the network is going to say, written into its bundle, is accepted at once; nothing is without it."""
    sampling = WAYS_TO_SAMPLE["greedy"]
    expected = complete(open_engine(bundle, max_draft_tokens=3), PROMPTS[0], sampling)
    assert draft_counts(expected)[1] == 0
    save_replies(bundle, [(*(delta.token_id for delta in expected), EOS_ID)])
    found = complete(open_engine(bundle, max_draft_tokens=3), PROMPTS[0], sampling)
    assert what_it_says(found) == what_it_says(expected)
    assert draft_counts(found)[1] > LONG // 2


def test_replies_come_back_as_they_were_saved_and_only_so_many(tmp_path: Path) -> None:
    """In order; what does not fit any more is left out; a bundle may hold none."""
    assert list(load_replies(tmp_path, VOCAB_SIZE)) == []
    long = (130,) * (MAX_TOKENS - 3) + (EOS_ID,)
    save_replies(tmp_path, [(130, 5, EOS_ID), long, (131, 6, EOS_ID)])
    assert list(load_replies(tmp_path, VOCAB_SIZE)) == [(130, 5, EOS_ID), (131, 6, EOS_ID)]


def test_replies_of_a_bundle_from_before_they_were_compressed_are_read(tmp_path: Path) -> None:
    """Versions on people's shelves stay what they are."""
    np.save(tmp_path / OLDER_NAMES[REPLIES_NAME], np.array([130, 5, EOS_ID, 131, EOS_ID], np.uint16))
    np.save(tmp_path / OLDER_NAMES[ORDER_NAME], np.array([[1, 0]], np.int32))
    assert list(load_replies(tmp_path, VOCAB_SIZE)) == [(130, 5, EOS_ID), (131, EOS_ID)]
    assert load_order(tmp_path, 2) == ((1, 0),)


def test_the_order_of_replies_comes_back_by_the_numbers_of_those_that_were_kept(tmp_path: Path) -> None:
    """A bundle need not have one; what followed a reply that is left out follows nothing any more."""
    assert load_order(tmp_path, 2) == ()
    long = (130,) * (MAX_TOKENS - 3) + (EOS_ID,)
    replies = [(130, 5, EOS_ID), long, (131, 6, EOS_ID)]
    save_replies(tmp_path, replies, [(2, 0), (0, 1), (2, AFTER_ITS_PLAN)])
    assert load_order(tmp_path, 2) == ((1, AFTER_ITS_PLAN), (1, 0))
    with pytest.raises(ValueError, match="beyond the 1"):
        load_order(tmp_path, 1)
    (tmp_path / ORDER_NAME).unlink()
    np.save(tmp_path / OLDER_NAMES[ORDER_NAME], np.arange(3, dtype=np.int32))
    with pytest.raises(ValueError, match="no table of pairs"):
        load_order(tmp_path, 2)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no array",
        b"PK\x03\x04 an archive",
        gzip.compress(b"no array", mtime=0),
        gzip.compress(bytes(10_000_000), mtime=0),
        np.arange(3.0),
        np.array([VOCAB_SIZE], np.int32),
        np.array([-1], np.int32),
    ],
)
def test_replies_that_are_not_what_they_should_be_refuse_the_bundle(
    bundle: Path, content: bytes | NDArray[np.generic]
) -> None:
    """By name, before a token beyond the vocabulary reaches the graph."""
    if isinstance(content, bytes):
        (bundle / REPLIES_NAME).write_bytes(content)
    else:
        (bundle / REPLIES_NAME).unlink(missing_ok=True)
        np.save(bundle / OLDER_NAMES[REPLIES_NAME], content)
    with pytest.raises(ModelUnusableError, match=r"replies\.npy"):
        Engine.open(bundle, MANIFEST, EngineOptions(num_slots=1, max_draft_tokens=1))
