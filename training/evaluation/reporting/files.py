"""What is printed and written of an evaluation: text and JSON, alone or beside another bundle's."""

import json
from pathlib import Path

from model_store.digest import short
from training.evaluation.report import Evaluation, report_text
from training.evaluation.reporting.against import difference_table, differences

REPORT_TEXT, REPORT_JSON = "report.txt", "report.json"


def evaluation_text(evaluation: Evaluation, against: Evaluation | None = None) -> str:
    """The report for people; with another bundle its report comes first and the differences last."""
    if against is None:
        return report_text(evaluation.report)
    before, after = short(against.report.digest), short(evaluation.report.digest)
    table = difference_table(differences(against.outcomes, evaluation.outcomes), before, after)
    parts = [f"== {before}", report_text(against.report), f"== {after}", report_text(evaluation.report)]
    return "\n\n".join([*parts, f"== {after} against {before}", table])


def evaluation_json(evaluation: Evaluation, against: Evaluation | None = None) -> str:
    """The report in one line; with another bundle also `against`: its report and the main figures' `differences`."""
    found = evaluation.report.model_dump(mode="json")
    if against is not None:
        compared = differences(against.outcomes, evaluation.outcomes)
        found["against"] = {
            "report": against.report.model_dump(mode="json"),
            "differences": {
                name: {language: each.model_dump(mode="json") for language, each in by_language.items()}
                for name, by_language in compared.items()
            },
        }
    return json.dumps(found, ensure_ascii=False)


def write_evaluation(directory: Path, evaluation: Evaluation, against: Evaluation | None = None) -> None:
    """Writes both forms of the report and the pages into a directory, which is made."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / REPORT_TEXT).write_text(evaluation_text(evaluation, against) + "\n", encoding="utf-8")
    (directory / REPORT_JSON).write_text(evaluation_json(evaluation, against) + "\n", encoding="utf-8")
    for name, page in evaluation.pages.items():
        (directory / name).write_text(page, encoding="utf-8")
