"""A password per server, made at its first start and kept beside its data.

Loopback is open to every account of the machine; the password keeps the others out.
"""

import os
import secrets
from pathlib import Path


def kept_password(file: Path) -> str:
    """The password in `file`, which is made if it is missing, readable by its owner alone; safe in URLs."""
    if not file.exists():
        write_private(file, secrets.token_urlsafe(24))
    return file.read_text().strip()


def write_private(file: Path, text: str) -> None:
    """Write a file that no other account can read at any moment; what it held before is replaced as a whole."""
    draft = file.with_name(f".{file.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    draft.replace(file)
