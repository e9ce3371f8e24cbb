"""Reward model: from thumbs to a number for any reply, by binary cross-entropy on the last real token.

Beside the thumbs it compares an authored good reply with a bad one to the same ask (`data.contrasts`), which says early
what few thumbs cannot. Thumbs decide: contrasts weigh less, and order replies without saying how many people like.
Left out against RLHF as published (Ouyang et al. 2022, section 3.4): people's comparisons, because a customer sees one
reply and rates it alone. Left out against ensembles as published (Coste et al. 2023): a trunk for each head.
Reads `examples.jsonl` and `base`, writes `reward_model` and `report/`. Not resumable: its result is kept.
"""

import copy
import logging
import math
import random
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from tqdm import tqdm

from model_store.contract.control_tokens import EOS_ID
from model_store.contract.tokenizer import Tokenizer
from training import distributed
from training.config import RewardConfig, TrainingConfig
from training.data.contrasts import Contrast, Contrasts, ContrastTokens, tokens_of
from training.data.domain_pack import load_pack
from training.data.preferences import LEARNED_PREFERENCES_NAME, contrasts_of, read_preferences
from training.data.prompts import SPLITS, RatedExample, read_examples
from training.errors import DataNotFoundError
from training.evaluation.rewarding.composite import CompositeReward
from training.evaluation.rewarding.reliability_plot import save_reliability_plot
from training.evaluation.rewarding.score_report import ScoreReport, report_scores, score_table
from training.optimization import StepGuard, build_adamw, flat_then_linear
from training.precision import fast_matrices
from training.reformer.decoder import Sample
from training.reformer.heads import RewardModel, pad_right, score_batches, score_heads
from training.reformer.model import load_policy
from training.rlhf.estimators import log_loss
from training.rlhf.losses import pairwise_loss, weighted_bce
from training.workspace import StageResult, Workspace

STAGE = "reward_model"
_WEIGHT_DECAY = 0.01
_DECAY_SHARE = 0.9
_POOL_BATCHES = 8
REPORT_FOLDER = "report"
REPORT_NAME = "reward_model.txt"
_log = logging.getLogger("training")


def run(config: TrainingConfig, workspace: Workspace) -> StageResult:
    """Trains, calibrates and saves the reward model; reports it beside its baselines, and on contrasts kept back.

    Raises:
        DataNotFoundError: there is no curated feedback, or none of it is for training.
        InvalidFeedbackDataError: a row of it is malformed.
        InvalidDomainPackError: the authored pack is.
        DivergedError: the loss stopped being a number, again and again.
    """
    started = time.monotonic()
    base = load_policy(workspace.path("base"))
    tokenizer = Tokenizer.load(workspace.path("base") / "tokenizer.json")
    max_positions = int(base.config.max_position_embeddings)
    examples = read_examples(
        workspace.path("examples.jsonl"),
        tokenizer,
        max_positions=max_positions,
        correction_weight=config.feedback.correction_weight,
    )
    splits = {split: [e for e in examples if e.split == split] for split in SPLITS}
    if not splits["train"]:
        raise DataNotFoundError(
            what="Feedback to train on", path=workspace.path("examples.jsonl"), remedy="Collect more."
        )
    torch.manual_seed(config.seed)
    model = RewardModel(base, config.reward.num_heads)
    contrasts = Contrasts(load_pack(config.corpus.domain_pack))
    preferred = contrasts_of(
        read_preferences(workspace.path(LEARNED_PREFERENCES_NAME)),
        tokenizer,
        max_positions=max_positions,
        but_not={example.prompt.messages for split in SPLITS[1:] for example in splits[split]},
    )
    by_epoch = [
        tokens_of(drawn, tokenizer, max_positions=max_positions) + preferred
        for drawn in draw_by_epoch(contrasts, config.reward, num_ratings=len(splits["train"]), seed=config.seed)
    ]
    unseen = tokens_of(contrasts.unseen(str(config.seed)), tokenizer, max_positions=max_positions)
    best_epoch = train_reward_model(model, splits, by_epoch, config, workspace.path("tensorboard") / STAGE)
    calibrate(model, splits["validation"])
    if distributed.is_first():
        model.save(workspace.path(STAGE))
    reports = {split: report_scores(model, splits["train"], splits[split], config.reward) for split in SPLITS[1:]}
    terms = _terms_by_thumb(CompositeReward(model, tokenizer, config), splits["validation"] + splits["test"])
    if distributed.is_first():
        _write_report(reports, terms, workspace)
    return {
        "num_examples": {split: len(rows) for split, rows in splits.items()},
        "best_epoch": best_epoch,
        "temperature": float(model.temperature),
        **{split: report.model_dump(mode="json") if report else {} for split, report in reports.items()},
        "terms_by_thumb": terms,
        "num_contrasts": {"train": sum(map(len, by_epoch)), "unseen": len(unseen), "preferred": len(preferred)},
        "unseen_contrasts": _contrast_report(model, unseen),
        "seconds": round(time.monotonic() - started, 1),
    }


def draw_by_epoch(contrasts: Contrasts, config: RewardConfig, *, num_ratings: int, seed: int) -> list[list[Contrast]]:
    """New contrasts for every epoch, in proportion to the ratings: a pair is one lesson, as a rating is one."""
    count = round(num_ratings * config.contrast_share / (1 - config.contrast_share))
    num_epochs = max(config.num_epochs, math.ceil(config.min_steps / math.ceil(num_ratings / config.batch_size)))
    return [contrasts.draw(count, f"{seed}-{epoch}") for epoch in range(1, num_epochs + 1)]


def train_reward_model(
    model: RewardModel,
    splits: dict[str, list[RatedExample]],
    contrasts_by_epoch: Sequence[Sequence[ContrastTokens]],
    config: TrainingConfig,
    log_directory: Path,
) -> int:
    """Leaves the weights of the best epoch by validation loss in the model; returns its number, from 1.

    Raises DivergedError.
    """
    reward, train = config.reward, splits["train"]
    held_out = splits["validation"] or train
    lessons = _lessons(train, reward.num_heads, config.seed)
    optimizer = build_adamw(model.parameters(), reward.lr, weight_decay=_WEIGHT_DECAY)
    guard = StepGuard(model, [optimizer], stage=STAGE)
    best = _Best(float("inf"), 0, {})
    num_steps = len(contrasts_by_epoch) * math.ceil(len(train) / reward.batch_size)
    step = 0
    progress = tqdm(total=num_steps, desc=STAGE, file=sys.stderr, disable=not distributed.is_first())
    with distributed.Curves(log_directory) as writer, progress:
        for epoch, contrasts in enumerate(contrasts_by_epoch, 1):
            model.train()
            batches = _batches(lessons, reward, seed=f"{config.seed}-{epoch}")
            for number, batch in enumerate(batches):
                with fast_matrices():
                    loss = _loss(model, batch, contrasts[number :: len(batches)], reward.contrast_share)
                    loss = distributed.backward(loss, model.parameters())
                guard.step(loss, number=step, lr_factor=flat_then_linear(step, num_steps, _DECAY_SHARE))
                writer.add_scalar("loss/train", float(loss), step)
                progress.update()
                step += 1
            scores = score_heads(model, [example.sequence for example in held_out])
            held_out_loss = float(weighted_bce(scores.mean(-1), *_targets(held_out)))
            writer.add_scalar("loss/validation", held_out_loss, step)
            writer.add_scalar("spread/validation", float(scores.std(-1, correction=0).mean()), step)
            if held_out_loss < best.loss:
                best = _Best(held_out_loss, epoch, copy.deepcopy(model.state_dict()))
    if best.weights:
        model.load_state_dict(best.weights)
    return best.epoch


@dataclass(frozen=True, slots=True)
class _Lesson:
    """A rating, and how often each head's bootstrap sample holds it, [K]."""

    example: RatedExample
    num_draws: Tensor


def _lessons(examples: Sequence[RatedExample], num_heads: int, seed: int) -> list[_Lesson]:
    """Poisson's draws, which is a bootstrap sample read one by one (Oza and Russell 2001); a single head has all."""
    if num_heads == 1:
        return [_Lesson(example, torch.ones(1)) for example in examples]
    draws = torch.poisson(torch.ones(len(examples), num_heads), torch.Generator().manual_seed(seed))
    return [_Lesson(example, row) for example, row in zip(examples, draws, strict=True)]


@dataclass(frozen=True)
class _Best:
    loss: float
    epoch: int
    weights: dict[str, Tensor]


def _batches(lessons: Sequence[_Lesson], config: RewardConfig, seed: str) -> list[list[_Lesson]]:
    """Shuffled batches of similar lengths: sorted inside pools of a few batches, so that little is padding."""
    generator = random.Random(seed)
    shuffled = generator.sample(lessons, len(lessons))
    pool_size = config.batch_size * _POOL_BATCHES
    batches = []
    for start in range(0, len(shuffled), pool_size):
        pool = sorted(shuffled[start : start + pool_size], key=lambda lesson: len(lesson.example.sequence))
        batches += [pool[first : first + config.batch_size] for first in range(0, len(pool), config.batch_size)]
    generator.shuffle(batches)
    return batches


def _loss(
    model: RewardModel, batch: Sequence[_Lesson], contrasts: Sequence[ContrastTokens], contrast_share: float
) -> Tensor:
    """The thumbs' loss, each head's on its own sample, and where there are contrasts theirs: a mean by share.

    Contrasts are compared in pairs, not labelled up and down. As labels, half of them good, they would pull every score
    towards one half, whatever share of replies people like; a difference leaves that to the thumbs. An author's idea
    of good is not a customer's: the share stays below one half, so that where they differ people win.
    Of both it is this process's part; a last batch may be too small for some to have one.
    """
    own = [batch[place] for place in distributed.own_rows(len(batch))]
    own_contrasts = [contrasts[place] for place in distributed.own_rows(len(contrasts))]
    sequences = [lesson.example.sequence for lesson in own]
    sequences += [pair.good for pair in own_contrasts] + [pair.bad for pair in own_contrasts]
    scores = model(*pad_right(sequences)) if sequences else None
    loss = torch.zeros(())
    if own and scores is not None:
        is_up, weights = _targets([lesson.example for lesson in own])
        rated, head_weights = scores[: len(own)], weights[:, None] * _draws(own)
        everything = float((_targets([lesson.example for lesson in batch])[1][:, None] * _draws(batch)).sum())
        part = distributed.part_of_mean(float(head_weights.sum()), everything)
        loss = part * weighted_bce(rated, is_up[:, None].expand_as(rated), head_weights)
    if contrasts:
        loss = (1 - contrast_share) * loss
    if own_contrasts and scores is not None:
        good, bad = scores[len(own) :].tensor_split(2)
        part = distributed.part_of_mean(len(own_contrasts), len(contrasts))
        loss = loss + contrast_share * part * pairwise_loss(good, bad)
    return loss


def _draws(lessons: Sequence[_Lesson]) -> Tensor:
    return torch.stack([lesson.num_draws for lesson in lessons])


def _targets(examples: Sequence[RatedExample]) -> tuple[Tensor, Tensor]:
    return torch.tensor([e.is_up for e in examples]), torch.tensor([e.weight for e in examples], dtype=torch.float32)


def calibrate(model: RewardModel, validation: Sequence[RatedExample]) -> None:
    """Sets the temperature that fits the validation split best (Guo et al. 2017); 1 when it lacks one kind of thumb."""
    is_up = [example.is_up for example in validation]
    if all(is_up) or not any(is_up):
        return
    scores = score_batches(model, [example.sequence for example in validation]).numpy()
    found = minimize_scalar(lambda log_t: log_loss(scores / np.exp(log_t), is_up), bounds=(-1.5, 1.5), method="bounded")
    model.temperature.fill_(float(np.exp(found.x)))


def _terms_by_thumb(reward: CompositeReward, examples: Sequence[RatedExample]) -> dict[str, dict[str, float]]:
    """Means of every term of the reward over held-out replies that people liked, and over those they did not.

    A penalty that is larger on the liked ones works against people.
    """
    found = {}
    for thumb in ("up", "down"):
        rated = [example for example in examples if example.is_up == (thumb == "up")]
        samples = [Sample(e.completion_ids, (), e.completion_ids[-1] == EOS_ID) for e in rated]
        terms = [asdict(each) for each in reward([example.prompt for example in rated], samples)] if rated else []
        if terms:
            found[thumb] = {name: fmean(each[name] for each in terms) for name in terms[0]}
    return found


def _write_report(
    reports: dict[str, ScoreReport | None], terms: dict[str, dict[str, float]], workspace: Workspace
) -> None:
    """The table for people, on the log and as a file, and the reliability plot of the test split."""
    folder = workspace.path(REPORT_FOLDER)
    folder.mkdir(exist_ok=True)
    table = score_table(reports, terms)
    workspace.write_text(f"{REPORT_FOLDER}/{REPORT_NAME}", table + "\n")
    for line in table.splitlines():
        _log.info(line)
    if report := reports["test"]:
        lines = {"as learned": report.uncalibrated, "with temperature": report.model.reliability}
        lines["bag of words"] = report.bag_of_words.reliability
        save_reliability_plot(lines, folder, title=f"Reward model, {report.num_replies} replies of the test split")


def _contrast_report(model: RewardModel, contrasts: Sequence[ContrastTokens]) -> dict[str, dict[str, float]]:
    """By reason, and of all: in which share of contrasts the good reply scores higher (a tie is half), of how many."""
    good, bad = (score_batches(model, side) for side in ([c.good for c in contrasts], [c.bad for c in contrasts]))
    wins = ((good > bad) + 0.5 * (good == bad)).tolist()
    by_reason: dict[str, list[float]] = defaultdict(list)
    for contrast, win in zip(contrasts, wins, strict=True):
        by_reason["all"].append(win)
        by_reason[contrast.reason].append(win)
    return {reason: {"accuracy": sum(won) / len(won), "num": len(won)} for reason, won in sorted(by_reason.items())}
