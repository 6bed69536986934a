"""The metrics: one catalogue, and their exposition."""
