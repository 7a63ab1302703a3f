"""Seed pairs: trusted instructions with their responses, from which tuning starts (method.md 2.8 U1, 3.1).

    readers (trees, parallel documents, instruction files) -> screen -> Pair | Dropped

Nothing is imported here, so that importing a part does not load the others.
"""
