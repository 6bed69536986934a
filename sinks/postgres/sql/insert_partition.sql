-- Inserts a partition that was never consumed; changes nothing where it exists. The topic's id comes with the
-- offset: an offset without one would be taken for that of a topic which was re-created meanwhile.
-- Returns another topic of these tables, and inserts nothing, when this topic is new in them.
-- The commit waits for the disk, whatever the session says: rows, counters and offset may go back together, but a row
-- that is gone has lost its start offset.
WITH other AS (
    SELECT min(topic) AS topic FROM stream_offsets
    WHERE NOT %(allow_other_topics)s AND NOT EXISTS (SELECT FROM stream_offsets WHERE topic = %(topic)s)
), opened AS (
    INSERT INTO stream_offsets (topic, partition, first_offset, next_offset, topic_id)
    SELECT %(topic)s, %(partition)s, %(next_offset)s, %(next_offset)s, %(topic_id)s FROM other WHERE other.topic IS NULL
    ON CONFLICT DO NOTHING
), counted AS (
    INSERT INTO event_counters (topic, partition)
    SELECT %(topic)s, %(partition)s FROM other WHERE other.topic IS NULL
    ON CONFLICT DO NOTHING
)
SELECT other.topic, set_config('synchronous_commit', 'on', true) FROM other
