"""Operations that describe the API itself."""

from typing import Final

from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html

from gateway.answers import Answer
from gateway.bodies import Nothing
from gateway.calls import Call
from gateway.queries import NoQuery
from gateway.services import Gateway

TITLE: Final = "Flotilla"
OPENAPI_PATH: Final = "/openapi.json"
HTML: Final = b"text/html; charset=utf-8"

_DOCS: Final = bytes(get_swagger_ui_html(openapi_url=OPENAPI_PATH, title=TITLE).body)
_REDOC: Final = bytes(get_redoc_html(openapi_url=OPENAPI_PATH, title=TITLE).body)


async def get_docs(gateway: Gateway, call: Call[NoQuery, Nothing]) -> Answer:
    """Answer with a page to read the API and to try it."""
    return Answer(200, _DOCS, media_type=HTML)


async def get_redoc(gateway: Gateway, call: Call[NoQuery, Nothing]) -> Answer:
    """Answer with a page to read the API."""
    return Answer(200, _REDOC, media_type=HTML)


async def get_openapi(gateway: Gateway, call: Call[NoQuery, Nothing]) -> Answer:
    """Answer with the OpenAPI document."""
    return Answer(200, gateway.openapi)
