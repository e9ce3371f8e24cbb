"""The simulation of load: its pod against what can be computed by hand, its HPA against Kubernetes' rule."""

import json
from pathlib import Path

import pytest
import simpy

from service.chat.engine_worker import _PLACES_PER_SLOT
from tests.benchmarks.scale.__main__ import main
from tests.benchmarks.scale.fleet import Autoscaler, Autoscaling, Fleet
from tests.benchmarks.scale.people import Crowd, Habits, hold
from tests.benchmarks.scale.pod import PLACES_A_SLOT, Pod, Reply
from tests.benchmarks.scale.service_times import SAMPLE, MeasuredRow, ServiceTimes, calibrate, load_rows
from tests.benchmarks.scale.sizing import Growth, Promise, fewest_pods, steady, step_of_load

TIMES = ServiceTimes(
    machine="a machine", step_alone=0.002, step_base=0.001, step_row=0.001, first=((0.01,), (0.02,)), reply_tokens=(10,)
)


def ask(pod: Pod, tokens: int = 10, hear_seconds: float = 0.0) -> Reply:
    """A reply that a pod takes now."""
    reply = Reply(pod.environment.now, hear_seconds, 0.01, tokens, pod.environment.event())
    assert pod.take(reply)
    return reply


def test_a_lone_reply_takes_its_prompt_and_its_steps() -> None:
    """10 ms to the first token, then nine steps of 1 + 1 ms."""
    environment = simpy.Environment()
    reply = ask(Pod(environment, TIMES, num_slots=4))
    environment.run()
    assert reply.first_token_at == pytest.approx(0.01)
    assert reply.ended_at == pytest.approx(0.01 + 9 * 0.002)


def test_replies_share_steps_and_prompts_are_read_one_a_step() -> None:
    """The second prompt is read in a step that also makes the first one's token: 10 ms, then 1 + 1 + 10 ms."""
    environment = simpy.Environment()
    pod = Pod(environment, TIMES, num_slots=4)
    first, second = ask(pod), ask(pod)
    environment.run()
    assert second.first_token_at == pytest.approx(0.022)
    assert first.ended_at == pytest.approx(0.022 + 8 * 0.003)
    assert second.ended_at == pytest.approx(0.022 + 8 * 0.003 + 0.002)
    assert pod.engine_seconds == pytest.approx(second.ended_at or 0)


def test_requests_are_heard_one_by_one_while_the_engine_goes_on() -> None:
    """The second is heard 8 to 16 ms, while the first is read for 10 ms; the step under way ends before it is read."""
    environment = simpy.Environment()
    pod = Pod(environment, TIMES, num_slots=4)
    first, second = ask(pod, hear_seconds=0.008), ask(pod, hear_seconds=0.008)
    environment.run()
    assert first.first_token_at == pytest.approx(0.018)
    assert second.first_token_at == pytest.approx(0.018 + 0.002 + 0.01)
    assert pod.num_places_taken == 0
    assert pod.hearing_seconds == pytest.approx(0.016)


def test_a_full_pod_refuses_as_the_service_does() -> None:
    """As many places a slot as the real worker has."""
    assert PLACES_A_SLOT == _PLACES_PER_SLOT
    pod = Pod(simpy.Environment(), TIMES, num_slots=2)
    for _ in range(6):
        ask(pod)
    assert not pod.take(Reply(0.0, 0.0, 0.01, 1, pod.environment.event()))


def test_the_calibrated_pod_repeats_what_was_measured() -> None:
    """Tokens a second of one stream, of four and of sixteen, of the committed sample, within three hundredths."""
    machine, rows = load_rows(SAMPLE)
    times = calibrate(machine, rows, hold)
    for row in rows:
        simulated = hold(times, row.streams, row.num_conversations).tokens_per_second
        assert simulated == pytest.approx(row.tokens_per_second, rel=0.03), row.streams


def test_a_reply_that_is_guessed_ahead_alone_is_not_in_company() -> None:
    """Of a service that hears beside its engine and is twice as fast alone, three rows give back what made them."""
    steps = {"step_alone": 0.0006, "step_base": 0.0005, "step_row": 0.0007, "hear_share": 0.8}
    made_of = TIMES.model_copy(update={**steps, "first": ((0.015,), (0.03,)), "reply_tokens": (20, 30, 40, 50)})
    rows = []
    for streams in (1, 4, 16):
        held = hold(made_of, streams, 24)
        firsts = made_of.first if streams == 1 else ((held.first_token_seconds,),) * 2
        row = MeasuredRow(
            streams=streams,
            num_slots=64,
            num_conversations=24,
            tokens_per_second=held.tokens_per_second,
            first_token_ms=1000 * firsts[0][0],
            second_turn_first_token_ms=1000 * firsts[1][0],
            gap_ms_p50=1,
            reply_tokens=made_of.reply_tokens,
        )
        rows.append(row)
    found = calibrate("a machine", rows, hold)
    assert found.step_alone == pytest.approx(made_of.step_alone, rel=0.1)
    assert found.hear_share == pytest.approx(made_of.hear_share, abs=0.11)
    assert found.step_row == pytest.approx(made_of.step_row, rel=0.25)
    for row in rows[1:]:
        simulated = hold(found, row.streams, 24).tokens_per_second
        assert simulated == pytest.approx(row.tokens_per_second, rel=0.01), row.streams


def test_prompts_take_as_long_as_some_prompt_took_alone() -> None:
    """All that one stream measured, not their median: one in four is slow here, and the simulation has as many."""
    firsts = ((10.0, 10.0, 10.0, 90.0), (20.0,))
    rows = [
        MeasuredRow(
            streams=streams,
            num_slots=64,
            tokens_per_second=speed,
            first_token_ms=10,
            second_turn_first_token_ms=20,
            gap_ms_p50=1,
            reply_tokens=(10,),
            first_tokens_ms=firsts,
        )
        for streams, speed in ((1, 200.0), (16, 400.0))
    ]
    times = calibrate("a machine", rows, hold)
    assert times.mean_first_token_seconds == pytest.approx((0.03, 0.02))
    environment = simpy.Environment()
    pod = Pod(environment, times, num_slots=4)
    crowd = Crowd(environment, times, lambda: pod)
    environment.process(crowd.arrive(Habits(turns=1), lambda _: 0.5, 2000))
    environment.run(2000)
    slow = sum((one.first_token_seconds or 0) > 0.08 for one in crowd.heard) / len(crowd.heard)
    assert 0.2 < slow < 0.3


def test_a_file_without_one_stream_and_many_is_refused(tmp_path: Path) -> None:
    """What `make bench OPTIONS=--quick` of the engines alone writes is not enough."""
    (tmp_path / "bench.json").write_text(json.dumps({"machine": "m", "http": []}))
    with pytest.raises(ValueError, match="--parts http"):
        load_rows(tmp_path / "bench.json")


def test_waiting_is_that_of_the_textbook() -> None:
    """Replies of one token that are read one at a time are M/D/1: at half load a mean wait of half a service time."""
    environment = simpy.Environment()
    times = TIMES.model_copy(update={"first": ((0.01,),), "reply_tokens": (1,)})
    pod = Pod(environment, times, num_slots=64)
    crowd = Crowd(environment, times, lambda: pod)
    environment.process(crowd.arrive(Habits(turns=1), lambda _: 50.0, 200))
    environment.run(200)
    mean = sum(one.seconds for one in crowd.heard) / len(crowd.heard)
    assert mean == pytest.approx(0.015, rel=0.05)


def test_more_people_need_more_pods_and_wait_no_longer_than_promised() -> None:
    """One pod fewer would break the promise."""
    promise = Promise(first_token_seconds=0.2)
    found = fewest_pods(TIMES, Habits(turns=2, think_seconds=5), promise, 100_000, 8)
    assert found.keeps(promise) and found.pods > 1
    assert not steady(TIMES, Habits(turns=2, think_seconds=5), 100_000, found.pods - 1, 8).keeps(promise)
    assert found.writes_per_second == pytest.approx(found.replies_per_second * 1.05)


def test_the_hpa_follows_kubernetes_rule() -> None:
    """Two busy pods at a target of a half are wanted twice; more comes only after half a minute, then it is bounded."""
    environment = simpy.Environment()
    fleet = Fleet(environment, TIMES, 2, 4)
    rule = Autoscaling(min_replicas=2, max_replicas=7, target_cpu=0.5, target_waiting=0, down_seconds=60)
    scaler = Autoscaler(fleet, rule)
    environment.process(scaler.run())

    def keep_busy() -> object:
        while True:
            for pod in fleet.pods:
                if pod.num_places_taken < 4:
                    ask(pod, tokens=50)
            yield environment.timeout(0.01)

    environment.process(keep_busy())  # type: ignore[arg-type]
    environment.run(16)
    assert [wanted for _, wanted, _ in scaler.history] == [4]
    assert len(fleet.pods) == 2
    environment.run(300)
    wanted = [wanted for _, wanted, _ in scaler.history]
    assert wanted == sorted(wanted) and wanted[-1] == 7
    assert all(later <= 2 * earlier for earlier, later in zip(wanted, wanted[2:], strict=False))


def test_the_hpa_lets_pods_go_slowly() -> None:
    """Idle pods go one a minute after the calm, down to the fewest."""
    environment = simpy.Environment()
    fleet = Fleet(environment, TIMES, 5, 4)
    rule = Autoscaling(min_replicas=2, max_replicas=7, target_cpu=0.5, target_waiting=0, down_seconds=60)
    environment.process(Autoscaler(fleet, rule).run())
    environment.run(70)
    assert len(fleet.pods) >= 4
    environment.run(600)
    assert len(fleet.pods) == 2


def test_a_sudden_load_is_noticed_until_pods_have_come() -> None:
    """With pods enough from the start nobody is; with one that must call others, somebody is."""
    habits, promise = Habits(turns=1), Promise(first_token_seconds=0.3)
    rule = Autoscaling(min_replicas=1, max_replicas=20, target_cpu=0.5, target_waiting=2, down_seconds=60)
    growth = Growth(name="by both", before=20_000, after=200_000, num_slots=8)
    grown = step_of_load(TIMES, habits, promise, rule, growth)
    assert grown.pods_after > grown.pods_before and grown.refused_share > 0.01
    assert grown.seconds_until_kept is not None and grown.seconds_until_kept >= 30
    ready = step_of_load(TIMES, habits, promise, rule.model_copy(update={"min_replicas": 10}), growth)
    assert ready.refused_share == 0 and ready.seconds_until_kept == 0


def test_the_chart_s_values_are_simulated() -> None:
    """The HPA's numbers are read from values.yaml."""
    rule = Autoscaling.of_chart(max_replicas=99)
    assert (rule.min_replicas, rule.max_replicas, rule.target_cpu, rule.down_seconds) == (2, 99, 0.75, 300)


def test_make_scale_prints_its_tables_and_writes_its_plots(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the machine that was measured, and what was assumed."""
    sample = json.loads(SAMPLE.read_text(encoding="utf-8"))
    two_rows = tmp_path / "measured.json"
    two_rows.write_text(json.dumps(sample | {"http": [sample["http"][0], sample["http"][-1]]}))
    output = tmp_path / "scale"
    assert main(["--bench", str(two_rows), "--rates", "1000", "--output", str(output), "--growth", "100", "1000"]) == 0
    text = capsys.readouterr().out
    assert "AMD EPYC" in text and "assumed: 3 turns" in text and "| 1,000 |" in text
    assert {path.name for path in output.iterdir()} == {"scale.json", "scale.png", "scale.svg"}
