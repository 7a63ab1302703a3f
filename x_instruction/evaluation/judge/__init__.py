"""A model as the judge of answers: how it is asked, how its verdicts are counted, and how it is judged itself.

``protocols`` asks and reads, ``verdicts`` holds what was said in both orders, ``statistics`` and ``results`` count,
``files`` reads and writes the layout of the paper's evaluation, ``passport`` measures a judge on pairs of known order,
``records`` writes both as records, and ``run`` does all of it from files to files.
"""
