"""Evaluation of trained models: on held-out rows, and of their hidden states."""
