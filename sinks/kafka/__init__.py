"""Kafka by librdkafka: publishing dead letters, reading topics back, replaying."""
