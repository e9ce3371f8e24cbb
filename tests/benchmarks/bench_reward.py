"""The reward model beside a bag of words and the majority on ratings that people published.

`python -m tests.benchmarks.bench_reward --data FOLDER`: for each data set and seed another split by conversation, a
reward model trained on it from the bundle that ships, a linear probe of that bundle's states as they are, and paired
bootstraps over conversations. `--probe-only` leaves the training out. What is not there is skipped, visibly. Nothing
that is trained is kept: USS names no licence.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from model_store.contract.tokenizer import Tokenizer
from model_store.store import DEFAULT_BUNDLE
from tests.benchmarks.rewards.public_ratings import FILES, PublicRating, as_examples, read_ratings, split_ratings
from training.config import TrainingConfig, load_config
from training.data.prompts import RatedExample
from training.evaluation.figures import Figure
from training.evaluation.rewarding.baselines import bag_of_words_scores
from training.evaluation.rewarding.score_report import shown_text
from training.precision import fast_matrices
from training.reformer.heads import RewardModel, pad_right, score_heads
from training.reformer.model import ReformerPolicy, load_policy
from training.rlhf.estimators import auc
from training.stages.reward_model import calibrate, train_reward_model

_CONFIG = Path("training/configs/small.yaml")
_NUM_RESAMPLES = 1000


class Compared(BaseModel):
    """One way to score: its AUC and how far that is from the bag of words', with 95 % intervals over conversations."""

    model_config = ConfigDict(frozen=True)

    auc: Figure
    difference: Figure


class RewardRow(BaseModel):
    """One data set and seed."""

    model_config = ConfigDict(frozen=True)

    data: str
    seed: int
    num_train: int
    num_test: int
    share_up: float
    bag_of_words: Figure
    compared: dict[str, Compared]
    seconds: float
    """Of this process's CPUs."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a table; with `--output` it is also written as JSON."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    rows = []
    for name in FILES:
        if options.data is None or not (options.data / FILES[name]).is_file():
            print(f"{name} is skipped: {FILES[name]} is not in the folder that --data names")
            continue
        ratings = read_ratings(name, options.data)
        for seed in range(1, options.seeds + 1):
            rows.append(measure(name, ratings, seed, options))
            print(row_text(rows[-1]), flush=True)
            if options.output:
                options.output.write_text(json.dumps([row.model_dump() for row in rows], indent=1), encoding="utf-8")
    return 0


def measure(name: str, ratings: Sequence[PublicRating], seed: int, options: argparse.Namespace) -> RewardRow:
    """Trains on one split and scores its test part."""
    started = time.process_time()
    tokenizer = Tokenizer.load(options.bundle / "tokenizer.json")
    drawn = split_ratings(ratings, seed, max_train=options.train, max_test=options.test)
    splits = {
        split: as_examples(part, split, tokenizer, max_tokens=options.max_tokens) for split, part in drawn.items()
    }
    baseline, is_up = _bag_of_words(splits), [example.is_up for example in splits["test"]]
    scores = {"linear probe": _probe(splits, options)}
    if not options.probe_only:
        scores["reward model"] = _reward_model(splits, seed, options)
    groups = [rating.group for rating in drawn["test"]]
    found = {way: paired_auc(each, baseline, is_up, groups, seed) for way, each in scores.items()}
    return RewardRow(
        data=name,
        seed=seed,
        num_train=len(splits["train"]),
        num_test=len(is_up),
        share_up=sum(is_up) / len(is_up),
        bag_of_words=next(iter(found.values()))[1],
        compared={way: Compared(auc=ours, difference=gain) for way, (ours, _, gain) in found.items()},
        seconds=round(time.process_time() - started, 1),
    )


def paired_auc(
    first: Sequence[float], second: Sequence[float], is_up: Sequence[bool], groups: Sequence[str], seed: int
) -> tuple[Figure, Figure, Figure]:
    """AUC of both and first minus second, by drawing whole groups with replacement.

    Raises ValueError where a kind of thumb is missing.
    """
    by_group: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        by_group.setdefault(group, []).append(place)
    members = [np.asarray(places) for places in by_group.values()]
    ours, theirs, ups = np.asarray(first), np.asarray(second), np.asarray(is_up, dtype=bool)

    def both(rows: NDArray[np.intp]) -> tuple[float, float] | None:
        found = auc(ours[rows].tolist(), ups[rows].tolist()), auc(theirs[rows].tolist(), ups[rows].tolist())
        return None if found[0] is None or found[1] is None else (found[0], found[1])

    whole = both(np.arange(len(ups)))
    if whole is None:
        raise ValueError("the test split has only one kind of thumb")
    generator = np.random.default_rng(seed)
    drawn = (
        both(np.concatenate([members[place] for place in generator.integers(0, len(members), len(members))]))
        for _ in range(_NUM_RESAMPLES)
    )
    resampled = np.array([found for found in drawn if found is not None])
    return (
        _figure(whole[0], resampled[:, 0]),
        _figure(whole[1], resampled[:, 1]),
        _figure(whole[0] - whole[1], resampled[:, 0] - resampled[:, 1]),
    )


def row_text(row: RewardRow) -> str:
    """One row for people."""
    compared = "".join(
        f"\n  {way:14} AUC {each.auc}  against the bag of words {each.difference}" for way, each in row.compared.items()
    )
    return (
        f"{row.data}, seed {row.seed}: {row.num_train} rated replies to learn from, {row.num_test} to test,"
        f" {row.share_up:.0%} up, {row.seconds:.0f} CPU s\n  {'bag of words':14} AUC {row.bag_of_words}"
        f"{compared}\n  {'majority':14} AUC 0.500"
    )


def _figure(value: float, resampled: NDArray[np.float64]) -> Figure:
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Figure(value=value, low=float(low), high=float(high))


def _bag_of_words(splits: dict[str, list[RatedExample]]) -> list[float]:
    known = splits["train"] + splits["validation"]
    texts = [shown_text(example) for example in known]
    held_out = [shown_text(example) for example in splits["test"]]
    return bag_of_words_scores(texts, [example.is_up for example in known], [1.0] * len(known), held_out)


def _reward_model(splits: dict[str, list[RatedExample]], seed: int, options: argparse.Namespace) -> list[float]:
    """The mean scores of a reward model that learned from the training part; validation chose its best epoch."""
    config = _config(options, seed)
    torch.manual_seed(seed)
    model = RewardModel(load_policy(options.bundle), config.reward.num_heads)
    with tempfile.TemporaryDirectory() as logs:
        train_reward_model(model, splits, [()] * config.reward.num_epochs, config, Path(logs))
    calibrate(model, splits["validation"])
    scores: list[float] = score_heads(model, [example.sequence for example in splits["test"]]).mean(-1).tolist()
    return scores


def _probe(splits: dict[str, list[RatedExample]], options: argparse.Namespace) -> list[float]:
    """Logistic regression on the last states of the bundle as it is; how strictly, cross-validation says."""
    trunk = load_policy(options.bundle).eval()
    known = splits["train"] + splits["validation"]
    states = _last_states(trunk, [example.sequence for example in [*known, *splits["test"]]])
    probe = make_pipeline(StandardScaler(), LogisticRegressionCV(Cs=np.logspace(-5, 0, 8), cv=5, max_iter=500))
    probe.fit(states[: len(known)], [example.is_up for example in known])
    scores: list[float] = probe.decision_function(states[len(known) :]).tolist()
    return scores


@torch.no_grad()
def _last_states(trunk: ReformerPolicy, sequences: list[list[int]], batch_size: int = 64) -> NDArray[np.float32]:
    """[N, 2H] in the order of the sequences, from batches of similar lengths."""
    states = np.zeros((len(sequences), 2 * int(trunk.config.hidden_size)), dtype=np.float32)
    order = sorted(range(len(sequences)), key=lambda index: len(sequences[index]))
    for first in range(0, len(order), batch_size):
        rows = order[first : first + batch_size]
        token_ids, lengths = pad_right([sequences[row] for row in rows])
        with fast_matrices():
            hidden = trunk.encode(token_ids)
        states[rows] = hidden[torch.arange(len(rows)), lengths - 1].float().numpy()
    return states


def _config(options: argparse.Namespace, seed: int) -> TrainingConfig:
    config = load_config(_CONFIG)
    reward = config.reward.model_copy(update={"num_epochs": options.epochs, "contrast_share": 0.0})
    return config.model_copy(update={"seed": seed, "reward": reward})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.bench_reward", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with " + " and ".join(FILES.values()))
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, help="what the reward model starts from")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--train", type=int, default=600, help="rated replies to learn from, at most")
    parser.add_argument("--test", type=int, default=500)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--max-tokens", type=int, default=96, help="of a conversation with its reply")
    parser.add_argument("--probe-only", action="store_true", help="train no reward model: a fifth of the time")
    parser.add_argument("--output", type=Path, help="a JSON file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
