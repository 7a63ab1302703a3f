"""Files of a run: shards that exist only when complete, atomic writes, the lock of a folder."""
