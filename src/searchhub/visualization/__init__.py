"""Draws pictures, with matplotlib alone."""
