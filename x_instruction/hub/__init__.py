"""Every call that writes to the Hub: one path for data sets and models.

``publish`` prepares and executes. ``dataset`` and ``model`` hold what differs between the two: which files belong to
them, what they may replace, and how they are read back. ``plan`` compares, ``upload`` and ``pull_requests`` send,
``verify`` reads back, ``client`` and ``retry`` talk to the server.
"""
