"""One file a stage, each with `run(config, workspace) -> StageResult`. Their order: `training.pipeline`."""
