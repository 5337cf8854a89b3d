"""A small shop for the examples: orders, sites and a ledger that is not always open. Nothing but the standard library.

    python examples/shop.py [PORT]     # 8801; 0 takes any free one

`GET /orders/{id}` has an order whose total is 200 times its number, `/sites/{name}` a page (`broken` answers 503), `POST /ledger` books an
invoice and returns it with its number. The ledger refuses INV-2 twice and INV-3 always, so that there is something to try again.
"""
# ruff: noqa: T201 - printing is what it is for

import json
import re
import sys
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REFUSALS = {"INV-2": 2, "INV-3": sys.maxsize}
asked: Counter[str] = Counter()


def order(number: int) -> tuple[int, Any]:
    """An order; the larger its number, the larger its total."""
    return 200, {
        "id": f"A-{number}",
        "total": 200 * number,
        "lines": [{"sku": "x1", "quantity": number}],
    }


def book(invoice: dict[str, Any]) -> tuple[int, Any]:
    """Book an invoice, unless it is one that the ledger does not want yet."""
    name = str(invoice["invoice"])
    asked[name] += 1
    if asked[name] <= REFUSALS.get(name, 0):
        return 503, {"reason": "the ledger is closed"}
    return 200, invoice | {"booking": f"{name}/{asked[name]}"}


class Shop(BaseHTTPRequestHandler):
    """Answers with JSON."""

    def do_GET(self) -> None:
        """An order or a site."""
        if found := re.fullmatch(r"/orders/(\d+)", self.path):
            self.answer(*order(int(found[1])))
        elif found := re.fullmatch(r"/sites/(\w+)", self.path):
            self.answer(503 if found[1] == "broken" else 200, {"site": found[1]})
        else:
            self.answer(404, {"reason": f"there is no {self.path}"})

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """A booking."""
        sent = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self.path == "/ledger":
            self.answer(*book(json.loads(sent)))
        else:
            self.answer(404, {"reason": f"there is no {self.path}"})

    def answer(self, status: int, value: Any) -> None:
        """Send a status and JSON; to HEAD without the JSON."""
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8801
    with ThreadingHTTPServer(("127.0.0.1", port), Shop) as server:
        print(f"the shop is open at http://127.0.0.1:{server.server_address[1]}", flush=True)
        server.serve_forever()
