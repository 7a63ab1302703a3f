"""Where passages come from, and what is dropped.

    sources ─▶ clean ─▶ segment ─▶ filters ─▶ identify ─▶ dedup ─▶ Passage | Dropped

``stage.passages`` walks that way for one language; ``sources.fingerprint`` says which input it was. Nothing is
imported here, so that importing a part does not load the others.
"""
