"""The decision about a candidate: every way it can go, and how often it goes wrong when asked all the time."""

import random
from collections.abc import Sequence
from dataclasses import replace

from model_store.shares import Count
from training.canary.evidence import VersionEvidence, Vote
from training.canary.judge import Verdict, judge
from training.config import CanaryConfig

RULES = CanaryConfig()


def version(thumbs: Sequence[bool], **changes: object) -> VersionEvidence:
    """A version with these thumbs, one a second, and nothing else that is remarkable."""
    votes = tuple(
        Vote(is_up, f"2026-01-01T{n // 3600:02}:{n // 60 % 60:02}:{n % 60:02}") for n, is_up in enumerate(thumbs)
    )
    num = len(votes)
    evidence = VersionEvidence("a" * 64, votes, num_completions=num, unsafe=Count(0, num), latency_ms=100.0)
    return replace(evidence, **changes)  # type: ignore[arg-type]


def mixed(num_up: int, num_down: int) -> list[bool]:
    """Thumbs of both kinds, evenly mixed."""
    total = num_up + num_down
    return [(number + 1) * num_up // total > number * num_up // total for number in range(total)]


def test_a_version_that_people_clearly_like_better_is_promoted() -> None:
    """180 of 200 against 120 of 200; the reason has the difference with its bounds."""
    judgement = judge(version(mixed(120, 80)), version(mixed(180, 20)), RULES)
    assert judgement.verdict is Verdict.PROMOTE
    assert "+30.0%" in judgement.reason and judgement.difference.low > 0


def test_a_version_that_people_clearly_like_less_is_rolled_back() -> None:
    """The same figures the other way round."""
    judgement = judge(version(mixed(180, 20)), version(mixed(120, 80)), RULES)
    assert judgement.verdict is Verdict.ROLL_BACK
    assert "-30.0%" in judgement.reason


def test_while_thumbs_do_not_tell_the_judge_waits_and_says_how_many_are_missing() -> None:
    """Without any, for the planned share; with some, fewer than before."""
    empty = judge(version([]), version([]), RULES)
    some = judge(version(mixed(63, 27)), version(mixed(7, 3)), RULES)
    assert (empty.verdict, some.verdict) == (Verdict.WAIT, Verdict.WAIT)
    assert empty.missing.always_valid > some.missing.always_valid > 1000


def test_few_ratings_promote_nothing_however_good() -> None:
    """20 of 20 against 0 of 100 is clear, and still not enough."""
    judgement = judge(version(mixed(0, 100)), version([True] * 20), RULES)
    assert judgement.verdict is Verdict.WAIT and "20 ratings" in judgement.reason


def test_slower_or_less_safe_is_not_promoted() -> None:
    """Liked better, but 30 % slower, or with more broken rules than chance brings: wait. Surely more: roll back."""
    stable, liked = version(mixed(120, 80)), version(mixed(180, 20))
    slow = judge(stable, replace(liked, latency_ms=130.0), RULES)
    assert slow.verdict is Verdict.WAIT and "1.30 times" in slow.reason
    doubtful = judge(stable, replace(liked, unsafe=Count(4, 200)), RULES)
    assert doubtful.verdict is Verdict.WAIT and "4 of 200" in doubtful.reason
    unsafe = judge(stable, replace(liked, unsafe=Count(30, 200)), RULES)
    assert unsafe.verdict is Verdict.ROLL_BACK and "30 of 200" in unsafe.reason


def test_a_surge_of_thumbs_down_rolls_back_a_version_that_was_liked() -> None:
    """Good for 500 ratings, then 40 of 50 down: all in all not worse, but the last block by itself is."""
    stable = version(mixed(385, 165))
    before = judge(stable, version(mixed(375, 125)), RULES)
    after = judge(stable, version([*mixed(375, 125), *mixed(10, 40)]), RULES)
    assert before.verdict is Verdict.WAIT
    assert after.difference.high > 0
    assert after.verdict is Verdict.ROLL_BACK and "surge" in after.reason and "10 of 50" in after.reason


def test_a_bad_day_of_both_versions_is_no_surge() -> None:
    """The block is compared with the stable version's votes of the same time, not of the time before."""
    both = [*mixed(375, 125), *mixed(10, 40)]
    assert judge(version(both), version(both), RULES).verdict is Verdict.WAIT


def test_a_negative_gain_lets_an_equal_version_through_and_a_positive_one_drops_it() -> None:
    """1,500 ratings each at 70 %: good enough where ten points less are, not where ten points more are asked for."""
    same = version(mixed(1050, 450))
    for min_gain, verdict in ((-0.1, Verdict.PROMOTE), (0.0, Verdict.WAIT), (0.1, Verdict.ROLL_BACK)):
        assert judge(same, same, CanaryConfig(min_gain=min_gain)).verdict is verdict


def test_asked_all_the_time_about_equal_versions_it_is_wrong_no_more_often_than_alpha() -> None:
    """60 canaries of 400 ratings, judged after every tenth: promoted at most alpha / 2, rolled back at most alpha."""
    generator = random.Random(11)
    rules = CanaryConfig(alpha=0.2, surge_ratings=25)
    verdicts = []
    for _ in range(60):
        votes = [(generator.random() < 0.3, generator.random() < 0.7) for _ in range(400)]
        sides = [[(n, is_up) for n, (is_new, is_up) in enumerate(votes) if is_new is side] for side in (False, True)]
        verdict = Verdict.WAIT
        for num_seen in range(20, 401, 10):
            stable, candidate = (
                version([], votes=tuple(Vote(is_up, f"{n:04}") for n, is_up in side if n < num_seen)) for side in sides
            )
            verdict = judge(stable, candidate, rules).verdict
            if verdict is not Verdict.WAIT:
                break
        verdicts.append(verdict)
    assert verdicts.count(Verdict.PROMOTE) <= 0.1 * 60
    assert verdicts.count(Verdict.ROLL_BACK) <= 0.2 * 60
