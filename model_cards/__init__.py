"""Templates of cards. ``demo/`` has a card that was rendered from a run."""
