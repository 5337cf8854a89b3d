"""What `flotilla up` keeps in DATA_DIR: the dev token and the gateway's address, and the key that seals credentials.

All stay when it stops, so the token is the same at the next start, and a client that comes too early says where it looked.
"""

import base64
import os
from pathlib import Path
from typing import Final

from flotilla.embedded.passwords import kept_password, write_private
from flotilla.settings import SECRET_KEY_BYTES

# The one user of an installation that `up` has made. A fixed id, so that a database of its own or a given one serve alike.
DEV_USER_ID: Final = "01900000-0000-7000-8000-000000000001"
DEV_USER_EMAIL: Final = "dev@localhost"


class Installation:
    """The folder of one `flotilla up`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def token_file(self) -> Path:
        """Holds the dev token; readable by its owner alone."""
        return self.folder / "dev_token"

    @property
    def address_file(self) -> Path:
        """Holds the address of the gateway."""
        return self.folder / "gateway_url"

    def kept_token(self) -> str:
        """The dev token, made at the first call."""
        return kept_password(self.token_file)

    @property
    def secret_keys_file(self) -> Path:
        """Holds SECRET_KEYS; readable by its owner alone. Without it nobody can open what it has sealed."""
        return self.folder / "secret_keys"

    def kept_secret_keys(self) -> str:
        """What SECRET_KEYS is where it is not set: one key, made at the first call."""
        if not self.secret_keys_file.exists():
            key = base64.b64encode(os.urandom(SECRET_KEY_BYTES)).decode()
            write_private(self.secret_keys_file, f"up:{key}\n")
        return self.secret_keys_file.read_text().strip()

    def write_address(self, url: str) -> None:
        """Tell client commands where the gateway is."""
        write_private(self.address_file, f"{url}\n")

    def token(self) -> str | None:
        """The dev token, None if there is none that we may read."""
        return _text_of(self.token_file)

    def address(self) -> str | None:
        """Where the gateway was told to be last, None if nobody said."""
        return _text_of(self.address_file)


def _text_of(file: Path) -> str | None:
    try:
        return file.read_text().strip() or None
    except (OSError, UnicodeDecodeError):
        return None
