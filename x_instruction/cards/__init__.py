"""Model cards: facts from records of training and evaluation, and a template; no network and no files but these."""
