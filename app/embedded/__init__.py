"""Real servers without Docker: Apache Kafka 4.4 and PostgreSQL 18 on free loopback ports.

For `keepstream.app.demo`, benchmarks and tests. A worker never imports this package: it takes addresses from its
settings.

The interface is `services.embedded_services` (both servers, or those without a given address), `kafka.EmbeddedKafka`
and `postgres.EmbeddedPostgres`. A server that is not available raises `errors.EmbeddedUnavailableError`.
"""
