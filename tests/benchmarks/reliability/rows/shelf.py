"""Rows 8 to 10: bundles that must not be taken up, aliases that move under load, trainers that publish at once."""

import json
import multiprocessing
import os
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from model_store.backends.local import LocalBackend
from model_store.backends.places import open_backend
from model_store.bundle import write_bundle
from model_store.contract.manifest import MANIFEST_NAME
from model_store.errors import AliasConflictError, BundleError
from model_store.store import DEFAULT_BUNDLE, ModelStore
from tests.benchmarks.reliability.distant_store import DistantStore, distant_store
from tests.benchmarks.reliability.finding import Family, Finding, Plan, verdict
from tests.benchmarks.reliability.service_process import ServiceProcess, serving
from tests.benchmarks.reliability.talk import ASKS, Heard, body, listen
from tests.bundles import make_bundle

_SERVED_FILES = ("model.onnx", "tokenizer.json", "config.json", "model_card.md")
"""What a variant of the shipped bundle holds: all but the weights to train on from, which nobody serves."""
_REFUSED_WITHIN_SECONDS = 300.0
_NUM_TRAINERS = 8
_OF_FILE_SYSTEMS = frozenset({"a symbolic link", "a hard link", "a pipe", "a directory"})
_NUM_WARM_MOVES = 10

Spoil = Callable[[Path], None]


def _variant(folder: Path, name: str) -> Path:
    """The shipped bundle under another name, without the weights to train on from."""
    folder.mkdir(parents=True)
    for file in _SERVED_FILES:
        shutil.copyfile(DEFAULT_BUNDLE / file, folder / file)
    _count(folder, name=name)
    return folder


def _count(folder: Path, **changes: object) -> str:
    """Writes the manifest anew, as whoever makes a bundle does; gives the digest."""
    fields = json.loads((DEFAULT_BUNDLE / MANIFEST_NAME).read_text(encoding="utf-8"))
    del fields["files"]
    return write_bundle(folder, {**fields, **changes}).digest


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    _write(path, bytes(content))


def _write(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def _link(path: Path, make: Callable[[Path, Path], None]) -> None:
    outside = Path(tempfile.mkdtemp(dir=path.parents[3])) / path.name
    path.rename(outside)
    make(outside, path)


def _edit_manifest(folder: Path, **changes: object) -> None:
    fields = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
    _write(folder / MANIFEST_NAME, json.dumps({**fields, **changes}).encode())


def _damages() -> dict[str, Spoil]:
    """What can become of a version that lies in the store. Its digest stays, so all of these must be noticed."""
    damages: dict[str, Spoil] = {}
    for file in (*_SERVED_FILES, MANIFEST_NAME):
        damages[f"{file}: a bit flipped"] = lambda folder, file=file: _flip(folder / file)  # type: ignore[misc]
        damages[f"{file}: cut short"] = lambda folder, file=file: os.truncate(folder / file, 100)  # type: ignore[misc]
        damages[f"{file}: missing"] = lambda folder, file=file: (folder / file).unlink()  # type: ignore[misc]
    graph = "model.onnx"
    damages |= {
        "a symbolic link": lambda folder: _link(folder / graph, lambda real, name: name.symlink_to(real)),
        "a hard link": lambda folder: _link(folder / graph, lambda real, name: os.link(real, name)),
        "a pipe": lambda folder: ((folder / graph).unlink(), os.mkfifo(folder / graph))[1],
        "a directory": lambda folder: ((folder / graph).unlink(), (folder / graph).mkdir())[1],
        "a file too many": lambda folder: _write(folder / "weights.pkl", b"cos\nsystem\n(S'true'\ntR."),
        "longer than said": lambda folder: _write(folder / graph, (folder / graph).read_bytes() + b"x"),
        "no JSON": lambda folder: _write(folder / MANIFEST_NAME, b"{"),
        "another manifest": lambda folder: _edit_manifest(folder, name="other"),
        "a path for a name": lambda folder: _edit_manifest(folder, files={"../model.onnx": {"sha256": "0" * 64}}),
    }
    return damages


def _contents() -> dict[str, Spoil]:
    """Contents that no service can use, counted in by a manifest of their own."""
    return {
        "a graph of noise": lambda folder: _write(folder / "model.onnx", random.Random(1).randbytes(100_000)),
        "a pickle for a graph": lambda folder: _write(folder / "model.onnx", b"\x80\x04cposix\nsystem\n."),
        "an empty graph": lambda folder: _write(folder / "model.onnx", b""),
        "a tokenizer of nothing": lambda folder: _write(folder / "tokenizer.json", b"{}"),
        "a tokenizer with foreign control tokens": _rename_control_token,
        "no tokenizer": lambda folder: (folder / "tokenizer.json").unlink(),
        "no graph": lambda folder: (folder / "model.onnx").unlink(),
        "an operator that does not exist": lambda folder: _edit_graph(folder, "unknown"),
        "weights outside of the bundle": lambda folder: _edit_graph(folder, "external"),
    }


def _rename_control_token(folder: Path) -> None:
    text = (folder / "tokenizer.json").read_text(encoding="utf-8")
    _write(folder / "tokenizer.json", text.replace("<|eos|>", "<|end|>").encode())


def _edit_graph(folder: Path, how: str) -> None:
    import onnx

    model = onnx.load(str(folder / "model.onnx"))
    if how == "unknown":
        model.graph.node.add(op_type="Pwn", domain="evil.example", input=["token_ids"], output=["pwned"])
        model.opset_import.add(domain="evil.example", version=1)
    else:
        tensor = max(model.graph.initializer, key=lambda one: len(one.raw_data))
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../../../secret.key")
    _write(folder / "model.onnx", model.SerializeToString())


def _manifests() -> dict[str, dict[str, object]]:
    """Manifests that tell something else than is true."""
    shipped = json.loads((DEFAULT_BUNDLE / MANIFEST_NAME).read_text(encoding="utf-8"))
    golden, shape = shipped["golden_run"], shipped["architecture"]
    wrong = {**golden, "completion_ids": [*golden["completion_ids"][:-2], 300, 301]}
    return {
        "another golden run": {"golden_run": wrong},
        "another architecture": {"architecture": {**shape, "hidden_size": 2 * shape["hidden_size"],
                                                  "num_attention_heads": 2 * shape["num_attention_heads"]}},
        "a vocabulary too small": {"architecture": {**shape, "vocab_size": 600}},
    }  # fmt: skip


def measure_bad_bundles(plan: Plan) -> Sequence[Finding]:
    """Each is made the stable version of a running service, which must say its digest as refused and go on.

    On S3 all kinds but those that only a file system has: links, a pipe, a directory.
    """
    accepted, num_kinds = [], {}
    with serving(plan.folder / "bad-bundles", poll_seconds=0.2) as service:
        store = ModelStore(LocalBackend(service.data_dir / "models"))
        makers = _candidates(plan, plan.folder / "bad", _damages(), None)
        num_kinds["local"] = len(makers)
        accepted += _accepted(service, store, makers)
    with distant_store(plan.folder / "bad-on-s3") as distant:
        with serving(plan.folder / "bad-on-s3", poll_seconds=0.2, model_store=distant.place) as service:
            damages = {name: spoil for name, spoil in _damages().items() if name not in _OF_FILE_SYSTEMS}
            makers = _candidates(plan, plan.folder / "bad", damages, distant)
            num_kinds["S3"] = len(makers)
            accepted += [f"{name} on S3" for name in _accepted(service, distant.open(), makers)]
    told = ", ".join(f"{number} kinds on {place}" for place, number in num_kinds.items())
    told += f"; accepted or not named: {len(accepted)}" + (f" ({', '.join(accepted)})" * bool(accepted))
    return [
        Finding(8, "bad bundles", "refused by name, the good one goes on", told,
                verdict(holds=not accepted, is_whole=min(num_kinds.values()) >= 25),
                {"kinds": num_kinds, "accepted": accepted})
    ]  # fmt: skip


def _accepted(
    service: ServiceProcess, store: ModelStore, makers: dict[str, Callable[[ModelStore], str | None]]
) -> list[str]:
    """Kinds that the service took up, or did not name."""
    good = store.resolve("stable").digest
    return [name for name, make in makers.items() if not _is_refused(service, store, good, make)]


def _candidates(
    plan: Plan, folder: Path, damages: dict[str, Spoil], distant: DistantStore | None
) -> dict[str, Callable[[ModelStore], str | None]]:
    """Kind → publishes one and gives its digest; None where the store itself refused it."""
    contents, manifests = _contents(), _manifests()
    if plan.is_quick:
        damages, contents, manifests = (dict(list(kinds.items())[:2]) for kinds in (damages, contents, manifests))
    makers: dict[str, Callable[[ModelStore], str | None]] = {}
    for number, (name, spoil) in enumerate(damages.items()):
        makers[name] = partial(_put_and_damage, folder=folder / f"damage-{number}", spoil=spoil, distant=distant)
    for number, (name, spoil) in enumerate(contents.items()):
        makers[name] = partial(_put, folder=folder / f"content-{number}", spoil=spoil, changes={})
    for number, (name, changes) in enumerate(manifests.items()):
        makers[name] = partial(_put, folder=folder / f"manifest-{number}", spoil=None, changes=changes)
    return makers


def _put(store: ModelStore, *, folder: Path, spoil: Spoil | None, changes: dict[str, object]) -> str | None:
    """A bundle that is bad from the start."""
    _variant(folder, folder.name)
    if spoil is not None:
        spoil(folder)
    try:
        _count(folder, **{"name": folder.name, **changes})
        digest = store.publish(folder)
        store.promote("stable", digest)
    except BundleError:
        return None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return digest


def _put_and_damage(store: ModelStore, *, folder: Path, spoil: Spoil, distant: DistantStore | None) -> str | None:
    """A good bundle that is damaged in the store, between the check and the move of the alias."""
    digest = store.publish(_variant(folder, folder.name))
    move = store.plan_promotion("stable", digest)
    if distant is not None:
        spoil(folder)
        distant.replace(digest, folder)
        shutil.rmtree(folder)
        store.apply("stable", move)
        return digest
    shutil.rmtree(folder)
    stored = Path(store.location) / "versions" / digest
    for file in stored.iterdir():
        file.chmod(0o644)
    spoil(stored)
    store.apply("stable", move)
    return digest


def _is_refused(
    service: ServiceProcess, store: ModelStore, good: str, make: Callable[[ModelStore], str | None]
) -> bool:
    digest = make(store)
    deadline = time.monotonic() + _REFUSED_WITHIN_SECONDS
    while digest is not None and not service.metric("rejoinder_model_refused_info", digest=digest):
        if time.monotonic() > deadline or not service.is_running:
            return False
        time.sleep(0.1)
    with service.client() as client:
        heard = listen(client, body(max_tokens=4))
    return heard.is_whole and heard.digests == {good}


def measure_moving_alias(plan: Plan) -> Sequence[Finding]:
    """`stable` goes to and fro between two versions while customers talk."""
    num_moves = plan.count(100, 4)
    heard: list[Heard] = []
    with serving(plan.folder / "alias", poll_seconds=0.1, num_slots=4, key_requests_per_minute=0) as service:
        store = ModelStore(LocalBackend(service.data_dir / "models"))
        pair = [store.resolve("stable").digest, store.publish(_variant(plan.folder / "other", "rejoinder-other"))]
        # Both have been loaded under load before memory is compared.
        before = _memory_after(service, partial(_move_to_and_fro, service, store, pair, _NUM_WARM_MOVES), [])
        after = _memory_after(service, partial(_move_to_and_fro, service, store, pair, num_moves), heard)
        growth = after / before - 1
    failed = sum(not one.is_whole for one in heard)
    mixed = sum(len(one.digests) != 1 for one in heard if one.events)
    versions = {one.digest for one in heard if one.digest}
    holds = failed == 0 and mixed == 0 and growth <= 0.05 and len(versions) == 2
    return [
        Finding(
            9,
            "alias moved 100× under load",
            "0 failed, 0 mixed digests, memory ≤ +5 %",
            f"{num_moves} moves taken up, {len(heard)} streams of {len(versions)} versions: {failed} failed, "
            f"{mixed} mixed, memory {growth:+.1%} ({before:.0f} → {after:.0f} MB)",
            verdict(holds=holds, is_whole=num_moves >= 100),
            {"failed": failed, "mixed": mixed, "memory_growth": round(growth, 4)},
        )
    ]


def _memory_after(service: ServiceProcess, work: Callable[[], None], heard: list[Heard]) -> float:
    """Megabytes that are in use when customers have talked during some work and have stopped."""
    is_over = threading.Event()
    customers = [threading.Thread(target=_talk, args=(service, is_over, heard, n)) for n in range(3)]
    for customer in customers:
        customer.start()
    work()
    is_over.set()
    for customer in customers:
        customer.join()
    _wait_until_alone(service)
    return service.resident_megabytes


def _wait_until_alone(service: ServiceProcess) -> None:
    """Until the version before is closed, however busy the machine is."""
    deadline = time.monotonic() + 300
    while service.metric("rejoinder_model_info") != 1:
        assert time.monotonic() < deadline, "the version before does not close"
        time.sleep(0.1)


def _move_to_and_fro(service: ServiceProcess, store: ModelStore, pair: Sequence[str], num_moves: int) -> None:
    for move in range(num_moves):
        _move(service, store, pair[(move + 1) % 2])


def _move(service: ServiceProcess, store: ModelStore, digest: str) -> None:
    store.promote("stable", digest)
    deadline = time.monotonic() + 300
    while not service.metric("rejoinder_alias_info", alias="stable", digest=digest):
        assert time.monotonic() < deadline, "the service does not take the version up"
        time.sleep(0.02)


def _talk(service: ServiceProcess, is_over: threading.Event, heard: list[Heard], seed: int) -> None:
    with service.client() as client:
        while not is_over.is_set():
            heard.append(listen(client, body(ASKS[len(heard) % len(ASKS)], seed=seed, max_tokens=32)))


def measure_publishers(plan: Plan) -> Sequence[Finding]:
    """Eight processes publish a version each and promote it against the same generation, again and again."""
    num_rounds = plan.count(50, 5)
    folder = plan.folder / "publishers"
    outcomes = {"local": _publish_together(folder, str(folder / "models"), num_rounds)}
    with distant_store(folder) as distant:
        outcomes["S3"] = _publish_together(folder / "to-s3", distant.place, num_rounds)
    holds = all(
        set(winners) == {1} and generations == list(range(1, num_rounds + 1)) and unlisted == 0
        for winners, generations, unlisted in outcomes.values()
    )
    told = "; ".join(
        f"{place}: {num_rounds} rounds of {_NUM_TRAINERS}, {sum(one == 1 for one in winners)} with one winner, "
        f"{unlisted} unlisted, generations to {generations[-1]}"
        for place, (winners, generations, unlisted) in outcomes.items()
    )
    return [
        Finding(
            10,
            "two trainers publish at once",
            "one winner each time, no orphan unlisted",
            told,
            verdict(holds=holds, is_whole=num_rounds >= 50),
            {place: {"winners": winners, "unlisted": unlisted} for place, (winners, _, unlisted) in outcomes.items()},
        )
    ]


def _publish_together(folder: Path, place: str, num_rounds: int) -> tuple[list[int], list[int], int]:
    """Winners of each round, the generations that were made, and versions that are not listed."""
    store = ModelStore(open_backend(place, folder / "cache"))
    num_winners, unlisted = [], 0
    # Not forked: what talks to S3 has threads, which a fork leaves behind.
    with ProcessPoolExecutor(_NUM_TRAINERS, mp_context=multiprocessing.get_context("spawn")) as pool:
        for number in range(num_rounds):
            tasks = [(folder, place, number, trainer) for trainer in range(_NUM_TRAINERS)]
            results = list(pool.map(_publish, tasks))
            num_winners.append(sum(won for _, won in results))
            listed = {version.digest for version in store.versions(verify_contents=False) if version.problem is None}
            unlisted += len({digest for digest, _ in results} - listed)
    return num_winners, [move.generation for move in store.history("stable")], unlisted


def _publish(task: tuple[Path, str, int, int]) -> tuple[str, bool]:
    """In a process of its own: the digest, and whether the promotion won."""
    folder, place, number, trainer = task
    store = ModelStore(open_backend(place, folder / "cache"))
    directory = folder / f"{number}-{trainer}"
    make_bundle(directory, f"round-{number}-{trainer}")
    digest = store.publish(directory)
    try:
        store.promote("stable", digest, expected_generation=number)
    except AliasConflictError:
        return digest, False
    return digest, True


FAMILIES = (
    Family((8,), "bundles that must not be taken up", measure_bad_bundles),
    Family((9,), "an alias that moves under load", measure_moving_alias),
    Family((10,), "trainers that publish at once", measure_publishers),
)
