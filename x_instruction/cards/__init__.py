"""Cards of data sets and models: facts, metadata, templates and escaping. Nothing here reads the network.

A data set: ``facts`` is counted while rows are written, ``run_figures`` takes the rest from a run, ``dataset_facts``
sums over languages, and ``dataset``, ``metadata`` and ``croissant`` render. A model: ``records`` are read from its
folder, and ``model`` renders. ``templates`` and ``escaping`` serve both.
"""
