"""One file per contestant: the smallest program that moves events from Kafka to PostgreSQL in that library's way.

Each runs as ``python -m benchmarks.contestants.NAME`` in the environment of its own library, is told everything by
`course`, and runs until it is stopped.
"""
