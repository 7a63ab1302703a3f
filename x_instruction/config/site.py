"""Sites: where a run is made, such as a cluster. A site is a TOML file of its own, and never part of a recipe.

Nothing in it affects the data, so a run can move from one site to another.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import field_validator

from x_instruction.config.fields import NotNegative, Positive, Strings
from x_instruction.config.section import Section, validate
from x_instruction.errors import RecipeError


def _names(values: tuple[str, ...]) -> tuple[str, ...]:
    """Check names of environment variables. A value would end up in a job script.

    Raises:
        ValueError: one is no name.
    """
    for name in values:
        if not name.isidentifier():
            # The value is not repeated: it may be a secret.
            raise ValueError(
                "holds something other than a name: expected names of environment variables, such as HF_TOKEN; "
                "their values are read from the environment"
            )
    return values


class Slurm(Section):
    """A Slurm cluster (`--on slurm`)."""

    partition: str = ""
    """Partition. If not set, the default of the cluster."""
    account: str = ""
    """Account to charge."""
    qos: str = ""
    """Quality of service."""
    time: str = ""
    """Time limit of an element, as `sbatch --time` takes it, such as `12:00:00`. If not set, the limit of the
    partition."""
    gpus: NotNegative = 0
    """GPUs of an element. It runs one worker per GPU, or per group of GPUs that a model is split over. Passages are
    made without GPUs."""
    cpus: Positive = 1
    """CPU cores of an element."""
    memory: str = ""
    """Memory of an element, as `sbatch --mem` takes it, such as `64G`."""
    advance_memory: str = "2G"
    """Memory of the job that plans and submits after each array, with one core and no GPU."""
    options: Strings = ()
    """Further options of `sbatch`, such as `["--constraint=a100"]`."""
    setup: Strings = ()
    """Lines of shell that run before an element starts, such as `["module load cuda"]`."""
    env: Strings = ()
    """Names of environment variables to pass on, such as `["HF_TOKEN"]`. Their values are written nowhere."""
    writer_server: Strings = ()
    """Command of a model server that each element starts for `generate`, such as `["vllm", "serve", "org/model",
    "--port", "{port}"]`. It replaces `generate.model.server.url`. The element ends it after its last shard."""
    rater_server: Strings = ()
    """Command of a model server that each element starts for `refine`."""
    shards_per_element: Positive = 8
    """Shards that an element makes, one after another, with one loaded model."""
    max_array: Positive = 1000
    """Most elements of one array. A stage with more is submitted as several arrays. The cluster's `MaxArraySize` is
    also kept."""
    max_running: NotNegative = 0
    """Most elements of an array that run at the same time; 0 for no limit."""
    requeue: bool = True
    """Put an element back into the queue when its time ends or it is preempted. If false, its shards are submitted
    again after the array."""
    signal_seconds: Positive = 120
    """Seconds before the time limit at which an element saves its work and ends."""

    _check_env = field_validator("env")(_names)

    @field_validator("writer_server", "rater_server")
    @classmethod
    def _port(cls, command: tuple[str, ...]) -> tuple[str, ...]:
        if command and not any("{port}" in word for word in command):
            raise ValueError(f"is {' '.join(command)!r}, expected a command with {{port}}: each element has its own")
        return command


class HfJobs(Section):
    """Jobs of the Hugging Face Hub (`--on hf-jobs`)."""

    flavor: str = "cpu-basic"
    """Hardware of jobs that run a model, such as `a100-large`. `hf jobs hardware` lists the names."""
    cpu_flavor: str = "cpu-upgrade"
    """Hardware of jobs that run none: passages, and requests to a server."""
    package: str = ""
    """What `uv run --with` installs in a job, such as `x_instruction[vllm]` or `git+https://...`. If not set,
    x_instruction in the version of this machine. All machines of a run need one version."""
    image: str = ""
    """Docker image. If not set, the one of `hf jobs uv run`."""
    timeout: str = "12h"
    """Time limit of a job, such as `90m` or `12h`."""
    namespace: str = ""
    """User or organization that the jobs run under. If not set, the user of the token."""
    secrets: Strings = ()
    """Names of environment variables to pass as secrets, such as `["AWS_SECRET_ACCESS_KEY"]`. `HF_TOKEN` is always
    passed."""
    env: Strings = ()
    """Names of environment variables to pass on."""
    shards_per_job: Positive = 8
    """Shards that a job makes."""
    max_jobs: Positive = 100
    """Most jobs at the same time. The shards of a larger stage are submitted when these jobs have ended."""
    attempts: Positive = 1
    """How often the Hub starts a job that fails."""

    _check_names = field_validator("secrets", "env")(_names)


class Ray(Section):
    """A Ray cluster (`--on ray`)."""

    workers: NotNegative = 0
    """Workers; 0 for as many as the cluster has room for."""
    gpus: NotNegative = 0
    """GPUs of a worker, for recipes that run a model on GPUs. If 0, those that the models of the recipe need."""
    cpus: Positive = 1
    """CPU cores of a worker."""
    env: Strings = ()
    """Names of environment variables to pass on."""

    _check_env = field_validator("env")(_names)


class Site(Section):
    """A place where runs are made."""

    scratch: str = ""
    """Folder on a local disk for request caches while a shard is made. If not set, the system's temporary folder, used
    where the run folder is not on a local disk."""
    slurm: Slurm = Slurm()
    """A Slurm cluster."""
    hf_jobs: HfJobs = HfJobs()
    """Jobs of the Hub."""
    ray: Ray = Ray()
    """A Ray cluster."""


def load(path: str | Path) -> Site:
    """A site from a TOML file.

    Raises:
        RecipeError: unreadable file, unknown key, wrong type or value out of range.
    """
    try:
        table = tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise RecipeError(f"cannot read the site {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise RecipeError(f"the site {path} is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"the site {path} is not valid TOML: {error}") from None
    return validate(Site, table)
