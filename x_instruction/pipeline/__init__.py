"""Running: a recipe's stages over its languages' shards, resumable at any moment."""
