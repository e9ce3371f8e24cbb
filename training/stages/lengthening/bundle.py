"""Long bundle: the lengthened network as a bundle, with the graph that reads long prompts.

Left out: the round's gate. A lengthened bundle is published as any other and tried as a candidate; what is held here is
what hashing loses (`gap`) and what the graphs lose (`stages.export`).
"""

from dataclasses import replace
from pathlib import Path

from model_store.bundle import open_bundle
from model_store.contract.manifest import DataLicence, Lineage
from model_store.contract.tokenizer import Tokenizer
from training.config import TrainingConfig
from training.data.domain_pack import load_pack
from training.reformer.model import load_policy
from training.stages.export import ReleaseNotes, TextSample, export_bundle, text_sample, with_known_replies
from training.stages.lengthening.gap import GAP_NAME, LengthFigures
from training.stages.lengthening.lengthen import LENGTHENED
from training.stages.lengthening.texts import HELD_OUT_NAME, TRAINING_NAME, LongTexts
from training.workspace import StageResult, Workspace

LONG_BUNDLE_NAME = "bundle"
_NUM_LONG_TEXTS = 4


def run(config: TrainingConfig, workspace: Workspace) -> StageResult:
    """Writes `bundle`. Result: its digest, where it lies, its figures. Raises ExportRefusedError."""
    assert config.lengthening is not None and config.model.start_from is not None
    before = open_bundle(config.model.start_from)
    pack = load_pack(config.corpus.domain_pack)
    tokenizer_file = workspace.path("tokenizer.json")
    texts = workspace.result("long_texts") or {}
    read = [DataLicence.model_validate(licence) for licence in texts["licences"]]
    known = {licence.source for licence in read}
    notes = ReleaseNotes(
        name=config.name,
        created_at=str((workspace.result("inputs") or {})["created_at"]),
        lineage=Lineage(parent=before.digest, config=config.digest, stages=("lengthening",)),
        licences=(*read, *(licence for licence in before.manifest.licences if licence.source not in known)),
        metrics=_metrics(workspace),
        languages=pack.languages,
        weights=config.export.weights,
        reports=(workspace.path(GAP_NAME),),
    )
    sample = _sample(config, workspace, Tokenizer.load(tokenizer_file))
    destination = workspace.path(LONG_BUNDLE_NAME)
    manifest = export_bundle(load_policy(workspace.path(LENGTHENED)), tokenizer_file, destination, notes, sample)
    return {"digest": manifest.digest, "directory": str(destination), "metrics": manifest.metrics}


def _metrics(workspace: Workspace) -> dict[str, float]:
    """What reading took, by length: nats a token, exactly and hashed."""
    measured = workspace.result("long_gap") or {}
    fields = LengthFigures.model_fields
    figures = [LengthFigures(**{name: entry[name] for name in fields}) for entry in measured["lengths"]]
    return {
        f"{name}_nats_{figure.length}": value
        for figure in figures
        for name, value in (("exact", figure.exact), ("hashed", figure.hashed))
    }


def _sample(config: TrainingConfig, workspace: Workspace, tokenizer: Tokenizer) -> TextSample:
    """The pack's texts, the replies that the bundle knew, and long texts for what only they show."""
    assert config.lengthening is not None and config.model.start_from is not None
    pack = load_pack(config.corpus.domain_pack)
    sample = with_known_replies(text_sample(pack, tokenizer), Path(config.model.start_from), pack, tokenizer)
    beyond = config.lengthening.hashing.hash_beyond
    longest = LongTexts.load(workspace.path(f"{TRAINING_NAME}_{max(config.lengthening.text_lengths)}.npz"))
    shortest = min((length for length in config.lengthening.measured_lengths if length > beyond), default=None)
    held_out = LongTexts.load(workspace.path(f"{HELD_OUT_NAME}_{shortest}.npz")) if shortest else longest
    return replace(
        sample,
        calibration=(*sample.calibration, *_rows(longest, _NUM_LONG_TEXTS)),
        long_texts=_rows(held_out, _NUM_LONG_TEXTS),
    )


def _rows(texts: LongTexts, number: int) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(token_id) for token_id in row) for row in texts.token_ids[:number])
