"""Replaying dead letters: selection, the records produced, progress."""
