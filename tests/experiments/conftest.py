"""Fixtures of the experiments."""

from claims_run import shared, small_pool, write_design  # noqa: F401
