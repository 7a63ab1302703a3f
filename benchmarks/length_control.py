"""Length-controlled win rates beside those of alpaca_eval: ``python benchmarks/length_control.py --python PYTHON``.

PYTHON is the interpreter of an environment with alpaca_eval 0.6.6, whose functions are called as they are. Only its
download of the difficulties of its own questions is replaced by zeros: the minimal form does not use them. Both get the
same made-up preferences, with a known effect of length.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import Any

import numpy as np

from x_instruction.evaluation.judge.statistics import length_controlled

# Constant and slope of the true log-odds, and how much longer the answers of the model are.
CASES = [(0.0, 0.0, 0), (0.0, 2.0, 0), (0.5, 1.0, 200), (-1.0, 3.0, 400), (1.5, -1.0, -300), (-0.3, 0.5, 50)]
ROWS = 400

THEIRS = """
import json, sys, tempfile, warnings
from pathlib import Path
warnings.filterwarnings("ignore")
import pandas as pd
from alpaca_eval.metrics import glm_winrate
made = Path(tempfile.mkdtemp()) / "df_gamed.csv"
glm_winrate.hf_hub_download = lambda **_: str(made)
figures = []
for case in json.load(sys.stdin):
    n = len(case["preference"])
    pd.DataFrame({"index": range(n), "instruction_difficulty": 0.0, "model": "none"}).to_csv(made, index=False)
    table = pd.DataFrame({
        "preference": [1 + p for p in case["preference"]],
        "output_1": ["x" * length for length in case["other"]],
        "output_2": ["x" * length for length in case["own"]],
        "generator_1": "baseline", "generator_2": "model", "annotator": "judge", "index": range(n),
    })
    found = []
    for info in (glm_winrate.GLM_INFO["length_controlled_minimal"], SURE):
        rate = glm_winrate.get_length_controlled_winrate(
            table, glm_name="length_controlled_minimal", save_weights_dir=None, glm_info=info,
            is_add_glm_preference_inplace=False)
        found.append(rate["length_controlled_winrate"] / 100)
    figures.append(found)
print(json.dumps(figures))
"""
# The same formula with a penalty that has no effect, in place of one that cross-validation chooses.
SURE = (
    '{"formula": "np.tanh(std_delta_len) + not_gamed_baseline.astype(float) - 1",'
    ' "regularize_to_baseline_lambda": None, "kwargs": {"n_splits": 0, "C": 1e6}}'
)


def cases() -> list[dict[str, Any]]:
    random = np.random.default_rng(0)
    made = []
    for constant, slope, longer in CASES:
        own, other = random.integers(100, 1_500, ROWS) + max(0, longer), random.integers(100, 1_500, ROWS)
        difference = own - other
        odds = constant + slope * np.tanh(difference / difference.std(ddof=1)) + random.normal(0, 0.5, ROWS)
        p = 1 / (1 + np.exp(-odds))
        # Half of the judges write a letter, the others give a probability.
        p = np.where(random.random(ROWS) < 0.5, random.random(ROWS) < p, p.round(3))
        made.append({"preference": p.tolist(), "own": own.tolist(), "other": other.tolist()})
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True)
    given = parser.parse_args()
    made = cases()
    ran = subprocess.run(
        [given.python, "-c", THEIRS.replace("SURE", SURE)],
        input=json.dumps(made),
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        sys.exit(ran.stderr[-2000:])
    theirs = json.loads(ran.stdout.splitlines()[-1])
    print("| win rate | ours, equal length | alpaca_eval, minimal | the same, without its penalty |\n|---|---|---|---|")
    for case, (minimal, sure) in zip(made, theirs, strict=True):
        own = length_controlled(case["preference"], case["own"], case["other"])
        print(f"| {np.mean(case['preference']):.4f} | {own:.4f} | {minimal:.4f} | {sure:.4f} |")


if __name__ == "__main__":
    main()
