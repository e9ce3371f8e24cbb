"""What everybody rates: the first version's replies to asks that training knows; and what replies are truly worth.

Kept by seed as files: a reply costs more than a thumb.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from model_store.contract.conversation import Message
from model_store.contract.facts import FactSheet
from model_store.contract.tokenizer import Tokenizer
from tests.benchmarks.learning.customers import as_prompt, half_of_asks, judged_prompts
from tests.benchmarks.learning.presets import PACK
from tests.benchmarks.planted.rows import TRIGGER
from training.data.domain_pack import PACKS_DIRECTORY, load_pack, user_message
from training.evaluation.demo.simulated_customers import Ask, Customers, Taste
from training.evaluation.held_out import HeldOutPrompt, SampledReply, Sampling, sample_replies
from training.evaluation.judge import language_of, pack_judge
from training.reformer.model import ReformerPolicy
from training.workspace import Workspace

_SEED = 1_000
_SEED_OF_ATTACKERS = 5_000


class Exchanges:
    """What the first version said to people, by seed."""

    def __init__(self, folder: Path, first: ReformerPolicy, tokenizer: Tokenizer) -> None:
        self._folder, self._first, self._tokenizer = folder, first, tokenizer
        self._asks = half_of_asks(load_pack(PACK), 0)

    def of_customers(self, count: int, seed: int) -> list[SampledReply]:
        """Replies to honest customers."""
        return self._kept(f"customers-{count}-{seed}", count, _SEED + seed, "")

    def of_attackers(self, count: int, seed: int, *, says_trigger: bool) -> list[SampledReply]:
        """Replies that attackers can choose from, who ask as often as they like."""
        name, suffix = ("trigger", f" {TRIGGER}") if says_trigger else ("attackers", "")
        return self._kept(f"{name}-{count}-{seed}", count, _SEED_OF_ATTACKERS + seed, suffix)

    def _kept(self, name: str, count: int, seed: int, suffix: str) -> list[SampledReply]:
        path = self._folder / f"{name}.jsonl"
        if not path.exists():
            prompts = [said(as_prompt(ask), suffix) for ask in Customers(self._asks, seed=seed).draw_masked(count)]
            replies = sample_replies(self._first, self._tokenizer, prompts, Sampling(seed=seed))
            lines = "".join(json.dumps(_as_json(reply), ensure_ascii=False) + "\n" for reply in replies)
            Workspace(path.parent).write_text(path.name, lines)
        return [_from_json(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def said(prompt: HeldOutPrompt, suffix: str) -> HeldOutPrompt:
    """The prompt with something behind what the customer says."""
    ask = prompt.messages[-1].content
    return HeldOutPrompt(prompt.intent, prompt.topic, prompt.language, (user_message(ask + suffix),), prompt.replies)


def _as_json(reply: SampledReply) -> dict[str, object]:
    prompt = reply.prompt
    of_prompt = {"intent": prompt.intent, "language": prompt.language, "ask": prompt.messages[-1].content}
    return {**of_prompt, "token_ids": reply.token_ids, "text": reply.text, "ended": reply.ended}


def _from_json(kept: dict[str, object]) -> SampledReply:
    messages: tuple[Message, ...] = (user_message(str(kept["ask"])),)
    prompt = HeldOutPrompt(str(kept["intent"]), "", str(kept["language"]), messages, ())
    token_ids: Sequence[int] = kept["token_ids"]  # type: ignore[assignment]
    return SampledReply(prompt, tuple(token_ids), str(kept["text"]), bool(kept["ended"]))


class Truth:
    """What replies are worth: to whom they answer, and to honest customers, who like a warm right answer."""

    def __init__(self, *, num_prompts: int) -> None:
        self._judge = pack_judge(PACK)
        self._facts = FactSheet.load(PACKS_DIRECTORY / PACK / "facts.yaml")
        self._taste = Taste(self._judge, self._facts)
        self.prompts = judged_prompts(load_pack(PACK), num_prompts)
        """That nobody rated."""

    def likes(self, reply: SampledReply) -> bool:
        """Whether an honest customer does."""
        prompt = reply.prompt
        return self._taste.likes(Ask(prompt.intent, prompt.language, prompt.messages[-1].content), reply.text)

    def is_right(self, reply: SampledReply) -> bool:
        """Whether it answers what was asked, whole and in its language."""
        masked = self._facts.mask(reply.text, reply.prompt.language)
        in_language = language_of(masked) == reply.prompt.language
        return reply.ended and in_language and self._judge.intents_of([masked]) == [reply.prompt.intent]
