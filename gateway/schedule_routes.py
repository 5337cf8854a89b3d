"""The operations on schedules; a part of the table in `routes`."""

from typing import Any, Final

from gateway import schedules
from gateway.bodies import NO_BODY
from gateway.execution_routes import ACCEPTED
from gateway.operations import Operation, Returns
from gateway.pages import Page
from gateway.queries import NoQuery
from gateway.schedules import Schedule

_SCHEDULE: Final = Returns(description="The schedule", type=Schedule)

SCHEDULES: Final[tuple[Operation[Any, Any], ...]] = (
    Operation(
        method="GET",
        path="/v1/schedules",
        scope="read",
        tag="schedules",
        summary="List schedules",
        handler=schedules.list_schedules,
        query=schedules.SchedulesQuery,
        body=NO_BODY,
        returns={200: Returns(description="A page", type=Page[Schedule])},
    ),
    Operation(
        method="GET",
        path="/v1/schedules/{schedule_id}",
        scope="read",
        tag="schedules",
        summary="Read a schedule",
        handler=schedules.get_schedule,
        query=NoQuery,
        body=NO_BODY,
        returns={200: _SCHEDULE},
    ),
    Operation(
        method="POST",
        path="/v1/schedules/{schedule_id}/pause",
        scope="write",
        tag="schedules",
        summary="Pause a schedule",
        description="It starts nothing more until it is resumed; what it started goes on.",
        handler=schedules.pause_schedule,
        query=NoQuery,
        body=NO_BODY,
        returns={200: _SCHEDULE},
    ),
    Operation(
        method="POST",
        path="/v1/schedules/{schedule_id}/resume",
        scope="write",
        tag="schedules",
        summary="Resume a schedule",
        description="It begins now: what passed while it was paused is not caught up with.",
        handler=schedules.resume_schedule,
        query=NoQuery,
        body=NO_BODY,
        returns={200: _SCHEDULE},
    ),
    Operation(
        method="POST",
        path="/v1/schedules/{schedule_id}/run",
        scope="execute",
        tag="schedules",
        summary="Run a schedule now",
        description=(
            "Starts what an occurrence starts, of the published version, also while it is paused. Its "
            "occurrences stay as they are, but for `overlap: SKIP`: they do not come while this is under way."
        ),
        handler=schedules.run_schedule,
        query=NoQuery,
        body=NO_BODY,
        returns={202: ACCEPTED},
        problems=("not_published", "invalid_request"),
    ),
)
