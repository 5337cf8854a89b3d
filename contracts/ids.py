"""Ids: UUIDv7 from an instant and chance, or from an instant and a key, and the partition they fall into.

Chance and instants are handed in, so that the same arguments always give the same id (RFC 9562, 5.7).
"""

import hashlib
from datetime import datetime
from typing import Final
from uuid import UUID

Iteration = tuple[int, ...]
"""The indexes of a node run's loops, outermost first; empty outside loops."""

RunKey = tuple[str, Iteration]
"""What identifies a node run within its execution: node id and iteration path."""

PARTITIONS: Final = 16
"""Partitions of the inbox. A power of two, so that the id's last byte decides."""


def uuid7(at: datetime, chance: bytes) -> str:
    """Return a UUIDv7 of the instant `at` with 10 bytes of `chance`."""
    assert len(chance) == 10
    milliseconds = int(at.timestamp() * 1000)
    raw = bytearray(milliseconds.to_bytes(6, "big") + chance)
    raw[6] = raw[6] & 0x0F | 0x70
    raw[8] = raw[8] & 0x3F | 0x80
    return str(UUID(bytes=bytes(raw)))


def derived_uuid7(at: datetime, key: str) -> str:
    """Return the UUIDv7 of what happened at `at` under `key`: a hash stands in place of chance."""
    return uuid7(at, hashlib.sha256(key.encode()).digest()[:10])


def is_uuid(text: str) -> bool:
    """Whether `text` is a UUID in its canonical form."""
    if len(text) != 36:
        return False
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def partition_of(execution_id: str) -> int:
    """Return the inbox partition (0 to 15) of an execution."""
    return int(execution_id[-1], 16) % PARTITIONS


def iteration_text(iteration: Iteration) -> str:
    """Return the iteration path as text: `_` outside loops, else indexes joined by `-`."""
    return "-".join(map(str, iteration)) if iteration else "_"


def read_iteration(text: str) -> Iteration:
    """Return the iteration path that `text` spells. Raises ValueError."""
    return () if text == "_" else tuple(int(part) for part in text.split("-"))


def idempotency_key(execution_id: str, node_id: str, iteration: Iteration) -> str:
    """Return the key that every attempt of a node run hands on to what it calls."""
    return f"{execution_id}:{node_id}:{iteration_text(iteration)}"
