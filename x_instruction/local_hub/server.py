"""Serving a folder on an address."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from pathlib import Path

from x_instruction.errors import MissingExtra, RecipeError

try:
    import uvicorn
    from starlette.types import ASGIApp
    from uvicorn.protocols.http.h11_impl import H11Protocol

    from x_instruction.local_hub.accounts import Accounts
    from x_instruction.local_hub.app import application
    from x_instruction.local_hub.folder import Folder
    from x_instruction.local_hub.incoming import Hub
    from x_instruction.local_hub.limits import Limits
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "starlette", "local-hub") from error

__all__ = ["Limits", "address", "application", "is_loopback", "listen", "open_hub", "serve"]

logger = logging.getLogger(__name__)
LOOPBACK = "127.0.0.1"
FIRST_ACCOUNT = "local"
# Seconds in which a client can begin a request: until the end of its headers.
BEGUN = 30.0
# Seconds in which a client reads some of an answer that waits for it.
UNREAD = 60.0


def open_hub(folder: Path, limits: Limits, roles: dict[str, str], jobs: bool = False) -> tuple[Hub, dict[str, str]]:
    """The folder with its accounts, and the tokens that were made now, by account.

    Args:
        folder: what is served.
        limits: what a client may send.
        roles: accounts to create, with their roles; existing ones are kept.
        jobs: whether accounts that may write can run commands on this machine.

    Raises:
        RecipeError: the folder is served already, or an account has another role.
    """
    served = Folder(folder)
    accounts = Accounts(folder / "local-hub.json", served.scratch)
    if not len(accounts) and not roles:
        roles = {FIRST_ACCOUNT: "write"}
    made = {}
    for name, role in roles.items():
        known = accounts.get(name)
        if known is None:
            made[name] = accounts.add(name, role)
        elif known.role != role:
            raise RecipeError(f"the account {name} has the role {known.role}, not {role}: take another name")
    return Hub(served, accounts, limits, jobs), made


def listen(host: str, port: int) -> socket.socket:
    """A socket on an address of this machine; port 0 is any free one.

    Raises:
        RecipeError: the address is not to be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise RecipeError(f"cannot listen on {host}, port {port}: {error.strerror or error}") from error


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve(app: ASGIApp, listening: socket.socket) -> None:
    """Serve until a signal comes."""
    host = listening.getsockname()[0]
    if not is_loopback(host):
        logger.warning(
            "others can reach %s: this is plain HTTP, tokens and data go over the network as they are. "
            "Put a proxy with TLS before it, or serve on %s.",
            host,
            LOOPBACK,
        )
    asyncio.run(uvicorn.Server(configure(app)).serve(sockets=[listening]))


class Connection(H11Protocol):
    """A connection that ends if no request begins on it in time, or if nothing of an answer is read for long.

    What is sent of a request meanwhile gains no time.
    """

    _late: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Read a part of a request."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        """Wait until the client reads on."""
        super().pause_writing()
        self._unread = self.loop.call_later(UNREAD, self.transport.abort)

    def resume_writing(self) -> None:
        """The client read on."""
        super().resume_writing()
        self._reads()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        super().connection_lost(exc)
        self._stop()
        self._reads()

    def _watch(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop()
        elif self._late is None:
            self._late = self.loop.call_later(BEGUN, self.transport.close)

    def _stop(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _reads(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None


def configure(app: ASGIApp) -> uvicorn.Config:
    """How the server answers."""
    return uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        # Its own is renewed by a clock that is late on a busy machine. See RequestLog.
        date_header=False,
        timeout_graceful_shutdown=5,
    )


def address(listening: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
