"""A service process with a fake engine: `python -m tests.e2e.serve_fake DIRECTORY PORT PACE [PLAN…]`.

Started again, it goes on with what lies in the directory.
Paces: `fast`; `slow`, twenty milliseconds a token; `stuck`, no token ever.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from model_store.bundle import Bundle
from service.app import create_app
from service.http_server import build_server, set_program_aside
from service.settings import Settings
from service.telemetry import configure_logging
from tests.contract.fake_engine import FakeEngine, FakeEngines, make_chat_bundle
from tests.e2e.running_service import say_hello


def main(directory: Path, port: int, pace: str, plans: Sequence[str] = ()) -> None:
    """Serves until SIGTERM."""
    configure_logging("info")
    if not (directory / "bundle").exists():
        make_chat_bundle(directory / "bundle", plans=plans)
    engines = FakeEngines(say_hello)
    engines.step_seconds = 0.02 if pace == "slow" else 0.0

    def open_engine(bundle: Bundle) -> FakeEngine:
        engine = engines(bundle)
        if pace == "stuck":
            engine.hold.set()
        return engine

    settings = Settings(
        port=port, data_dir=directory / "data", default_bundle=directory / "bundle", drain_seconds=2.0, num_slots=4
    )
    server = build_server(create_app(settings, open_engine=open_engine), settings)
    set_program_aside()
    server.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
