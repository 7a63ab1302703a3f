"""Addresses and tokens that hold for a while and one purpose. The key lives as long as the server."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time

from x_instruction.local_hub.refused import Refused


class Signer:
    """Signs what is handed to a client and comes back without its token."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def sign(self, *what: str, seconds: int) -> str:
        """A signature of these words, with the time until which it holds."""
        until = str(int(time.time()) + seconds)
        return f"{until}.{self._mac(until, *what)}"

    def check(self, signature: str, *what: str) -> None:
        """Whether the signature is one of these words and still holds.

        Raises:
            Refused: 403.
        """
        until, _, mac = signature.partition(".")
        good = hmac.compare_digest(self._mac(until, *what).encode(), mac.encode("utf-8", "replace"))
        if not good or not until.isdigit() or int(until) < time.time():
            raise Refused(403, "the address is not signed, or its time is over: ask for a new one")

    def _mac(self, *what: str) -> str:
        return hmac.new(self._key, "\0".join(what).encode("utf-8", "replace"), hashlib.sha256).hexdigest()
