"""Pages of a bundle: everything inside, everything escaped, the same bytes for the same run."""

from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from tests.unit.stages.test_gate import scorecard, serving
from training.config import GateConfig
from training.evaluation.figures import Figure
from training.evaluation.foresight.off_policy import OffPolicyEstimate
from training.evaluation.reporting.curves import read_curves
from training.evaluation.reporting.gate_page import gate_page
from training.evaluation.reporting.gate_report import GateReport
from training.evaluation.reporting.pages import table
from training.evaluation.reporting.training_page import RunStory, flat_rows, training_page
from training.stages.gate import decide

HOSTILE = "<img src=x onerror='alert(1)'>"
SOME = Figure(value=0.7, low=0.6, high=0.8)
ESTIMATE = OffPolicyEstimate(
    num_ratings=200,
    num_conversations=180,
    effective_conversations=61.5,
    mean_weight=Figure(value=1.02, low=0.8, high=1.2),
    logged=Figure(value=0.62, low=0.5, high=0.7),
    snips=SOME,
    doubly_robust=SOME,
    gain=Figure(value=0.08, low=-0.01, high=0.17),
)


def gate_report(**others: object) -> GateReport:
    """What the gate says of an honest improvement."""
    card = scorecard()
    decision = decide(card, serving(), GateConfig())
    report = GateReport(accepted=True, rules=decision.rules, scorecard=card, serving=serving(), off_policy=ESTIMATE)
    return report.model_copy(update=others)


def story(**others: object) -> RunStory:
    """A short run."""
    fields: dict[str, object] = {
        "name": "shop",
        "results": {
            "snapshot": {"num_rows": 240, "parent": "a" * 64, "parent_name": "base"},
            "curate": {"num_examples": 230, "num_up": 140, "splits": {"train": 160}, "seconds": 12.5},
            "policy": {"algorithm": "rloo", "kl": 1.25, "before": {"reward": 0.3}, "after": {"reward": 0.4}},
        },
        "gate": gate_report(),
        "curves": {"policy": {"kl": [(0, 0.0), (1, 0.4)], "reward": [(0, 0.3), (1, 0.4)], "odd": [(0, 1.0)]}},
        "replies": [{"intent": "x", "ask": HOSTILE, "base": "No.", "candidate": "Sorry!"}],
        "plots": {},
    }
    return RunStory(**{**fields, **others})  # type: ignore[arg-type]


def test_the_gate_page_says_all_that_was_measured() -> None:
    """Verdict, each rule with number and bound, figures before and after, what ratings on record say."""
    text = gate_page(gate_report(), "shop")
    assert "Accepted: all 25 rules hold." in text
    for rule in gate_report().rules:
        assert rule.name.replace("_", " ") in text
    assert "at least 0.47 (by the low bound)" in text and "worth 62 conversations" in text
    assert text.count("data:image/svg+xml;base64,") == 2


def test_a_refusal_is_told_as_one() -> None:
    """The number of broken rules comes first."""
    card = scorecard(kl=Figure(value=12.2, low=11.0, high=13.0))
    decision = decide(card, serving(), GateConfig())
    text = gate_page(gate_report(accepted=False, rules=decision.rules, scorecard=card), "shop")
    assert "Refused: 1 of 25 rules are broken." in text and "12.20 nats" in text


def test_a_rule_that_nobody_could_measure_is_not_said_to_hold() -> None:
    """Both pages say so by the verdict, in the rule's own sentence."""
    decision = decide(scorecard(thumbs_on_gold=None), serving(), GateConfig())
    report = gate_report(rules=decision.rules)
    text = gate_page(report, "shop")
    assert "Accepted: 24 of 25 rules hold, thumbs know gold could not be measured." in text
    assert text.count("<td>not measured</td>") == 1
    for page in (text, training_page(story(gate=report))):
        assert "<p>The staff has said the truth of too few replies" in page
    assert "not measured" not in gate_page(gate_report().without_times(), "shop")


def test_the_training_page_tells_the_run_from_ratings_to_replies() -> None:
    """Sections in order, curves drawn, replies side by side."""
    text = training_page(story())
    places = [text.index(part) for part in ("240 ratings", "RLOO took", "What the gate said", "1 of 1 replies")]
    assert places == sorted(places)
    assert text.count("data:image/svg+xml;base64,") == 3


def test_markup_in_what_people_wrote_stays_text() -> None:
    """A page is escaped as a whole; it names no address and holds no script."""
    text = training_page(story())
    assert HOSTILE not in text and "&lt;img src=x" in text
    assert "<script" not in text and "href" not in text and "http://" not in text
    assert "&lt;b&gt;" in table("<b>", ("<b>",), [("<b>", "<b>")])


def test_a_number_stands_to_the_right_and_a_sentence_that_begins_with_one_does_not() -> None:
    """Numbers are not wrapped; a sentence must be."""
    sentence = "80.0% of the replies say what they set out to say."
    text = table("x", ("a", "b"), [("x", "0.800 [0.750, 0.850]"), ("y", sentence), ("z", "-0.03"), ("n", "")])
    assert text.count('class="number"') == 2 and f"<td>{sentence}</td>" in text


def test_the_same_run_gives_the_same_bytes() -> None:
    """Bundles are named by their digest: no time, no duration, no random id in a plot."""
    assert training_page(story()) == training_page(story())
    assert gate_page(gate_report().without_times(), "shop") == gate_page(gate_report().without_times(), "shop")
    assert "12.5" not in training_page(story())


def test_a_report_for_a_bundle_knows_no_clock() -> None:
    """Two runs that differ in speed alone say the same."""
    reports = []
    for ratio in (1.01, 1.04):
        decision = decide(scorecard(), serving(ratio), GateConfig())
        reports.append(gate_report(rules=decision.rules, serving=serving(ratio)).without_times())
    assert reports[0] == reports[1]
    latency = next(rule for rule in reports[0].rules if rule.name == "latency")
    assert latency.measured is None and latency.passed and "1.10 times" in latency.sentence


def test_a_run_without_curves_or_early_stages_is_told_all_the_same() -> None:
    """Nothing that is missing breaks the page."""
    text = training_page(story(results={}, curves={}, replies=[]))
    assert "no ratings on record" in text and "0 of 0 replies" in text


def test_curves_are_read_back_with_the_last_value_of_a_step(tmp_path: Path) -> None:
    """A run that was killed wrote a step twice; the early signs come first."""
    for values in ((0.1, 0.2), (0.25, 0.3)):
        with SummaryWriter(str(tmp_path / "policy")) as writer:
            for step, value in enumerate(values):
                writer.add_scalar("zeta", value, step)
                writer.add_scalar("kl", value, step)
    found = read_curves(tmp_path / "policy")
    assert list(found) == ["kl", "zeta"]
    assert [step for step, _ in found["kl"]] == [0, 1]
    assert read_curves(tmp_path / "nowhere") == {}


def test_results_are_flattened_without_durations() -> None:
    """Nested names are joined; long lists are left out."""
    rows = flat_rows({"seconds": 3.2, "a": {"b_c": 0.123456, "bins": [1]}, "long": list(range(100)), "none": None})
    assert rows == [("a · b c", "0.1235"), ("none", "–")]
