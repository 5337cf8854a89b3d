"""The books of a pull: which of its requests are open at the server, and what they are still good for."""


class Requests:
    """What the server owes us: the sum over the open requests, by what is known."""

    def __init__(self) -> None:
        self.owed = 0
        self._open: dict[int, tuple[int, float]] = {}  # number: messages, lapse; the oldest first
        self._sum = 0
        self._number = 0

    def opened(self, messages: int, *, lapses_at: float) -> int:
        """Book a request that can be counted on no longer than `lapses_at`; returns its number."""
        self._number += 1
        self._open[self._number] = (messages, lapses_at)
        self._sum += messages
        self.owed += messages
        return self._number

    def delivered(self) -> None:
        """Book a message. It does not tell which request it belongs to."""
        if self.owed:
            self.owed -= 1

    def ended(self, number: int, *, left: int | None = None) -> None:
        """Book the end of a request with `left` messages unfilled, all of them if unknown."""
        messages, _ = self._open.pop(number, (0, 0.0))
        self._sum -= messages
        if messages:
            self.owed = max(0, self.owed - (messages if left is None else left))

    def lapse(self, now: float) -> None:
        """Count no longer on requests whose end should have been told by `now`."""
        while self._open:
            number, (messages, lapses_at) = next(iter(self._open.items()))
            if lapses_at > now:
                break
            del self._open[number]
            self._sum -= messages
        # Filled requests end without a word, so the open ones are an upper bound and no more.
        self.owed = min(self.owed, self._sum)

    def forget(self) -> None:
        """The server has forgotten all of them."""
        self._open.clear()
        self._sum = self.owed = 0
