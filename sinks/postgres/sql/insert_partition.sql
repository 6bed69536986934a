-- Inserts a partition that was never consumed; changes nothing where it exists. The topic's id comes with the
-- offset: an offset without one would be taken for that of a topic which was re-created meanwhile.
-- The commit waits for the disk, whatever the session says: rows, counters and offset may go back together, but a row
-- that is gone has lost its start offset.
WITH opened AS (
    INSERT INTO stream_offsets (topic, partition, first_offset, next_offset, topic_id)
    VALUES (%(topic)s, %(partition)s, %(next_offset)s, %(next_offset)s, %(topic_id)s)
    ON CONFLICT DO NOTHING
), counted AS (
    INSERT INTO event_counters (topic, partition) VALUES (%(topic)s, %(partition)s) ON CONFLICT DO NOTHING
)
SELECT set_config('synchronous_commit', 'on', true)
