"""Training: models for users on prompts and completions, and the generator and rater of a run."""
