"""Adapters of the embedded model that ship with the package, each with its card: data alone.

Recipes name them ``embedded-generator`` and ``embedded-rater``; docs/training.md has the commands that made them.
"""
