"""The data set: its schema, the folder that ``build`` writes, ``load``, views, exports and the ``datasets`` builder."""
