"""Real services without Docker: Apache Kafka 4.4 and PostgreSQL 18 on free loopback ports.

Who may enter: `keepstream.app.demo`, benchmarks and tests. The stream processor itself never imports this
package; it takes addresses from its settings, wherever the servers come from.

The doors are `services.embedded_services` (both, or only what no address was given for),
`kafka.EmbeddedKafka` and `postgres.EmbeddedPostgres`. Every failure to provide a part is an
`errors.EmbeddedUnavailableError`.
"""
