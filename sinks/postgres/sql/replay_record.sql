-- What the broker answered about each letter.
WITH sent AS (
    SELECT * FROM jsonb_to_recordset(%(sent)s::jsonb)
        AS x(id text, state text, target_topic text, target_partition integer, target_offset bigint, error text,
             topic text, partition integer, "offset" bigint)
), recorded AS (
    UPDATE replay_letters r
    SET state = s.state, target_topic = s.target_topic, target_partition = s.target_partition,
        target_offset = s.target_offset, error = s.error, updated_at = now()
    FROM sent s WHERE r.replay_id = %(replay_id)s AND r.letter_id = s.id
)
UPDATE dead_letters d
SET state = CASE s.state WHEN 'produced' THEN 'produced' WHEN 'parked' THEN 'discarded' ELSE 'open' END
FROM sent s WHERE (d.topic, d.partition, d."offset") = (s.topic, s.partition, s."offset")
