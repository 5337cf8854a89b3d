"""The report of one reading: what is wrong, and where each normalised field stood when it was sent."""

from contracts.problems import Problem, Problems
from contracts.spelling import Hints


class Report:
    """Collects problems in the order they are found; reading goes on after each."""

    def __init__(self) -> None:
        self.hints = Hints()
        self.origins: dict[str, str] = {}
        self._problems = Problems()

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The problems found so far."""
        return tuple(self._problems.kept)

    @property
    def refuses(self) -> bool:
        """Whether a problem forbids saving."""
        return self._problems.any_of("save")

    def add(self, at: str, code: str, message: str, *, node_id: str | None = None) -> None:
        """Record a problem at the pointer `at` of what was sent."""
        self._problems.add(Problem(at, code, message, node_id))

    def moved(self, *, sent: str, stored: str) -> None:
        """Remember that what is stored at one pointer was sent at another."""
        if sent != stored:
            self.origins[stored] = sent
