"""What a reader of the shelf trusts: who signed a version, and that no alias goes back to an earlier generation.

An alias's file is not signed, so whoever writes to the store could put an old one back, with a version that was good
once. Generations only grow; the last one that was taken up is remembered here, on the reader's own disk.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model_store.contract.manifest import Sha256
from model_store.durable import exclusive_lock, make_directory, replace_file
from model_store.errors import AliasWentBackError, CorruptAliasError, StoreUnavailableError
from model_store.signing import TrustedKeys

_LOCK_TIMEOUT_SECONDS = 10.0


class AliasState(NamedTuple):
    """Where an alias points. `generation` grows by one with every move and never falls, rollbacks included."""

    digest: str
    generation: int


class _Remembered(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: Sha256
    generation: int = Field(ge=1)


class _Memory(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    aliases: dict[str, _Remembered] = {}


@dataclass(frozen=True, slots=True)
class Trust:
    """Trusted keys, and the file that remembers generations."""

    keys: TrustedKeys
    memory_file: Path

    def last(self, alias: str) -> AliasState | None:
        """The state that was taken up last; None where none was. Raises CorruptAliasError, StoreUnavailableError."""
        found = self._read().aliases.get(alias)
        return None if found is None else AliasState(found.digest, found.generation)

    def check(self, alias: str, state: AliasState) -> None:
        """Raises AliasWentBackError for a state from before the last one, or another one of the same generation."""
        last = self.last(alias)
        if last is None or state.generation > last.generation or state == last:
            return
        raise AliasWentBackError(alias=alias, found=state.generation, last=last.generation, path=self.memory_file)

    def remember(self, alias: str, state: AliasState) -> None:
        """Notes a state that was taken up, unless a later one is noted already. Several processes may do so at once."""
        if self.last(alias) == state:
            return
        try:
            make_directory(self.memory_file.parent)
            with exclusive_lock(self.memory_file.with_suffix(".lock"), _LOCK_TIMEOUT_SECONDS):
                known = self._read().aliases
                if alias in known and known[alias].generation >= state.generation:
                    return
                added = {alias: _Remembered(digest=state.digest, generation=state.generation)}
                replace_file(self.memory_file, _Memory(aliases={**known, **added}).model_dump_json(indent=2).encode())
        except OSError as error:
            raise StoreUnavailableError(store=self.memory_file, problem=error.strerror or error) from error

    def _read(self) -> _Memory:
        try:
            return _Memory.model_validate_json(self.memory_file.read_bytes())
        except FileNotFoundError:
            return _Memory()
        except OSError as error:
            raise StoreUnavailableError(store=self.memory_file, problem=error.strerror or error) from error
        except ValidationError as error:
            raise CorruptAliasError(path=self.memory_file, problem="it holds no remembered generations") from error
