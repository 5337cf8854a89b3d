"""What the processes of the engine counted while something was broken: written down by each several times a second.

A process that is killed loses the last moment of its tally, and nothing else.
"""

from collections import Counter
from pathlib import Path

import msgspec

Tally = dict[str, int]


def read(folder: Path) -> Counter[str]:
    """Return the sum of what all processes counted."""
    counted: Counter[str] = Counter()
    for file in folder.glob("*.json"):
        counted.update(msgspec.json.decode(file.read_bytes(), type=Tally))
    return counted


def write(file: Path, tally: Tally) -> None:
    """Replace a tally as a whole."""
    new = file.with_suffix(".new")
    new.write_bytes(msgspec.json.encode(tally))
    new.replace(file)
