"""Evaluation of models: held-out rows and representations."""
