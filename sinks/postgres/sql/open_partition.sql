-- A partition that was never consumed begins here. Whoever comes second changes nothing.
WITH opened AS (
    INSERT INTO stream_offsets (topic, partition, first_offset, next_offset)
    VALUES (%(topic)s, %(partition)s, %(next_offset)s, %(next_offset)s)
    ON CONFLICT DO NOTHING
)
INSERT INTO event_counters (topic, partition) VALUES (%(topic)s, %(partition)s) ON CONFLICT DO NOTHING
