"""Several servers of one model, whose addresses are in a file that changes meanwhile."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from aiohttp import web
from engines.openai_server import MODEL, OpenAIServer
from scale import small_run

from x_instruction.config.model import Model, Server
from x_instruction.config.recipe import load
from x_instruction.config.section import portable
from x_instruction.engines import Completion, open_engine
from x_instruction.engines.fingerprint import fingerprint
from x_instruction.engines.remote import endpoints, http
from x_instruction.errors import EngineError, RecipeError

REQUESTS = [Completion(f"Write about {number}.", 8, seed=number) for number in range(300)]


class Mortal(OpenAIServer):
    """A server that dies at a request: open connections break, and new ones are refused."""

    def __init__(self, requests):
        super().__init__()
        self.left = requests

    async def _handle(self, request):
        if request.method == "POST":
            self.left -= 1
        if self.left < 0:
            await self._serving.refuse()
            request.transport.abort()
            return web.Response()
        return await super()._handle(request)


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(endpoints, "READ_EVERY", 0.02)
    monkeypatch.setattr(http, "READ_EVERY", 0.02)
    monkeypatch.setattr(endpoints, "LAST_WAIT", 0.3)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "endpoints.txt"


@pytest.fixture(scope="module")
def expected():
    """The answers of one server."""
    with OpenAIServer() as server:
        return dict(opened(url=server.url).answer(REQUESTS))


def opened(**server):
    return open_engine(Model(name=MODEL, engine="openai", server=Server(**{"concurrency": 8, **server})))


def listed(file, *servers):
    file.write_text("".join(f"{server if isinstance(server, str) else server.url}  # one\n" for server in servers))


def work(server):
    """Requests for the work itself, without probes."""
    return sum("Write about" in str(body) for _, body in list(server.asked))


def free_address():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{sock.getsockname()[1]}/v1"


def answered(engine, meanwhile=lambda number: None):
    """The answers by position; ``meanwhile`` is called with their number so far."""
    results = {}
    for position, result in engine.answer(REQUESTS):
        assert position not in results
        results[position] = result
        meanwhile(len(results))
    return results


def test_endpoints_can_be_lost_and_added_during_a_run(file, expected):
    with OpenAIServer() as first, Mortal(60) as second, OpenAIServer() as third:
        listed(file, first, second)

        def meanwhile(number):
            if number == 100:
                listed(file, first, second, third)
            if 100 < number < 120:
                time.sleep(0.005)

        assert answered(opened(endpoints_file=str(file)), meanwhile) == expected
        asked = [work(server) for server in (first, second, third)]
        assert all(asked), asked
        # Requests that the second server did not answer were sent again.
        assert len(REQUESTS) <= sum(asked) <= 1.05 * len(REQUESTS)


def test_a_removed_endpoint_gets_no_new_requests(file, expected):
    with OpenAIServer() as first, OpenAIServer() as second:
        listed(file, first, second)
        at_removal = []

        def meanwhile(number):
            if number == 60:
                listed(file, second)
                time.sleep(0.05)
            if number == 100:
                at_removal.append(work(first))

        assert answered(opened(endpoints_file=str(file)), meanwhile) == expected
        assert 0 < at_removal[0] == work(first)


@pytest.mark.parametrize("content", [None, "", "http:/broken"])
def test_a_short_outage_of_all_endpoints_is_waited_for(file, expected, content):
    with Mortal(80) as first, Mortal(60) as second, OpenAIServer() as third:
        listed(file, first, second)

        def vanish_and_come_back():
            while min(first.left, second.left) >= 0:
                time.sleep(0.01)
            file.unlink() if content is None else file.write_text(content)
            time.sleep(0.3)
            listed(file, third)

        thread = threading.Thread(target=vanish_and_come_back)
        thread.start()
        assert answered(opened(endpoints_file=str(file), outage_timeout=30.0)) == expected
        thread.join()
        assert work(third) > 100


def test_a_long_outage_of_all_endpoints_is_an_error(file):
    with Mortal(80) as first, Mortal(60) as second:
        listed(file, first, second)
        engine = opened(endpoints_file=str(file), outage_timeout=0.6)
        file.write_text("")
        with pytest.raises(EngineError) as error:
            answered(engine)
    message = str(error.value)
    assert message.startswith(f"no endpoint of {file} has answered for 1 seconds (")
    assert f"server.endpoints_file is {file}, which has no address" in message
    assert "run the same command again when the server is back, or raise server.outage_timeout" in message


def test_an_endpoint_of_another_model_is_refused(file):
    with OpenAIServer() as first, OpenAIServer(models=("qwen",)) as second:
        listed(file, first, second)
        with pytest.raises(EngineError) as error:
            answered(opened(endpoints_file=str(file)))
        assert str(error.value) == f"{second.url} serves no model {MODEL!r} (it serves: qwen)"
        listed(file, first)
        engine = opened(endpoints_file=str(file))
        with pytest.raises(EngineError, match=f"{second.url} serves no model"):
            answered(engine, lambda number: listed(file, first, second) if number == 10 else time.sleep(0.001))


def test_an_unreachable_endpoint_is_left_out_at_the_start(file, expected):
    with OpenAIServer() as server:
        listed(file, free_address(), server)
        assert answered(opened(endpoints_file=str(file))) == expected
    listed(file, free_address(), free_address())
    with pytest.raises(
        EngineError, match=r"endpoints.txt: no endpoint can be reached, such as http://127.*cannot connect"
    ):
        opened(endpoints_file=str(file))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            None,
            r"server.endpoints_file is .*endpoints.txt, which cannot be read \(No such file or directory\): expected",
        ),
        (b"", r"endpoints.txt, which has no address: expected one address per line, such as http://localhost:8000/v1"),
        (b"# none\n\n", r"has no address"),
        (b"\xff\xfe", r"cannot be read \(not UTF-8\)"),
        (b"http://a/v1\n\nb:8000\n", r"endpoints.txt, line 3, is 'b:8000', expected an address such as"),
        (b"http://\n", r"line 1, is 'http://', expected"),
        (b"http://me:secret@a/v1\n", r"line 1, holds a user or password: put the key"),
    ],
)
def test_an_unusable_file_is_refused(file, content, message):
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(EngineError, match=message):
        opened(endpoints_file=str(file))


def test_url_and_endpoints_file_exclude_each_other(file):
    with pytest.raises(RecipeError, match=r"endpoints_file is set and url too, expected one of them"):
        Server(url="http://a/v1", endpoints_file=str(file))


def test_addresses_are_not_part_of_the_fingerprint(file):
    one = Model(name=MODEL, engine="openai", server=Server(url="http://a/v1"))
    several = one.replace(server=Server(endpoints_file=str(file)))
    assert fingerprint(one) == fingerprint(several)
    assert "endpoints_file" not in portable(several)["server"]


def test_separate_servers_for_writing_and_rating_give_the_same_bytes(tmp_path):
    files = {name: tmp_path / f"{name}.txt" for name in ("writers", "raters")}
    with OpenAIServer() as one, OpenAIServer() as writer, Mortal(30) as mortal, OpenAIServer() as rater:
        recipe = load(small_run.write_recipe(tmp_path / "recipe.toml", one.url))
        small_run.make(recipe, tmp_path / "one", until="rated")
        listed(files["writers"], writer, mortal)
        listed(files["raters"], rater)
        places = {name: Server(endpoints_file=str(file), retries=1) for name, file in files.items()}
        apart = recipe.replace(
            generate=recipe.generate.replace(model=recipe.generate.model.replace(server=places["writers"])),
            refine=recipe.refine.replace(model=recipe.refine.rater_model.replace(server=places["raters"])),
        )
        small_run.make(apart, tmp_path / "apart", until="rated")
        asked = [small_run.requests(server) for server in (writer, mortal, rater)]
    small_run.same_bytes(tmp_path / "one", tmp_path / "apart", until="rated")
    assert asked[2] == small_run.REQUESTS / 2
    assert small_run.REQUESTS / 2 <= asked[0] + asked[1] <= 1.05 * small_run.REQUESTS / 2
    assert all(asked)
