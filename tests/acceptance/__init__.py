"""The worker and the commands as processes, on a real Kafka and a real PostgreSQL, on good and bad days."""
