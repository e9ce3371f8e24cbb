"""Opens the engine of a verified version and tries it out: none serves people that does not repeat its golden run."""

from model_store.bundle import Bundle
from service.engine.engine import Engine, golden_run
from service.engine.errors import EngineError, ModelUnusableError
from service.engine.types import EngineOptions


def open_engine(bundle: Bundle, options: EngineOptions) -> Engine:
    """Raises ModelUnusableError, of which GoldenRunMismatchError is one, and InvalidRequestError."""
    try:
        return _try_out(Engine.open(bundle.directory, bundle.manifest, options), bundle)
    except EngineError:
        raise
    except Exception as error:  # a graph is foreign code: what it raises while it runs has no root of its own
        problem = str(error).strip() or type(error).__name__
        raise ModelUnusableError(path=bundle.directory, problem=problem) from error


def _try_out(engine: Engine, bundle: Bundle) -> Engine:
    try:
        golden_run(engine, bundle.manifest.golden_run)
    except BaseException:  # raised again: an engine that nobody serves must not keep its memory
        engine.close()
        raise
    return engine
