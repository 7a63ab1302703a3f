"""Who may do what: tokens with a name and a role, kept as hashes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from x_instruction.errors import RecipeError
from x_instruction.local_hub.refused import Refused
from x_instruction.storage.atomic import TempDir

ROLES = ("read", "write")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,40}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Account:
    """A token, without itself.

    Args:
        name: what commits and discussions are signed with.
        role: ``read`` sees private repositories, ``write`` changes everything.
        sha256: the token's hash.
    """

    name: str
    role: str
    sha256: str

    def needs_write(self) -> None:
        """Whether the account may write.

        Raises:
            Refused: 403.
        """
        if self.role != "write":
            raise Refused(403, f"You don't have the required permissions: the token of {self.name} may only read")


class Accounts:
    """The tokens of one folder."""

    def __init__(self, path: Path, scratch: TempDir) -> None:
        self._path = path
        self._scratch = scratch
        self._accounts = self._read() if path.exists() else {}

    def __len__(self) -> int:
        return len(self._accounts)

    def get(self, name: str) -> Account | None:
        """The account of this name."""
        return self._accounts.get(name)

    def _read(self) -> dict[str, Account]:
        try:
            table = json.loads(self._path.read_text("utf-8"))
            return {one["name"]: Account(**one) for one in table["tokens"]}
        except (ValueError, KeyError, TypeError) as error:
            raise RecipeError(f"{self._path} is damaged ({error}): mend it, or remove it for new tokens") from error

    def add(self, name: str, role: str) -> str:
        """Make a token; it is given here and never again.

        Raises:
            RecipeError: no such role, not a name, or another role than the account has.
        """
        if role not in ROLES or not _NAME.fullmatch(name):
            raise RecipeError(f"--token {name}={role} is not NAME={'|'.join(ROLES)}, a name of letters, digits and '-'")
        token = f"hf_{secrets.token_hex(20)}"
        self._accounts[name] = Account(name, role, _digest(token))
        self._scratch.write_json(self._path, {"tokens": [asdict(one) for one in self._accounts.values()]})
        return token

    def by_header(self, header: str | None) -> Account | None:
        """The account of an Authorization header, or None without one.

        Raises:
            Refused: 401, no such token.
        """
        if not header:
            return None
        scheme, _, given = header.partition(" ")
        token = given.strip()
        if scheme.lower() == "basic":
            try:
                token = base64.b64decode(token, validate=True).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                token = ""
        found, digest = None, _digest(token)
        # Every hash is compared, so that the time taken tells nothing.
        for account in self._accounts.values():
            if hmac.compare_digest(account.sha256, digest):
                found = account
        if found is None or scheme.lower() not in ("bearer", "basic"):
            raise Refused(401, "Invalid credentials in Authorization header")
        return found


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
