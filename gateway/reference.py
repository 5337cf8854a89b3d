"""Operations that describe the API itself.

The pages carry the scripts that draw them, so they need no network but the gateway.
"""

from functools import cache
from importlib.resources import files
from typing import Final

from gateway.answers import Answer
from gateway.bodies import Nothing
from gateway.calls import Call
from gateway.queries import NoQuery
from gateway.services import Gateway

OPENAPI_PATH: Final = "/openapi.json"
HTML: Final = b"text/html; charset=utf-8"

_ASSETS: Final = files("fastapi_offline") / "static"
"""Swagger UI and ReDoc as that distribution ships them; none of its code runs."""

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Flotilla</title>
<link rel="icon" href="data:,">
<style>body {{ margin: 0 }} {style}</style>
</head>
<body>
<div id="page"></div>
<script>{library}</script>
<script>{start}</script>
</body>
</html>
"""
_SWAGGER: Final = f"""SwaggerUIBundle({{
  url: "{OPENAPI_PATH}", dom_id: "#page", deepLinking: true, persistAuthorization: true,
}})"""
_REDOC: Final = (
    f'Redoc.init("{OPENAPI_PATH}", {{disableGoogleFont: true}}, document.getElementById("page"))'
)


async def get_docs(gateway: Gateway, call: Call[NoQuery, Nothing]) -> Answer:
    """Answer with a page to read the API and to try it."""
    return Answer(200, _docs_page(), media_type=HTML)


async def get_redoc(gateway: Gateway, call: Call[NoQuery, Nothing]) -> Answer:
    """Answer with a page to read the API."""
    return Answer(200, _redoc_page(), media_type=HTML)


async def get_openapi(gateway: Gateway, call: Call[NoQuery, Nothing]) -> Answer:
    """Answer with the OpenAPI document."""
    return Answer(200, gateway.openapi)


@cache
def _docs_page() -> bytes:
    style, library = _asset("swagger-ui.css"), _asset("swagger-ui-bundle.js")
    return _PAGE.format(style=style, library=library, start=_SWAGGER).encode()


@cache
def _redoc_page() -> bytes:
    library = _asset("redoc.standalone.js")
    return _PAGE.format(style="", library=library, start=_REDOC).encode()


def _asset(name: str) -> str:
    text = (_ASSETS / name).read_text(encoding="utf-8")
    assert "</script" not in text, "it would end the element that it stands in"
    return text
