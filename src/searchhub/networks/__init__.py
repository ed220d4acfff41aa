"""What comes out of a search: which networks, trained alike, and read back."""
