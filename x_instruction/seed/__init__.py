"""Seeds: trusted pairs of instruction and response that the generator and the rater are trained on.

    readers (trees, parallel documents, instruction files) -> screen -> Pair | Dropped

The paper does not name its seeds; Humpback (arXiv 2308.06259) uses 3,200 first turns of OASST. Nothing is imported
here, so that importing one module does not load the others.
"""
