"""What an explanation is made of: the stored completion, the stored ratings, a run's reward model.

The reward model is a run's, not a bundle's: the service needs none, so none is published.
"""

from pathlib import Path

from model_store.contract.feedback import CONVERSATION_TURNS_COLUMNS, CONVERSATION_TURNS_VIEW
from model_store.contract.tokenizer import Tokenizer
from training.config import TrainingConfig
from training.data.feedback_rows import RawRow, read_export, read_rows, read_view
from training.errors import DataNotFoundError
from training.evaluation.explanations.explanation import Explainer, StoredCompletion, rated_replies
from training.reformer.heads import RewardModel

_TRAIN_ONE = "`python -m training run` trains one; name the run's folder with --workspace."


def read_stored(completion_id: str, url: str) -> tuple[StoredCompletion, list[RawRow]]:
    """A completion of the service's database, rated or not, and the ratings there. Raises DataNotFoundError."""
    rows = read_rows(url, CONVERSATION_TURNS_VIEW, CONVERSATION_TURNS_COLUMNS, completion_id=completion_id)
    return _one(rows, completion_id, "the database"), read_view(url)


def read_exported(completion_id: str, path: Path) -> tuple[StoredCompletion, list[RawRow]]:
    """A rated completion of a feedback export, and its ratings. Raises DataNotFoundError, InvalidFeedbackDataError."""
    rows = read_export(path)
    return _one([row for row in rows if row.get("completion_id") == completion_id], completion_id, str(path)), rows


def open_explainer(workspace: Path, config: TrainingConfig, rows: list[RawRow]) -> Explainer:
    """With the reward model of a run's folder. Raises DataNotFoundError when it holds none."""
    tokenizer_path = workspace / "base" / "tokenizer.json"
    try:
        model = RewardModel.load(workspace / "reward_model")
    except OSError:
        raise DataNotFoundError(what="A reward model", path=workspace, remedy=_TRAIN_ONE) from None
    if not tokenizer_path.is_file():
        raise DataNotFoundError(what="The run's tokenizer", path=tokenizer_path, remedy=_TRAIN_ONE)
    return Explainer(model, Tokenizer.load(tokenizer_path), config, rated_replies(rows))


def newest_run(runs: Path) -> Path:
    """The folder of the newest run that has a reward model. Raises DataNotFoundError."""
    found = [path.parent for path in runs.glob("*/reward_model.result.json")]
    if not found:
        raise DataNotFoundError(what="A run with a reward model", path=runs, remedy=_TRAIN_ONE)
    return max(found, key=lambda path: (path / "reward_model.result.json").stat().st_mtime)


def _one(rows: list[RawRow], completion_id: str, where: str) -> StoredCompletion:
    if not rows:
        remedy = "Replies of rules alone, half ones and erased ones are not there."
        raise DataNotFoundError(what=f"The completion {completion_id}", path=where, remedy=remedy)
    return StoredCompletion.from_row(rows[0])
