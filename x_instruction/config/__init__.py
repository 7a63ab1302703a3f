"""Settings: the sections of every TOML file, one module per family.

``section`` holds what all sections share, ``files`` finds and reads recipes of any kind, ``recipe`` is a whole run.
"""
