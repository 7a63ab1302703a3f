"""Runnable scripts: pages, adapters that ship, first rows; ``python -m x_instruction.hub_scripts.NAME``."""
