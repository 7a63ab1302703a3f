"""Judgements of people: pages that work offline on a phone, and what their answers say.

``sheet`` is the page and its answers, ``quality`` the review of a run's pairs, ``preference`` the blind comparison of
two systems, and ``agreement`` the statistics of several raters.
"""
