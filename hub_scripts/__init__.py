"""Runnable scripts: generate shards on a GPU machine or a cluster."""
