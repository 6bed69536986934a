-- Settles replayed records that the worker has passed: dead-lettered again, or settled.
-- Ids of other systems' dead letters may hold numbers that no partition or offset has, or end with a consumer group; they
-- are no keys, and must not fail the statement.
WITH known AS (
    SELECT r.replay_id, r.letter_id, d.topic IS NOT NULL AS died
    FROM replay_letters r
    JOIN stream_offsets s ON s.topic = r.target_topic AND s.partition = r.target_partition
                             AND s.next_offset > r.target_offset
    LEFT JOIN dead_letters d
        ON (d.topic, d.partition, d."offset") = (CASE s.incarnation WHEN 0 THEN s.topic ELSE s.topic || '~' || s.incarnation END,
                                                 r.target_partition, r.target_offset)
    WHERE r.state = 'produced'
), closed AS (
    UPDATE replay_letters r
    SET state = CASE WHEN k.died THEN 'dead_again' ELSE 'settled' END, updated_at = now()
    FROM known k WHERE (r.letter_id, r.replay_id) = (k.letter_id, k.replay_id)
    RETURNING r.letter_id, r.state
)
UPDATE dead_letters d SET state = c.state
FROM closed c
WHERE (d.topic, d.partition, d."offset")
    = (regexp_replace(c.letter_id, '-[0-9]+-[0-9]+$', ''),
       substring(c.letter_id FROM '^[^@]*-([0-9]{1,18})-[0-9]+$')::bigint,
       substring(c.letter_id FROM '^[^@]*-([0-9]{1,18})$')::bigint)
