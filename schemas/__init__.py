"""Data types shared by all layers: record, event, verdict, failure, dead letter, outcome.

No I/O, and no import of another layer.
"""
