"""What engines that ask a server have in common: each request is sent by itself, and the server batches on its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

from x_instruction.engines import Batch, Request, Result, always, single_batch
from x_instruction.engines.remote.http import Client


class RemoteEngine(ABC):
    """A model behind the servers of a client."""

    client: Client

    def plan(self, requests: Sequence[Request]) -> list[Batch]:
        """One batch of all requests.

        Raises:
            NotCapable: the server does not support this type of prompt or request.
        """
        self._check(requests[0])
        return single_batch(requests)

    def answer(
        self, requests: Sequence[Request], shared: int = 0, should_continue: Callable[[], bool] = always
    ) -> Iterator[tuple[int, Result]]:
        """Answer requests concurrently, as many at once as the server handles well."""
        return self.client.answer_all(requests, self._answer, should_continue)

    def answer_stream(
        self, requests: Iterable[Request], should_continue: Callable[[], bool] = always
    ) -> Generator[tuple[int, Result], None, None]:
        """As ``answer``, for requests that are taken as the server has room for them.

        Raises:
            NotCapable: as ``plan``.
        """
        return self.client.answer_all(map(self._checked, requests), self._answer, should_continue)

    def _checked(self, request: Request) -> Request:
        self._check(request)
        return request

    @abstractmethod
    def _check(self, request: Request) -> None:
        """Check that the server supports a request.

        Raises:
            NotCapable: it does not.
        """

    @abstractmethod
    async def _answer(self, request: Request) -> Result:
        """Send a request.

        Raises:
            RetriesExhausted: every attempt failed.
            EngineError: no request can be answered.
        """
