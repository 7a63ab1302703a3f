"""Data set builders: one config per language, typed features, and the folder that the Hub serves."""
