"""How to reach Kafka and PostgreSQL: client settings, tokens, connections, and why one failed."""
