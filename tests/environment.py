"""Variables for every test and the processes that tests start. Imported before what reads them at import."""

from __future__ import annotations

import os

# No test may use the network.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

# Otherwise each process compiles this package's modules anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Models here are tiny: more threads only wait for each other, and the weights are the same with one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Worker processes of xdist have the width of its terminal here, and tables would be as wide.
os.environ.pop("COLUMNS", None)
