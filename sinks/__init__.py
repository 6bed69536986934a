"""The ways out, one external system each: PostgreSQL, the dead letter topic, Prometheus.

Only `app` may enter. A sink fits a port of `processors` by shape and knows nothing of the others.
"""
