"""The corpus stage: documents become passages of one language.

    sources ─▶ clean ─▶ segment ─▶ filters ─▶ identify ─▶ dedup ─▶ Passage | Dropped

``stage.passages`` runs these steps for one language; ``sources.fingerprint`` identifies the input. Nothing is imported
here, so that importing one module does not load the others.
"""
