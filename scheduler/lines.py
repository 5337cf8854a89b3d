"""Where tasks stand that are ready and not queued yet: only the scheduler that leads an execution knows, and it answers."""

from typing import Final

import msgspec

from bus.services import Call, CallRefused, Endpoint
from contracts import subjects
from contracts.messages import LinesAsked, LinesTold, TaskInLine, encode
from scheduler.admission import Admission
from scheduler.intake import Intake

MOST_TOLD: Final = 100

_decode: Final = msgspec.json.Decoder(LinesAsked).decode


class LineDesk:
    """Answers what waits of an execution, and how much this scheduler has to do."""

    def __init__(self, scheduler_id: str, admission: Admission, intake: Intake) -> None:
        self._scheduler_id = scheduler_id
        self._admission = admission
        self._intake = intake

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Where to ask this scheduler, and no other one."""
        return (Endpoint("lines", subjects.lines(self._scheduler_id), self.tell),)

    async def tell(self, call: Call) -> bytes:
        """Answer where the tasks of an execution stand in line."""
        try:
            asked = _decode(call.data)
        except msgspec.DecodeError as error:
            raise CallRefused("400", f"the request is unreadable: {error}") from None
        standing = self._admission.standing(
            asked.execution_id, asked.namespace, min(asked.most, MOST_TOLD)
        )
        waiting = tuple(
            TaskInLine(
                node_id=key[0],
                iteration=key[1],
                attempt=attempt,
                node_type=place.fleet,
                ahead=place.ahead,
                queued=place.queued,
                window=place.window,
            )
            for (_, key, attempt), place in standing.items()
        )
        return encode(LinesTold(self._scheduler_id, waiting, len(self._intake)))
