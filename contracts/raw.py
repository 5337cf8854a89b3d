"""Values of users as they travel through the engine: bytes of JSON that it never needs to look into."""

from typing import Final

import msgspec

NULL: Final = msgspec.Raw(b"null")

MaybeRaw = msgspec.Raw | msgspec.UnsetType
"""A value that may be absent: msgspec reads no `Raw` out of a union with None."""
