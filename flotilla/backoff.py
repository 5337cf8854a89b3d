"""How long to wait before something that ended by itself is started again."""

FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 10.0
HEALTHY_SECONDS = 30.0


def backoff_seconds(crashes: int) -> float:
    """The delay after this many crashes in a row, the first being 1: 0.5 s, doubling up to 10 s."""
    doublings = min(crashes - 1, 16)  # more would only make the number large
    return min(FIRST_DELAY_SECONDS * 2.0**doublings, LONGEST_DELAY_SECONDS)


def crashes_in_a_row(before: int, *, lived_seconds: float) -> int:
    """The count after one more crash: who lived for 30 s starts afresh."""
    return 1 if lived_seconds >= HEALTHY_SECONDS else before + 1
