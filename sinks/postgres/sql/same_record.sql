-- The very record that wrote the row, read again.
((k.created_at, %(topic)s, %(partition)s, k.source_offset)
 = (e.created_at, e.source_topic, e.source_partition, e.source_offset))
