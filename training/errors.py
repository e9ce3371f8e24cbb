"""Errors of the training job.

TrainingError
├── InvalidConfigError
├── DataError
│   ├── DataNotFoundError
│   ├── ImportFormatError
│   ├── InvalidDomainPackError
│   └── InvalidFeedbackDataError
├── DivergedError
├── ExportRefusedError
├── HashingGapError
├── LostProcessError
├── OutdatedCheckpointError
├── SeveralProcessesError
├── TooFewRowsError
├── UnfitCheckpointError
├── UnfitPruningError
└── WorkspaceError

A refused gate and too little feedback are outcomes, not errors: see `pipeline`.
"""

from model_store.errors import CodedError


class TrainingError(CodedError):
    """The root: the job cannot go on."""

    code = "training_error"
    template = "Training failed."


class InvalidConfigError(TrainingError):
    """The configuration file cannot be used."""

    code = "invalid_config"
    template = "The configuration {path} cannot be used: {problem}. training/configs/small.yaml is an example."


class OutdatedCheckpointError(TrainingError):
    """The weights are of a network that is no longer made."""

    code = "outdated_checkpoint"
    template = (
        "The weights in {path} are of a network with hashed n-gram tables, which training no longer knows. Such a "
        "bundle can still be served; to go on learning, train a new base model (`make train-base`) or take the one "
        "that ships."
    )


class UnfitCheckpointError(TrainingError):
    """The weights cannot be taken over by a network of this configuration."""

    code = "unfit_checkpoint"
    template = (
        "The weights in {path} cannot be taken over: {problem}. model.start_from names a bundle of the same shape."
    )


class UnfitPruningError(TrainingError):
    """The network is too small for what should be taken out of it."""

    code = "unfit_pruning"
    template = "The network in {path} cannot be pruned: {problem}. Lower what the section `pruning` takes out."


class DataError(TrainingError):
    """Data that training needs is missing or malformed."""

    code = "data_error"


class DataNotFoundError(DataError):
    """A file or table that the configuration names is not there."""

    code = "data_not_found"
    template = "{what} was not found at {path}. {remedy}"


class ImportFormatError(DataError):
    """A file does not have the layout its importer reads."""

    code = "import_format"
    template = "{path} cannot be imported: {problem}."


class InvalidDomainPackError(DataError):
    """An authored domain pack breaks its rules."""

    code = "invalid_domain_pack"
    template = "The domain pack {path} breaks its rules: {problem}. See training/data/domain/README.md."


class InvalidFeedbackDataError(DataError):
    """A row of the feedback snapshot cannot be learned from."""

    code = "invalid_feedback_data"
    template = "Feedback row {completion_id} cannot be used: {problem}."


class DivergedError(TrainingError):
    """Loss or gradients stopped being numbers, again and again."""

    code = "diverged"
    template = (
        "Training diverged in {stage} at step {step}: {problem}. "
        "The last good checkpoint is kept; lower the learning rate."
    )


class ExportRefusedError(TrainingError):
    """The exported graph does not compute what the network computes."""

    code = "export_refused"
    template = "The export was refused: {problem}. Nothing was published."


class HashingGapError(TrainingError):
    """Reading with hashing costs more than it may."""

    code = "hashing_gap"
    template = (
        "With hashing, texts of {length} tokens are read {gap:.4f} nats a token worse than exactly; {max_gap} are "
        "allowed. No bundle was made. Train for longer, or raise lengthening.hashing's num_hashes or bucket_window."
    )


class SeveralProcessesError(TrainingError):
    """A job for one process was started several times over, as torchrun and its like do."""

    code = "several_processes"
    template = (
        "This is one of {num_processes} processes (WORLD_SIZE), but `{job}` is a job for one: each would do all of it, "
        "in the same workspace. Start one, without torchrun; `num_threads` of the configuration says how many cores it "
        "uses. Several processes can share `run`."
    )


class LostProcessError(TrainingError):
    """Processes that share a run do not reach one another any more."""

    code = "lost_process"
    template = (
        "One of the {num_processes} processes of this run ended or cannot be reached: {problem}. Its own log says why. "
        "Nothing was published; start all of them again with the same --workspace to go on."
    )


class TooFewRowsError(TrainingError):
    """A batch has fewer rows than there are processes to share it."""

    code = "too_few_rows"
    template = (
        "{num_processes} processes cannot share a batch of {num_rows}. Start fewer, or make the batch larger "
        "(policy.batch_size, or policy.prompts_per_step times policy.samples_per_prompt)."
    )


class WorkspaceError(TrainingError):
    """The working directory belongs to another run or cannot be used."""

    code = "workspace_error"
    template = "The workspace {path} cannot be used: {problem}. Choose another --workspace or delete it."
