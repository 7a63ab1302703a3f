"""Experiments: ablations and data-scaling curves."""
