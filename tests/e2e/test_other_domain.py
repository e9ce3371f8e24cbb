"""Another domain, from its folder to a served reply: no line of code knows the card desk."""

from pathlib import Path
from typing import Any

import httpx
import yaml

from model_store.contract.tokenizer import Tokenizer
from tests.e2e.tiny_loop import ROOT, running_loop
from training.data.domain_pack import PACKS_DIRECTORY, load_pack

CONFIG = ROOT / "training" / "configs" / "card_desk_tiny.yaml"
FACTS, PLAN_RULES = (PACKS_DIRECTORY / "card_desk" / name for name in ("facts.yaml", "plan_rules.yaml"))


def test_a_model_of_another_domain_is_trained_and_served(tmp_path: Path) -> None:
    """The bundle plans what the pack's authors planned; the service speaks the bank's words and fills in its facts."""
    settings = {
        "SERVICE_FACTS_FILE": str(FACTS),
        "SERVICE_PLAN_RULES_FILE": str(PLAN_RULES),
        "SERVICE_MIN_PLAN_CONFIDENCE": "1",
    }
    with running_loop(tmp_path, CONFIG, settings) as loop:
        plans = Tokenizer.load(tmp_path / "base" / "bundle" / "tokenizer.json").plans
        assert set(plans) == set(load_pack("card_desk").plans)
        messages = [{"role": "user", "content": "I lost my card"}]
        question = answer(loop.url, messages)
        messages += [question["message"], {"role": "user", "content": "you don't understand"}]
        handover = answer(loop.url, messages)
    assert question["plan"] in plans and question["rule"] == "unsure"
    assert any(topic["en"] in question["message"]["content"] for topic in rules()["topics"].values())
    assert handover["rule"] == "hand_over"
    assert yaml.safe_load(FACTS.read_text())["SUPPORT_PHONE"] in handover["message"]["content"]


def answer(url: str, messages: list[dict[str, str]]) -> dict[str, Any]:
    """The first choice for a conversation."""
    body = {"model": "rejoinder", "messages": messages, "max_completion_tokens": 24}
    response = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=30).raise_for_status()
    choice: dict[str, Any] = response.json()["choices"][0]
    return choice


def rules() -> dict[str, dict[str, dict[str, str]]]:
    """The bank's own plan rules."""
    found: dict[str, dict[str, dict[str, str]]] = yaml.safe_load(PLAN_RULES.read_text(encoding="utf-8"))
    return found
