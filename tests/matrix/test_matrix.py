"""Operations by clients of several versions, each in an environment of its own: ``make test-clients``.

``python tests/matrix/table.py FILE`` prints the table of what the last run wrote.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from local_hub_fixture import RunningHub

pytestmark = pytest.mark.clients

HERE = Path(__file__).parent
# Where `make test-clients` lays the environments of other versions.
OTHERS = Path(os.environ.get("X_INSTRUCTION_CLIENTS", HERE.parent.parent / "build" / "clients"))
RESULTS = Path(os.environ.get("X_INSTRUCTION_CLIENT_RESULTS", HERE.parent.parent / "build" / "clients.json"))
HERE_PYTHON = sys.executable
CASES = {
    "huggingface_hub 2.4": ("hub", HERE_PYTHON),
    "huggingface_hub 2.0": ("hub", str(OTHERS / "hub-2.0" / "bin" / "python")),
    "datasets 5": ("datasets", HERE_PYTHON),
    "datasets 4 (reader)": ("reader", str(OTHERS / "datasets-4" / "bin" / "python")),
    "transformers": ("transformers", HERE_PYTHON),
    "hf": ("hf", HERE_PYTHON),
    "git": ("git", HERE_PYTHON),
}


@pytest.mark.parametrize("xet", [True, False], ids=["xet", "lfs"])
@pytest.mark.parametrize("case", CASES)
def test_every_client_can_do_every_operation(local_hub: RunningHub, tiny_model: Path, case: str, xet: bool) -> None:
    client, python = CASES[case]
    mode = "xet" if xet else "lfs"
    repo = f"matrix/{case.split(' (')[0].replace(' ', '-')}-{mode}"
    environment = local_hub.env(READER=local_hub.read_token, **({} if xet else {"HF_HUB_DISABLE_XET": "1"}))
    command = [python, str(HERE / "operations.py"), client, repo, str(tiny_model)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3_000:]
    found = json.loads(done.stdout.splitlines()[-1])
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results | {f"{case}, {mode}": found}, indent=1))
    assert {name: result for name, result in found.items() if result != "ok"} == {}
