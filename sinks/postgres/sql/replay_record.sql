-- Records the delivery report of each dead letter.
WITH sent AS (
    SELECT * FROM ROWS FROM (
        json_array_elements_text(%(ids)s::json), json_array_elements_text(%(states)s::json),
        json_array_elements_text(%(target_topics)s::json), unnest(%(target_partitions)s::integer[]),
        unnest(%(target_offsets)s::bigint[]), json_array_elements_text(%(errors)s::json),
        json_array_elements_text(%(topics)s::json), unnest(%(partitions)s::integer[]), unnest(%(offsets)s::bigint[])
    ) AS x(id, state, target_topic, target_partition, target_offset, error, topic, partition, "offset")
), recorded AS (
    INSERT INTO replay_letters AS r (replay_id, letter_id, state, seen_in_pass, target_topic, target_partition,
                                     target_offset, error)
    SELECT %(replay_id)s, id, state, %(pass)s, target_topic, target_partition, target_offset, error FROM sent
    ON CONFLICT (letter_id, replay_id) DO UPDATE
    SET state = excluded.state, target_topic = excluded.target_topic, target_partition = excluded.target_partition,
        target_offset = excluded.target_offset, error = excluded.error, updated_at = now()
), known AS (
    UPDATE replays SET planned = ARRAY(SELECT json_array_elements_text(%(planned)s::json)) WHERE id = %(replay_id)s
)
UPDATE dead_letters d
SET state = CASE s.state WHEN 'produced' THEN 'produced' WHEN 'parked' THEN 'discarded' ELSE 'open' END
FROM sent s WHERE (d.topic, d.partition, d."offset") = (s.topic, s.partition, s."offset")
