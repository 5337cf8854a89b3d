"""Fencing tokens: proof that a result answers a task that this engine published.

A token follows from a secret of the engine and the attempt's identity, so nothing has to be stored and
every scheduler can check it. Subjects prove nothing: whoever may publish results may name any of them.
"""

import hashlib
import hmac

from contracts.ids import RunKey, iteration_text

SECRET_NAME = "task_tokens"
SECRET_BYTES = 32


class Tokens:
    """Makes and checks the tokens of attempts."""

    def __init__(self, secret: bytes) -> None:
        assert len(secret) >= SECRET_BYTES
        self._keyed = hashlib.blake2b(key=secret, digest_size=12)

    def make(self, execution_id: str, key: RunKey, attempt: int) -> str:
        """Return the token of one attempt: 24 hexadecimal digits."""
        text = f"{execution_id}:{key[0]}:{iteration_text(key[1])}:{attempt}"
        mac = self._keyed.copy()  # the key is worked in once
        mac.update(text.encode())
        return mac.hexdigest()

    def fits(self, token: str, execution_id: str, key: RunKey, attempt: int) -> bool:
        """Whether `token` is the one of this attempt, compared in constant time."""
        expected = self.make(execution_id, key, attempt)
        return hmac.compare_digest(token.encode(), expected.encode())
