"""Inspect coded packets without decoding them."""
