"""The report of a run or a data set: one HTML page to look at, offline.

``source`` reads a run, a built data set or both. ``figures`` and ``rows`` compute what the page shows, ``charts`` draws
with Vega-Lite, and ``page`` puts it together. Equal data gives equal bytes.
"""
