"""The whole circle, unattended: customers talk and rate, a training run learns, the service takes it up.

`make demo`. Everything is real but the customers (`simulated_customers`). Thumbs-up is measured before and after on
asks that neither training nor the gate ever sees, without noise. Exit codes: 0 the version moved, otherwise the run's
own, or 1 where that was 0.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from tqdm import tqdm

from model_store.contract.facts import FactSheet
from model_store.digest import short
from training.config import load_config
from training.data.domain_pack import load_pack
from training.evaluation.demo.served_bot import ServedReply, ServiceClient, running_service
from training.evaluation.demo.simulated_customers import Ask, Customers, Taste, with_noise
from training.evaluation.figures import Figure, paired_difference, share
from training.evaluation.judge import pack_judge

_NOISE = 0.1
_NUM_RATERS = 120
_NUM_THREADS = 8
_PROBE_PAUSE_SECONDS = 0.25
_MOVE_SECONDS = 60.0
_FACTS_FILE = Path("service/facts.yaml")


@dataclass(frozen=True)
class Learning:
    """What happened beside the service while a run learned; `new_digest` is None when no other version answered."""

    exit_code: int
    message: str
    new_digest: str | None
    seconds: float
    num_requests: int
    num_failed: int


@dataclass(frozen=True)
class Circle:
    """What came out. Thumbs are by prompt, in the same order before and after."""

    before: list[bool]
    after: list[bool]
    base_digest: str
    num_ratings: int
    num_up: int
    learning: Learning

    def figures(self) -> dict[str, Any]:
        """The figures that are printed."""
        difference = paired_difference([float(up) for up in self.before], [float(up) for up in self.after])
        return {
            "thumbs_up_before": share(self.before).model_dump(),
            "thumbs_up_after": share(self.after).model_dump(),
            "difference": difference.model_dump(),
            "num_prompts": len(self.before),
            "num_ratings": self.num_ratings,
            "rated_up": self.num_up,
            "base_digest": self.base_digest,
            "new_digest": self.learning.new_digest,
            "training_seconds": round(self.learning.seconds, 1),
            "requests_while_training": self.learning.num_requests,
            "failed_requests": self.learning.num_failed,
        }


class Prober:
    """Keeps asking while training runs: which version answers, and does any request fail?"""

    def __init__(self, client: ServiceClient, asks: Sequence[Ask]) -> None:
        self.digests: set[str] = set()
        self.num_requests = 0
        self.num_failed = 0
        self._client = client
        self._asks = asks
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begins to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after the request that is being made."""
        self._is_over.set()
        self._thread.join()

    def wait_for_other_than(self, digest: str, seconds: float) -> str | None:
        """The digest of the first other version that answers, or None after `seconds`."""
        deadline = time.monotonic() + seconds
        while not (others := self.digests - {digest}) and time.monotonic() < deadline:
            time.sleep(0.1)
        return min(others, default=None)

    def _run(self) -> None:
        while not self._is_over.wait(_PROBE_PAUSE_SECONDS):
            number = self.num_requests
            self.num_requests += 1
            try:
                reply = self._client.ask(
                    self._asks[number % len(self._asks)].text,
                    conversation_id=f"probe-{number}",
                    user="probe",
                    seed=number,
                )
                self.digests.add(reply.digest)
            except httpx.HTTPError:
                self.num_failed += 1


class Demo:
    """A service and its customers. Results are in the order of the asks, whatever the threads do."""

    def __init__(self, client: ServiceClient, customers: Customers, taste: Taste) -> None:
        self._client = client
        self._customers = customers
        self._taste = taste

    def talk(self, asks: Sequence[Ask], name: str) -> list[ServedReply]:
        """Asks everything once, several customers at a time."""

        def ask(number: int) -> ServedReply:
            conversation = f"{name}-{number}"
            user = f"customer-{number % _NUM_RATERS}"
            return self._client.ask(asks[number].text, conversation_id=conversation, user=user, seed=number)

        with ThreadPoolExecutor(_NUM_THREADS) as threads:
            return list(tqdm(threads.map(ask, range(len(asks))), total=len(asks), desc=name, unit="reply"))

    def measure(self, asks: Sequence[Ask], name: str) -> list[bool]:
        """What customers truly think of the replies, prompt by prompt."""
        replies = self.talk(asks, name)
        return [self._taste.likes(ask, reply.text) for ask, reply in zip(asks, replies, strict=True)]

    def collect_ratings(self, num_ratings: int) -> int:
        """Customers talk and rate; a tenth of the thumbs is noise. Gives the number of thumbs up."""
        asks = self._customers.draw(num_ratings)
        replies = self.talk(asks, "ratings")
        noise = random.Random(0)
        thumbs = [
            with_noise(self._taste.likes(ask, reply.text), noise, _NOISE)
            for ask, reply in zip(asks, replies, strict=True)
        ]
        with ThreadPoolExecutor(_NUM_THREADS) as threads:
            rated = threads.map(
                lambda pair: self._client.rate(pair[0], is_up=pair[1]), zip(replies, thumbs, strict=True)
            )
            list(tqdm(rated, total=len(thumbs), desc="thumbs", unit="thumb"))
        return sum(thumbs)


def run_circle(options: argparse.Namespace, root: Path) -> Circle | Learning:
    """The circle, or what happened instead when no new version came of it."""
    pack_name = load_config(options.config).corpus.domain_pack
    customers = Customers(load_pack(pack_name), seed=options.seed)
    taste = Taste(pack_judge(pack_name), FactSheet.load(options.facts))
    with running_service(root / "data", root / "service.log") as client:
        demo = Demo(client, customers, taste)
        asks = customers.held_out(options.prompts)
        base_digest = demo.talk(asks[:1], "hello")[0].digest
        before = demo.measure(asks, "before")
        num_up = demo.collect_ratings(options.ratings)
        learning = learn(client, customers.draw(100), base_digest, options.config, root)
        if learning.new_digest is None:
            return learning
        after = demo.measure(asks, "after")
    return Circle(before, after, base_digest, options.ratings, num_up, learning)


def learn(client: ServiceClient, asks: Sequence[Ask], base_digest: str, config: Path, root: Path) -> Learning:
    """Trains while customers go on asking, until another version answers them."""
    prober = Prober(client, asks)
    prober.start()
    started_at = time.monotonic()
    try:
        exit_code, outcome = train(config, root)
        seconds = time.monotonic() - started_at
        is_published = exit_code == 0 and "publish" in outcome
        new_digest = prober.wait_for_other_than(base_digest, _MOVE_SECONDS) if is_published else None
    finally:
        prober.stop()
    message = str(outcome.get("message", "The training run failed."))
    return Learning(exit_code, message, new_digest, seconds, prober.num_requests, prober.num_failed)


def train(config: Path, root: Path) -> tuple[int, dict[str, Any]]:
    """`python -m training run` beside the running service; its log goes to stderr. Gives exit code and results."""
    command = [sys.executable, "-m", "training", "run", "--json", "--config", str(config)]
    command += ["--database-url", f"sqlite:///{root / 'data' / 'rejoinder.db'}"]
    command += ["--model-store", str(root / "data" / "models"), "--workspace", str(root / "run")]
    finished = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    return finished.returncode, json.loads(finished.stdout or b"{}")


def print_table(circle: Circle, seconds: float) -> None:
    """The figures for people."""
    figures = circle.figures()
    before, after, difference = (
        Figure.model_validate(figures[name]) for name in ("thumbs_up_before", "thumbs_up_after", "difference")
    )
    rows = [
        ("version", short(circle.base_digest), short(circle.learning.new_digest or "")),
        (f"thumbs up on {len(circle.before)} other prompts", _percent(before), _percent(after)),
        ("difference (paired, 95 %)", "", _percent(difference, sign="+")),
        ("ratings collected (up)", f"{circle.num_ratings} ({circle.num_up})", ""),
        ("training", "", f"{circle.learning.seconds:.0f} s"),
        ("requests while training (failed)", "", f"{circle.learning.num_requests} ({circle.learning.num_failed})"),
        ("everything", "", f"{seconds:.0f} s"),
    ]
    print(f"{'':38}{'before':>24}{'after':>24}")
    for name, left, right in rows:
        print(f"{name:38}{left:>24}{right:>24}")


def _percent(figure: Figure, sign: str = "") -> str:
    return f"{figure.value:{sign}.1%} [{figure.low:{sign}.1%}, {figure.high:{sign}.1%}]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demo in a fresh directory, which is removed at the end unless it was named."""
    options = _parser().parse_args(arguments)
    started_at = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rejoinder-demo-") as temporary:
        root = options.directory or Path(temporary)
        (root / "data").mkdir(parents=True, exist_ok=True)
        outcome = run_circle(options, root)
    seconds = time.monotonic() - started_at
    if isinstance(outcome, Learning):
        print(f"No new version answers: {outcome.message}", file=sys.stderr)
        failure = {"exit_code": outcome.exit_code, "message": outcome.message, "failed_requests": outcome.num_failed}
        print(json.dumps({**failure, "seconds": round(seconds, 1)}))
        return outcome.exit_code or 1
    if not options.json:
        print_table(outcome, seconds)
    print(json.dumps({**outcome.figures(), "seconds": round(seconds, 1)}))
    return 1 if outcome.learning.num_failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluation.demo", description="Chat, thumb, learn, serve."
    )
    parser.add_argument("--ratings", type=int, default=2000, help="replies that the customers rate")
    parser.add_argument("--prompts", type=int, default=300, help="other prompts to measure on, before and after")
    parser.add_argument("--config", type=Path, default=Path("training/configs/small.yaml"))
    parser.add_argument("--facts", type=Path, default=_FACTS_FILE, help="the facts file that the service uses")
    parser.add_argument("--directory", type=Path, help="where to work and leave everything; default: a temporary one")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    return parser
