"""Engines that ask a server, or exchange batch files."""
