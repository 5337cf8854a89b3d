"""Large values, which executions show as references."""

import db.payloads
from contracts import payloads
from contracts.payloads import digest_of, is_id
from gateway.answers import Answer
from gateway.bodies import Nothing
from gateway.calls import Call
from gateway.execution_reading import read_row
from gateway.problems import not_found
from gateway.queries import NoQuery
from gateway.services import Gateway


async def get_payload(gateway: Gateway, call: Call[NoQuery, Nothing]) -> Answer:
    """Answer with a large value of the user, as the bytes that were stored."""
    await read_row(gateway.store, call.user_id, call.path["execution_id"])
    payload_id = call.path["payload_id"]
    if not is_id(payload_id):
        raise not_found()
    data = await db.payloads.get(gateway.store, call.user_id, digest_of(payload_id))
    if data is None:
        raise not_found()
    return Answer(200, data)


async def whole(gateway: Gateway, user_id: str, value: bytes) -> bytes:
    """Return a value of a namespace with all that it refers to in place. Raises PayloadError if that is gone."""
    known: dict[str, bytes] = {}
    limit = gateway.settings.limits.payloads.attempt
    while absent := payloads.missing((value,), known, limit=limit):
        for each in absent.values():
            data = await db.payloads.get(gateway.store, user_id, each.digest)
            if data is None:
                raise payloads.BadReference("it is not kept any more")
            known[each.id] = data
    return payloads.resolved(value, known)
