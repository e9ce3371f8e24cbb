"""Puts a pack's replies into a bundle that is there, and leaves its network as it is, byte for byte.

`python -m training.stages.rewording BUNDLE OUTPUT` takes seconds where an export makes and measures its graphs anew:
for whoever writes replies and wants to hear them.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from model_store.bundle import open_bundle, write_bundle
from model_store.contract.manifest import Manifest
from model_store.contract.tokenizer import Tokenizer
from model_store.errors import StoreError
from model_store.replies import save_replies
from training.data.domain_pack import load_pack
from training.errors import TrainingError
from training.export.model_card import model_card
from training.reformer.model import load_policy
from training.stages.export import text_sample, with_known_replies
from training.stages.snapshot import KNOWN_REPLIES

_STAGE = "rewording"


def reword(source: Path, destination: Path, pack: str, *, forgets_replies: bool = False) -> Manifest:
    """A bundle of the same network that says what the pack says; what is at `destination` is replaced.

    `forgets_replies` leaves out what the source says and the pack does not: reworded, withdrawn, staff's corrections.
    Raises BundleError when there is no bundle, ValueError when it would replace itself.
    """
    if source.resolve() == destination.resolve():
        raise ValueError(f"{destination} is the bundle that is read; name another folder for the new one")
    bundle = open_bundle(source)
    tokenizer = Tokenizer.load(bundle.path("tokenizer.json"))
    domain_pack = load_pack(pack)
    sample = text_sample(domain_pack, tokenizer)
    if not forgets_replies:
        sample = with_known_replies(sample, source, domain_pack, tokenizer)
    shutil.rmtree(destination, ignore_errors=True)
    destination.mkdir(parents=True)
    for name in bundle.manifest.files.keys() - set(KNOWN_REPLIES):
        shutil.copyfile(bundle.path(name), destination / name)
    save_replies(destination, sample.replies, sample.order, sample.conditions)
    fields = _fields(bundle.manifest)
    card = model_card(Manifest.model_validate({**fields, "files": {}}), load_policy(source).num_parameters())
    (destination / "model_card.md").write_text(card, encoding="utf-8")
    return write_bundle(destination, fields)


def _fields(parent: Manifest) -> dict[str, object]:
    """What the manifest says but for its files: a version of its own, made of `parent`."""
    lineage = parent.lineage
    stages = lineage.stages if lineage.stages[-1:] == (_STAGE,) else (*lineage.stages, _STAGE)
    return {
        **parent.model_dump(exclude={"files"}),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "lineage": lineage.model_copy(update={"parent": parent.digest, "stages": stages}).model_dump(),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Makes the bundle and prints its digest. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.stages.rewording", description=reword.__doc__)
    parser.add_argument("bundle", type=Path, help="folder of the bundle")
    parser.add_argument("output", type=Path, help="folder for the new one; what is there is replaced")
    parser.add_argument("--pack", default="shop", help="domain pack whose replies it shall say")
    parser.add_argument("--forget-replies", action="store_true", help="leave out what the pack does not say (any more)")
    options = parser.parse_args(arguments)
    try:
        manifest = reword(options.bundle, options.output, options.pack, forgets_replies=options.forget_replies)
    except (StoreError, TrainingError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(manifest.digest)
    return 0


if __name__ == "__main__":
    sys.exit(main())
