"""Tuning recipes that ship with the package."""
