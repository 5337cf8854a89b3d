"""Named queries: all SQL text of the engine lives in `db/sql`, and is read from there once.

A file holds the queries of one subject. Each begins with `-- name: <name>`, and the comment after it says its purpose.
"""

import re
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "sql"
_HEADER: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load(subject: str) -> dict[str, str]:
    """Return the queries of `db/sql/<subject>.sql` by name."""
    return read(FOLDER / f"{subject}.sql")


def read(file: Path) -> dict[str, str]:
    """Return the queries of a file by name."""
    _, *parts = _HEADER.split(file.read_text())
    names, texts = parts[::2], parts[1::2]
    assert len(set(names)) == len(names), f"{file.name} names a query twice"
    return {name: text.strip() for name, text in zip(names, texts, strict=True)}
