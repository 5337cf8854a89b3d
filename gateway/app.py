"""The application: the table of operations put behind the edge, and the services they share."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from bus.client import Bus
from contracts.expressions.regex import Regex
from contracts.schedules import Calendar
from db.store import Store
from gateway import openapi
from gateway.answers import encode
from gateway.auth import Guard
from gateway.edge import Edge
from gateway.operations import Operation
from gateway.resources import Resource
from gateway.routes import OPERATIONS
from gateway.services import Gateway
from gateway.settings import GatewaySettings


class GatewayApp(FastAPI):
    """FastAPI with our own edge in place of its layers, and OpenAPI from our own table."""

    def __init__(self, gateway: Gateway, operations: Sequence[Operation[Any, Any]]) -> None:
        self.gateway = gateway
        self._guard = Guard(gateway.settings)
        super().__init__(
            title="Flotilla",
            version=gateway.settings.version,
            openapi_url=None,
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
            lifespan=_running,
            routes=_routes(gateway, operations),
        )
        self.openapi_schema = openapi.document(operations, version=gateway.settings.version)
        gateway.openapi = encode(self.openapi_schema)

    def build_middleware_stack(self) -> ASGIApp:
        return Edge(self.router, guard=self._guard, metrics=self.gateway.metrics)

    def openapi(self) -> dict[str, Any]:
        assert self.openapi_schema is not None
        return self.openapi_schema


def create_app(
    settings: GatewaySettings, store: Store, bus: Bus, regex: Regex, calendar: Calendar
) -> GatewayApp:
    """Return the gateway over connections that whoever calls this owns, and closes after it.

    Raises UnsafeDevToken. The application works within its lifespan.
    """
    return GatewayApp(Gateway(settings, store, bus, regex, calendar), OPERATIONS)


@asynccontextmanager
async def _running(app: FastAPI) -> AsyncIterator[None]:
    assert isinstance(app, GatewayApp)
    async with app.gateway:
        yield


def running(app: GatewayApp) -> AbstractAsyncContextManager[Any]:
    """Return the lifespan of an application, for whoever serves it without a server."""
    return app.router.lifespan_context(app)


def _routes(gateway: Gateway, operations: Sequence[Operation[Any, Any]]) -> list[BaseRoute]:
    """Return one route per path, in the order of the table: the first that fits is taken."""
    by_path: dict[str, list[Operation[Any, Any]]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, []).append(operation)
    return [Route(path, Resource(gateway, path, each)) for path, each in by_path.items()]
