"""STAR: people play a customer and, behind the scenes, a bot that follows a flow chart; one JSON file a dialogue.

Left out: what the guide tells the customer, the suggestions that the wizard asks for and does not send, queries and
their results, times and worker ids. The questionnaires stay, as labels.
"""

from collections.abc import Iterator
from pathlib import Path

from training.data.importers.reading import Record, find_files, read_json_object
from training.data.importers.rows import Origin, Row, Skipped, Turn, conversation_row

_SENT_BY_WIZARD = ("utter", "pick_suggestion")


def parse_star(path: Path) -> Iterator[Row | Skipped]:
    """Rows of one dialogue file or of the directory `dialogues`. Raises ImportFormatError.

    Dialogues that broke off before both sides had spoken are skipped.
    """
    for file in find_files(path, "*.json"):
        dialogue = read_json_object(file)
        dialogue_id = dialogue.identifier("DialogueID")
        origin = Origin.assigned(f"star-{dialogue_id}", "STAR", "en", key=dialogue_id)
        yield conversation_row(origin, _turns(dialogue.records("Events")), _labels(dialogue))


def _turns(events: list[Record]) -> Iterator[Turn]:
    for event in events:
        agent, action = event.text("Agent"), event.text("Action")
        # The templates of the wizard's suggestions are wrapped; the breaks mean nothing.
        if agent == "User" and action == "utter":
            yield Turn("user", " ".join(event.text("Text").split()))
        elif agent == "Wizard" and action in _SENT_BY_WIZARD:
            yield Turn("agent", " ".join(event.text("Text").split()))


def _labels(dialogue: Record) -> dict[str, object]:
    scenario = dialogue.record("Scenario")
    return {
        "domains": scenario.texts("Domains"),
        "tasks": [capability.text("Task") for capability in scenario.records("WizardCapabilities")],
        "happy": scenario.flag("Happy"),
        "multitask": scenario.flag("MultiTask"),
        "completion": dialogue.text("CompletionLevel"),
        "user_questionnaire": _answers(dialogue.records("UserQuestionnaire")),
        "wizard_questionnaire": _answers(dialogue.records("WizardQuestionnaire")),
        "user_task": scenario.text("UserTask"),
    }


def _answers(questions: list[Record]) -> dict[str, bool]:
    return {question.text("Question"): question.flag("Answer") for question in questions}
