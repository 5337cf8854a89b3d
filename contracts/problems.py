"""Problems: everything that is wrong with a document or a request, reported at once."""

from collections import Counter
from typing import Final, Literal

import msgspec

Severity = Literal["save", "publish", "warning"]


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is wrong. `pointer` (RFC 6901) points into what was sent."""

    pointer: str
    code: str
    message: str
    node_id: str | None = None

    @property
    def severity(self) -> Severity:
        """Whether it refuses saving, refuses publishing and execution, or only warns."""
        return SEVERITY[self.code]


_SAVE: Final = (
    "missing_field invalid_type invalid_value unknown_field limit_exceeded format_unsupported "
    "no_nodes invalid_node_id duplicate_node_id duplicate_node_name unknown_node_type "
    "subtype_missing unknown_node duplicate_connection self_connection unknown_kind unsupported_kind"
)
_PUBLISH: Final = (
    "type_version_unknown missing_parameter invalid_parameter unknown_parameter unknown_port "
    "attachment_invalid invalid_expression unknown_reference not_upstream invalid_mapping "
    "invalid_cron credential_missing unknown_credential cycle loop_body_mixed trigger_with_input "
    "missing_input no_root"
)
_WARNING: Final = (
    "no_trigger unreachable root_beside_trigger ignored_field unknown_model no_live_worker "
    "error_port_unwired"
)

SEVERITY: Final[dict[str, Severity]] = {
    **dict.fromkeys(_SAVE.split(), "save"),
    **dict.fromkeys(_PUBLISH.split(), "publish"),
    **dict.fromkeys(_WARNING.split(), "warning"),
}


MAX_PROBLEMS: Final = 1_000
"""Problems of one severity that are kept: a document full of mistakes stays cheap to answer."""


class Problems:
    """Problems in the order they were found, the first thousand of each severity."""

    def __init__(self) -> None:
        self.kept: list[Problem] = []
        self._found: Counter[Severity] = Counter()

    def add(self, problem: Problem) -> None:
        """Record a problem."""
        severity = problem.severity
        if self._found[severity] < MAX_PROBLEMS:
            self.kept.append(problem)
        self._found[severity] += 1

    def any_of(self, severity: Severity) -> bool:
        """Whether there is a problem of that severity."""
        return bool(self._found[severity])


def pointer(*parts: str | int) -> str:
    """Return the JSON pointer of a path (RFC 6901: `~` and `/` are escaped)."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in parts)
