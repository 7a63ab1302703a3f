"""Publishing models: invalid input is refused without changing the Hub, and published models load back."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from local_hub_fixture import RunningHub
from model_facts import evaluation, training, write

from x_instruction.cards.records import TRAINING
from x_instruction.refine.calibration import Calibration

TEMPLATE = "{% for m in messages %}<s>{{ m['content'] }}\n{% endfor %}"
BASE = "push-org/base"
QUANTISED = "sha256:a5fd3b62230aa5ec60212297dc9d20ea"
MANY = """
import json, sys
from click.testing import CliRunner
from x_instruction.cli import cli
from x_instruction.errors import XInstructionError
found = []
for arguments in json.loads(sys.argv[1]):
    result = CliRunner().invoke(cli, ["hub", "push-model", *arguments])
    if result.exception and not isinstance(result.exception, XInstructionError | SystemExit):
        raise result.exception
    found.append([result.exit_code, f"{result.output}{result.exception or ''}"])
print(json.dumps(found))
"""


class Pusher:
    def __init__(self, hub: RunningHub) -> None:
        self.hub = hub

    def __call__(self, *commands: tuple[Any, ...], token: str | None = "", before: str = "") -> list[tuple[int, str]]:
        """Exit codes and output of several commands in one process."""
        asked = json.dumps([[str(part) for part in command] for command in commands])
        return [tuple(one) for one in json.loads(self.hub.python(before + MANY, asked, token=token).splitlines()[-1])]

    def state(self) -> str:
        """Every model on the Hub with its commits."""
        listed = self.hub.ask("/api/models?limit=1000").json
        return json.dumps(sorted((one["id"], one.get("sha")) for one in listed))


@pytest.fixture(scope="module")
def push(local_hub: RunningHub) -> Pusher:
    return Pusher(local_hub)


@pytest.fixture(scope="module")
def base(local_hub: RunningHub, tiny_model: Path) -> str:
    """The base on the hub; its commit."""
    local_hub.create(BASE, "model")
    files = {path.name: path.read_bytes() for path in tiny_model.iterdir() if path.is_file()}
    return local_hub.commit(BASE, files, kind="models")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, base: str) -> Path:
    """A folder with a trained whole model and one with an adapter."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    root = tmp_path_factory.mktemp("models")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = TEMPLATE
    record = training(base_model=BASE, base_revision=base)
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    with torch.no_grad():
        model.model.norm.weight += 0.5
    model.save_pretrained(root / "whole", max_shard_size="100KB")
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    with warnings.catch_warnings():
        # peft calls transformers by a deprecated name.
        warnings.simplefilter("ignore", FutureWarning)
        adapter = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    adapter.save_pretrained(root / "adapter")
    edit(root / "adapter" / "adapter_config.json", base_model_name_or_path=BASE)
    for kind, relation in (("whole", "merge"), ("adapter", "adapter")):
        tokenizer.save_pretrained(root / kind)
        figures = (evaluation(), evaluation(dataset="bench/a", benchmark_task="th", task="a"))
        write(root / kind, record.replace(relation=relation), *figures)
    return root


@pytest.fixture
def whole(models: Path, tmp_path: Path) -> Path:
    shutil.copytree(models / "whole", tmp_path / "whole")
    return tmp_path / "whole"


@pytest.fixture
def adapter(models: Path, tmp_path: Path) -> Path:
    shutil.copytree(models / "adapter", tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.fixture
def rater(adapter: Path) -> Path:
    """An adapter as a run writes it: without a tokenizer, because that of the base model is used."""
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "evaluation/results.json"):
        (adapter / name).unlink()
    edit(adapter / TRAINING, task="ratings", prompt="")
    Calibration(2.0, ((0.5, 1.0, 1.0),)).write(adapter)
    return adapter


def quantised(folder: Path) -> None:
    edit(folder / TRAINING, base_revision=QUANTISED, base_note=f"weights of its Q4_K_M file, {QUANTISED}")


def edit(path: Path, **changes: Any) -> None:
    table = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(table | changes), "utf-8")


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def no_weights(folder: Path) -> None:
    next(folder.glob("model-00001-*.safetensors")).unlink()


def no_record(folder: Path) -> None:
    (folder / TRAINING).unlink()


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer_config.json").unlink()


def no_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()


def no_licence(folder: Path) -> None:
    edit(folder / TRAINING, base_license="unknown")


def outside(folder: Path) -> None:
    edit(folder / "model.safetensors.index.json", weight_map={"a": "../secret.safetensors"})


def pickle(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"x")


def trainer(folder: Path) -> None:
    (folder / "optimizer.pt").write_bytes(b"x")


def code(folder: Path) -> None:
    edit(folder / "config.json", auto_map={"AutoModel": "evil.Model"})


def damaged(folder: Path) -> None:
    (folder / "config.json").write_text("{", "utf-8")


def other_kind(folder: Path) -> None:
    edit(folder / TRAINING, relation="adapter")


def no_base(folder: Path) -> None:
    edit(folder / "adapter_config.json", base_model_name_or_path=None)


def local_base(folder: Path) -> None:
    edit(folder / "adapter_config.json", base_model_name_or_path="/home/me/base")


def other_base(folder: Path) -> None:
    edit(folder / "adapter_config.json", base_model_name_or_path="other/base")


def bad_calibration(folder: Path) -> None:
    (folder / "calibration.json").write_text('{"temperature": 1}', "utf-8")


def whole_generator(folder: Path) -> None:
    edit(folder / TRAINING, task="instructions")
    no_tokenizer(folder)


WHOLE = [
    (no_config, "neither config.json nor adapter_config.json"),
    (no_weights, "is missing: save the model again"),
    (no_record, "x-instruction train sft"),
    (no_tokenizer, "has no tokenizer"),
    (whole_generator, "has no tokenizer"),
    (no_template, "no chat template"),
    (no_licence, "licence of push-org/base is unknown, and this model has the same: .* --base-license"),
    (outside, "expected a .safetensors file in the same folder"),
    (pickle, "pytorch_model.bin, and loading a pickle runs"),
    (trainer, "optimizer.pt, and loading a pickle runs"),
    (code, "needs its own code"),
    (damaged, "is not JSON"),
    (other_kind, "holds a whole model"),
]
ADAPTER = [
    (no_base, "names the base None"),
    (local_base, "names the base '/home/me/base'"),
    (other_base, "correct one"),
    (bad_calibration, "is not a calibration"),
]


def test_an_invalid_folder_is_refused_and_the_hub_unchanged(
    push: Pusher, whole: Path, adapter: Path, tmp_path: Path
) -> None:
    before = push.state()
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "manifest.json").touch()
    commands: list[tuple[Any, ...]] = [(tmp_path / name, "push-org/bad", "--yes") for name in ("none", "rows")]
    for good, cases in ((whole, WHOLE), (adapter, ADAPTER)):
        for spoil, _ in cases:
            shutil.copytree(good, tmp_path / spoil.__name__)
            spoil(tmp_path / spoil.__name__)
            commands.append((tmp_path / spoil.__name__, "push-org/bad", "--yes"))
    expected = [
        "is not a folder",
        "neither config.json nor adapter_config.json",
        *(output for _, output in [*WHOLE, *ADAPTER]),
    ]
    for (status, output), part in zip(push(*commands), expected, strict=True):
        assert status == 1
        assert re.search(part, output, flags=re.DOTALL), output
    assert push.state() == before


def test_an_invalid_name_is_refused_and_the_hub_unchanged(push: Pusher, whole: Path) -> None:
    push.hub.create("push-org/rows", "dataset")
    before = push.state()
    cases = [
        (("push-org/..",), "not a name that the Hub accepts"),
        (("../etc",), "not a name that the Hub accepts"),
        (("name",), "NAMESPACE/NAME"),
        (("datasets/push-org/rows",), "NAMESPACE/NAME"),
        (("push-org/rows",), "is a dataset"),
        (("push-org/bad", "--revision", "a..b"), "not a valid branch name"),
        (("push-org/bad", "--revision", "refs/pr/9"), "Not found|no pull request|not"),
        (("push-org/bad", "--tag", "../v1"), "not a valid tag name"),
        (("push-org/bad", "--create-pr", "--tag", "v1"), "leave out --revision and --tag"),
    ]
    commands = [(whole, *arguments, "--yes") for arguments, _ in cases if "refs/pr/9" not in arguments]
    expected = [output for arguments, output in cases if "refs/pr/9" not in arguments]
    for (status, output), part in zip(push(*commands), expected, strict=True):
        assert status == 1
        assert part in output
    assert push.state() == before


@pytest.mark.parametrize(
    ("token", "output"),
    [(None, "no token for"), ("hf_" + "x" * 34, "does not know this token"), ("read", "is read-only")],
)
def test_a_wrong_token_is_refused_and_the_hub_unchanged(
    push: Pusher, whole: Path, token: str | None, output: str
) -> None:
    before = push.state()
    [(status, result)] = push((whole, "push-org/bad", "--yes"), token=push.hub.read_token if token == "read" else token)
    assert status == 1
    assert output in result
    assert push.state() == before


def test_without_yes_nothing_is_written(push: Pusher, whole: Path) -> None:
    before = push.state()
    [(status, output)] = push((whole, "push-org/dry", "--private"))
    assert status == 0
    assert "nothing was published" in output
    assert "+ README.md" in output
    assert "+ model.safetensors.index.json" in output
    assert f"{push.hub.endpoint}/push-org/dry: new, private" in output
    assert push.state() == before


def snippets(hub: RunningHub, repo: str, where: Path) -> str:
    """Run the examples of a published card without a token. Returns the output of the last one."""
    card = hub.ask(f"/{repo}/resolve/main/README.md", token=None).text
    *_, snippet = re.findall(r"^```python\n(.*?)^```$", card, flags=re.MULTILINE | re.DOTALL)
    command = [sys.executable, "-W", "ignore", "-c", snippet]
    done = subprocess.run(command, cwd=where, env=hub.env(token=None), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def commits(hub: RunningHub, repo: str) -> list[dict[str, Any]]:
    return hub.ask(f"/api/models/{repo}/commits/main").json


def test_a_whole_model_is_published_and_loads_back(push: Pusher, whole: Path, tmp_path: Path) -> None:
    hub, repo = push.hub, "push-org/whole"
    [(status, output)] = push((whole, repo, "--yes", "--tag", "v1"))
    assert status == 0, output
    assert "loads with the same weights" in output
    info = hub.ask(f"/api/models/{repo}").json
    files = {one["rfilename"] for one in info["siblings"]}
    kept = {path.relative_to(whole).as_posix() for path in whole.rglob("*") if path.is_file()}
    assert files - {".gitattributes"} == kept | {"README.md", ".eval_results/bench--a.yaml"}
    assert len(commits(hub, repo)) == 2
    assert hub.ask(f"/api/models/{repo}/revision/v1").json["sha"] == info["sha"]
    assert info["cardData"]["base_model"] == BASE
    assert snippets(hub, repo, tmp_path).strip()
    # The same again takes no shards of the old one along.
    for path in whole.glob("model*.safetensors*"):
        path.unlink()
    one_file(whole)
    [(status, output)] = push((whole, repo, "--yes"))
    assert status == 0, output
    files = {one["rfilename"] for one in hub.ask(f"/api/models/{repo}").json["siblings"]}
    assert {name for name in files if "safetensors" in name} == {"model.safetensors"}


def one_file(folder: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder)).save_pretrained(folder)


def test_an_adapter_is_published_and_loads_back(push: Pusher, adapter: Path, tmp_path: Path) -> None:
    hub, repo = push.hub, "push-org/adapter"
    assert push((adapter, repo, "--yes"))[0][0] == 0
    card = hub.ask(f"/{repo}/resolve/main/README.md").text
    assert "base_model_relation: adapter" in card
    assert "library_name: peft" in card
    assert snippets(hub, repo, tmp_path).strip()


def test_an_adapter_of_a_run_is_published_without_a_tokenizer(push: Pusher, rater: Path) -> None:
    elsewhere = rater.with_name("elsewhere")
    shutil.copytree(rater, elsewhere)
    quantised(elsewhere)
    on_hub, own = push((rater, "push-org/rater", "--yes"), (elsewhere, "push-org/quantised", "--yes"))
    assert on_hub[0] == 0, on_hub[1]
    assert "loads with the same weights" in on_hub[1]
    # No revision of the Hub has the weights that it was tuned on, so there is nothing to load it on.
    assert own[0] == 0, own[1]
    assert "loads with" not in own[1]
    assert f"has the same files and weights; it was not loaded, because {QUANTISED} is not a revision" in own[1]
    calibrated = """
    from x_instruction.config.model import Model
    from x_instruction.refine import calibration
    print(calibration.of(Model(name="embedded", adapter="push-org/rater")))
    """
    assert push.hub.python(calibrated).strip() == str(Calibration(2.0, ((0.5, 1.0, 1.0),)))


def test_if_a_published_model_cannot_be_loaded_the_error_names_its_commit(push: Pusher, rater: Path) -> None:
    lost = rater.with_name("lost")
    shutil.copytree(rater, lost)
    edit(lost / TRAINING, base_revision="0" * 40)
    broken = rater.with_name("broken")
    shutil.copytree(rater, broken)
    edit(broken / "adapter_config.json", target_modules=["nothing"])
    expected = [
        ("push-org/lost", r"its files equal the folder's, and loading it on push-org/base at 000000000000 failed"),
        ("push-org/broken", r"its files equal the folder's, and loading it on push-org/base at \w+ failed"),
    ]
    found = push((lost, "push-org/lost", "--yes"), (broken, "push-org/broken", "--yes"))
    for (status, output), (repo, result) in zip(found, expected, strict=True):
        assert status == 1
        assert re.search(rf"{repo} was published at \w{{12}}: {result}", output), output


def test_errors_of_libraries_are_reported_without_a_traceback(push: Pusher, whole: Path) -> None:
    trip = """
from transformers import AutoTokenizer
def trip(*arguments, **options):
    raise AttributeError("'NoneType' object has no attribute 'x'")
AutoTokenizer.from_pretrained = trip
"""
    [(status, output)] = push((whole, "push-org/tripped", "--yes"), before=trip)
    assert status == 1
    assert re.search(r"push-org/tripped was published at \w{12}: its files equal the folder's, and loading it", output)
    assert "'NoneType' object has no attribute 'x'" in output


def test_a_licence_option_is_in_card_and_record(push: Pusher, rater: Path) -> None:
    hub, repo = push.hub, "push-org/licensed"
    no_licence(rater)
    link = "https://example.org/terms"
    named, dry, done = push(
        (rater, repo, "--base-license", "Acme Terms", "--yes"),
        (rater, repo, "--base-license", "MIT"),
        (rater, repo, "--base-license", "Acme Terms", "--base-license-link", link, "--yes"),
    )
    assert named[0] == 1
    assert "--base-license-link" in named[1]
    assert dry[0] == 0, dry[1]
    assert "licence of push-org/base: mit" in dry[1]
    assert done[0] == 0, done[1]
    assert len(commits(hub, repo)) == 2
    published = hub.ask(f"/{repo}/resolve/main/{TRAINING}").json
    assert (published["base_license"], published["base_license_link"]) == ("Acme Terms", link)
    assert hub.ask(f"/api/models/{repo}").json["cardData"]["license_link"] == link
    # The record in the folder is not changed.
    assert json.loads((rater / TRAINING).read_text("utf-8")) == published | {
        "base_license": "unknown",
        "base_license_link": "",
    }


def test_a_pull_request_does_not_change_the_branch(push: Pusher, adapter: Path) -> None:
    repo = push.hub.create("push-org/reviewed", "model")
    before = push.state()
    [(status, output)] = push((adapter, repo, "--create-pr", "--yes"))
    assert status == 0, output
    assert "/discussions/1" in output
    assert push.state() == before


def test_a_published_model_that_differs_is_an_error(push: Pusher, adapter: Path) -> None:
    spoil = """
import x_instruction.hub.upload as m
from huggingface_hub import CommitOperationAdd
from safetensors.torch import load, save
def worse(path, source):
    if path == "adapter_model.safetensors":
        tensors = load(open(source, "rb").read())
        source = save({name: tensor + 1 for name, tensor in tensors.items()}, {"format": "pt"})
    return CommitOperationAdd(path, source)
m.CommitOperationAdd = worse
"""
    [(status, output)] = push((adapter, "push-org/worse", "--yes"), before=spoil)
    assert status == 1
    assert "parts differ" in output


def test_concurrent_changes_are_not_overwritten(push: Pusher, adapter: Path) -> None:
    repo = push.hub.create("push-org/race", "model")
    race = f"""
import huggingface_hub
inner = huggingface_hub.HfApi.preupload_lfs_files
def slow(self, *arguments, **options):
    huggingface_hub.HfApi.preupload_lfs_files = inner
    inner(self, *arguments, **options)
    self.upload_file(path_or_fileobj=b"theirs", path_in_repo="theirs.txt", repo_id={repo!r})
huggingface_hub.HfApi.preupload_lfs_files = slow
"""
    [(status, output)] = push((adapter, repo, "--yes"), before=race)
    assert status == 1
    assert "changed while the model was sent" in output
    files = {one["rfilename"] for one in push.hub.ask(f"/api/models/{repo}").json["siblings"]}
    assert files - {".gitattributes"} == {"theirs.txt"}
