-- Inserts a partition that was never consumed; changes nothing where it exists.
-- The commit waits for the disk, whatever the session says: rows, counters and offset may go back together, but a row
-- that is gone has lost its start offset.
WITH opened AS (
    INSERT INTO stream_offsets (topic, partition, first_offset, next_offset)
    VALUES (%(topic)s, %(partition)s, %(next_offset)s, %(next_offset)s)
    ON CONFLICT DO NOTHING
), counted AS (
    INSERT INTO event_counters (topic, partition) VALUES (%(topic)s, %(partition)s) ON CONFLICT DO NOTHING
)
SELECT set_config('synchronous_commit', 'on', true)
