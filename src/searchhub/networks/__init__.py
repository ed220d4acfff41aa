"""Chooses the networks that come out of a search, trains them all alike, and reads them back."""
