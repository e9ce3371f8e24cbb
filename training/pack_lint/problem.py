"""What the linter finds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """Something to mend, and where: an intent or a flow of one language."""

    language: str
    place: str
    what: str

    def __str__(self) -> str:
        return f"{self.language} {self.place}: {self.what}"
