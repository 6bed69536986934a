"""The words everybody shares: record, event, verdict, failure, dead letter, outcome.

No I/O and no project imports live here; every room may enter.
"""
