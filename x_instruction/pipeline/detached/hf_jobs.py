"""Hugging Face Jobs: an element is a job. The Hub has no dependencies between jobs, so the coordinator waits."""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING, TypeVar

from x_instruction import __version__
from x_instruction.config.site import HfJobs
from x_instruction.errors import EngineError, RecipeError
from x_instruction.pipeline.detached import Array, Submission
from x_instruction.storage.shard_key import StageKey
from x_instruction.storage.store import BUCKETS, is_store

if TYPE_CHECKING:
    from huggingface_hub import HfApi, JobInfo
    from huggingface_hub.errors import HfHubHTTPError

Answer = TypeVar("Answer")

TOKEN = "HF_TOKEN"
# Stages of jobs that have not ended.
_ACTIVE = ["SCHEDULING", "RUNNING"]


class HfJobsScheduler:
    """Runs the elements of an array as jobs of the Hub.

    Args:
        site: the section of the site.
    """

    advances = False

    def __init__(self, site: HfJobs) -> None:
        self.site = site
        self.per_element = site.shards_per_job

    def server(self, stage: StageKey) -> tuple[str, ...]:
        """No server of a job's own."""
        return ()

    def check(self, array: Array) -> None:
        """Refuse at once, before any work, what would fail later."""
        _check_location(array.location)
        if not re.fullmatch(r"\d+(\.\d+)?[smhd]?", self.site.timeout):
            raise RecipeError(f"hf_jobs.timeout is {self.site.timeout!r}, expected a time such as 90m or 12h")
        unset = [name for name in (*self.site.secrets, *self.site.env) if name != TOKEN and name not in os.environ]
        if unset:
            raise RecipeError(f"[hf_jobs] of the site names {unset[0]}, which is not set: export it first")
        _token()
        hardware = {each.name: each.accelerator for each in _asked(lambda api: api.list_jobs_hardware())}
        for key, flavor in (("flavor", self.site.flavor), ("cpu_flavor", self.site.cpu_flavor)):
            if flavor not in hardware:
                raise RecipeError(f"hf_jobs.{key} is {flavor!r}, expected one of {', '.join(sorted(hardware))}")
        if array.asks_gpu and hardware[self.site.flavor] is None:
            with_gpu = sorted(name for name, accelerator in hardware.items() if accelerator)
            raise RecipeError(
                f"the models of the recipe need a GPU, and hf_jobs.flavor is {self.site.flavor!r}, which has none: "
                f"expected one of {', '.join(with_gpu)}"
            )
        # Refused for a namespace that the token may not use.
        self._active()
        if array.location.startswith(BUCKETS):
            _check_bucket(array.location)

    def submit(self, array: Array) -> Submission:
        """Submit a job for each element, at most ``max_jobs`` of them; the next array has what is left."""
        from huggingface_hub import HfApi

        jobs = list[str]()
        values = {name: os.environ[name] for name in self._secrets(array) if name != TOKEN} | {TOKEN: _token()}
        for rank in range(self._count(array)):
            try:
                job = _asked(
                    partial(
                        HfApi.run_job,
                        image=self._image(),
                        command=self._command(array, str(rank)),
                        env={name: os.environ[name] for name in self.site.env},
                        secrets=values,
                        flavor=self._flavor(array),
                        timeout=self.site.timeout,
                        attempts=self.site.attempts,
                        name=f"{array.name}-{rank}"[:100].replace(".", "-"),
                        namespace=self._namespace,
                    )
                )
            except EngineError:
                if not jobs:
                    raise
                # A limit on the jobs of a user, or a connection that broke: the jobs so far must not be forgotten. The
                # next array has what is left.
                break
            jobs.append(_identifier(job))
        return Submission(jobs)

    def states(self, submission: Submission) -> Mapping[str, int]:
        """Jobs that have not ended, by state."""
        return Counter(str(job.status.stage).lower() for job in self._active(submission))

    def cancel(self, submission: Submission) -> None:
        """Cancel all jobs that have not ended."""
        from huggingface_hub import HfApi

        for job in self._active(submission):
            _asked(partial(HfApi.cancel_job, job_id=job.id, namespace=job.owner.name))

    def shown(self, array: Array) -> str:
        """The jobs that ``submit`` would run, as a command of ``hf``."""
        options = ["--image", self._image(), "--flavor", self._flavor(array), "--timeout", self.site.timeout]
        options += ["--namespace", self.site.namespace] if self.site.namespace else []
        for name in self._secrets(array):
            options += ["--secrets", name]
        for name in self.site.env:
            options += ["--env", name]
        if self.site.attempts > 1:
            options += ["--attempts", str(self.site.attempts)]
        command = [*options, *self._command(array, "$RANK")[2:]]
        count = self._count(array)
        words = " ".join(word if word == "$RANK" else shlex.quote(word) for word in command)
        return f"# {count} job{'s' * (count != 1)}: RANK is 0 to {count - 1}\nhf jobs uv run --detach {words}\n"

    def _count(self, array: Array) -> int:
        return min(array.elements, self.site.max_jobs)

    def _image(self) -> str:
        from huggingface_hub._jobs_api import DEFAULT_UV_IMAGE

        return self.site.image or DEFAULT_UV_IMAGE

    def _flavor(self, array: Array) -> str:
        return self.site.flavor if array.needs_gpu else self.site.cpu_flavor

    def _command(self, array: Array, rank: str) -> list[str]:
        package = self.site.package or f"x_instruction=={__version__}"
        return ["uv", "run", "--with", package, "x-instruction", *array.command(rank)]

    def _secrets(self, array: Array) -> list[str]:
        """Names of secrets: the token always, since a job reads and writes the run with it."""
        keys = [name for name in array.env if name in os.environ]
        return list(dict.fromkeys((TOKEN, *self.site.secrets, *keys)))

    @cached_property
    def _namespace(self) -> str:
        return self.site.namespace or str(_asked(lambda api: api.whoami()["name"]))

    def _active(self, submission: Submission | None = None) -> list[JobInfo]:
        """The jobs that have not ended: of a submission, or of the namespace."""
        active = _asked(lambda api: list(api.list_jobs(status=_ACTIVE, namespace=self._namespace)))
        return [job for job in active if submission is None or _identifier(job) in submission.elements]


def _check_location(location: str) -> None:
    if not is_store(location):
        raise RecipeError(
            f"--out is {location}, a folder of this machine, which jobs do not see: expected a bucket or an object "
            "store, such as hf://buckets/NAMESPACE/NAME/runs/demo or s3://BUCKET/runs/demo"
        )


def _check_bucket(location: str) -> None:
    """Refuse a bucket that does not exist. Whether it can be written is checked where the run is opened."""
    from huggingface_hub.errors import BucketNotFoundError

    bucket = "/".join(location.removeprefix(BUCKETS).split("/")[:2])

    def look(api: HfApi) -> None:
        try:
            api.bucket_info(bucket)
        except BucketNotFoundError:
            raise RecipeError(
                f"--out names the bucket {bucket}, which does not exist or which the token does not see: create it "
                f"with `hf buckets create {bucket} --private`"
            ) from None

    _asked(look)


def _token() -> str:
    from huggingface_hub import get_token

    token: str | None = get_token()
    if token is None:
        raise EngineError("--on hf-jobs needs a token that may run jobs: set HF_TOKEN, or run `hf auth login`")
    return token


def _api() -> HfApi:
    from huggingface_hub import HfApi

    return HfApi(library_name="x_instruction", library_version=__version__)


def _asked(question: Callable[[HfApi], Answer]) -> Answer:
    """What the Hub answers.

    Raises:
        EngineError: it does not, or it refuses.
    """
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
    from huggingface_hub.utils import httpx

    api = _api()
    try:
        return question(api)
    except OfflineModeIsEnabled:
        raise EngineError("HF_HUB_OFFLINE is set, and --on hf-jobs needs the Hub: unset it") from None
    except HfHubHTTPError as error:
        raise EngineError(f"the Hub at {api.endpoint} refuses: {_said(error)}") from error
    except httpx.HTTPError as error:
        raise EngineError(f"the Hub at {api.endpoint} does not answer: {error}") from error


def _said(error: HfHubHTTPError) -> str:
    return error.server_message or str(error).splitlines()[0]


def _identifier(job: JobInfo) -> str:
    return f"{job.owner.name}/{job.id}"
