"""Resources: a path and its operations as one ASGI application, reached through the edge."""

from typing import Any, Final

from contracts.ids import is_uuid
from gateway.answers import (
    EVENT_STREAM,
    Answer,
    AsgiScope,
    EventStream,
    Receive,
    Send,
    send_answer,
)
from gateway.auth import authorise
from gateway.bodies import Nothing, read_body
from gateway.calls import Call, Request
from gateway.edge import EXCHANGE, Exchange
from gateway.operations import Operation
from gateway.problems import Refused
from gateway.queries import read_query
from gateway.services import Gateway

_NOTHING: Final = Nothing()
_LOGGED: Final = ("workflow_id", "execution_id")


class Resource:
    """Everything that can be done at one path."""

    def __init__(self, gateway: Gateway, path: str, operations: list[Operation[Any, Any]]) -> None:
        self._gateway = gateway
        self._path = path
        self._operations = {operation.method: operation for operation in operations}
        if "GET" in self._operations:
            self._operations.setdefault("HEAD", self._operations["GET"])
        self._allow = ", ".join(sorted(self._operations)).encode()

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Serve a request for this path."""
        exchange: Exchange = scope[EXCHANGE]
        exchange.route = self._path
        operation = self._operation(scope["method"])
        authorise(exchange.identity, operation.scope)
        call = await self._call(operation, scope, exchange, receive)
        answer = await operation.handler(self._gateway, call)
        if scope["method"] == "HEAD" and isinstance(answer, EventStream):
            answer = Answer(answer.status, media_type=EVENT_STREAM)  # which has an end
        await send_answer(answer, receive, send)

    def _operation(self, method: str) -> Operation[Any, Any]:
        operation = self._operations.get(method)  # type: ignore[call-overload]
        if operation is None:
            raise Refused(
                "method_not_allowed",
                f"Here go {self._allow.decode()}.",
                headers=((b"allow", self._allow),),
            )
        return operation  # type: ignore[no-any-return]

    async def _call(
        self,
        operation: Operation[Any, Any],
        scope: AsgiScope,
        exchange: Exchange,
        receive: Receive,
    ) -> Call[Any, Any]:
        path: dict[str, str] = scope["path_params"]
        facts = exchange.facts = {
            name: path[name] for name in _LOGGED if name in path and is_uuid(path[name])
        }
        query = read_query(scope["query_string"], operation.query)
        body: Any = _NOTHING
        if operation.takes_body:
            limits = self._gateway.settings.limits
            body = await read_body(operation.body, exchange.headers, receive, limits)
        return Call(
            user_id=exchange.identity.user_id,
            scopes=exchange.identity.scopes,
            path=path,
            query=query,
            body=body,
            headers=exchange.headers,
            request=_request(scope),
            trace=exchange.trace,
            facts=facts,
        )


def _request(scope: AsgiScope) -> Request:
    client = scope["client"]
    return Request(
        method=scope["method"],
        query_string=scope["query_string"],
        headers=tuple(scope["headers"]),
        client_ip=None if client is None else client[0],
    )
