"""Every call that writes to the Hub: a built folder is compared with what is published, sent, and read back.

``plan`` says what would change, ``upload`` and ``pulls`` change it, ``verify`` downloads what was published.
"""
