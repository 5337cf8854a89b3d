"""The report of one reading: what is wrong, and where each normalised field stood when it was sent."""

from typing import Final

from contracts.problems import Problem

MAX_PROBLEMS: Final = 1_000
"""Problems that are kept; a document with more is not read more closely for it."""


class Report:
    """Collects problems in the order they are found; reading goes on after each."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.origins: dict[str, str] = {}

    def add(self, at: str, code: str, message: str, *, node_id: str | None = None) -> None:
        """Record a problem at the pointer `at` of what was sent."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(at, code, message, node_id))

    def moved(self, *, sent: str, stored: str) -> None:
        """Remember that what is stored at one pointer was sent at another."""
        if sent != stored:
            self.origins[stored] = sent

    @property
    def refuses(self) -> bool:
        """Whether a problem forbids saving."""
        return any(problem.severity == "save" for problem in self.problems)
