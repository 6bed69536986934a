-- Returns the dead letters that this pass must not send: it has seen them, or they are resolved, or another replay was
-- interrupted with them in flight. Those of an earlier pass of this replay are checked again.
-- A dead letter of another system has no row in dead_letters: earlier replays decide.
-- Each is read by key: a join would read all that this replay has done so far, at every chunk.
WITH given AS (
    SELECT x.*, (SELECT seen_in_pass FROM replay_letters WHERE letter_id = id AND replay_id = %(replay_id)s) AS mine
    FROM ROWS FROM (json_array_elements_text(%(ids)s::json), json_array_elements_text(%(topics)s::json),
                    unnest(%(partitions)s::integer[]), unnest(%(offsets)s::bigint[])) AS x(id, topic, partition, "offset")
)
SELECT l.id
FROM given l
LEFT JOIN dead_letters d ON (d.topic, d.partition, d."offset") = (l.topic, l.partition, l."offset")
WHERE CASE
    WHEN mine IS NOT NULL THEN mine = %(pass)s
    WHEN l.id IN (SELECT unnest(planned) FROM replays WHERE id <> %(replay_id)s AND planned <> '{}') THEN true
    WHEN %(resolved_too)s THEN false
    WHEN d.topic IS NOT NULL THEN d.state <> 'open'
    ELSE (SELECT true FROM replay_letters r WHERE r.letter_id = l.id AND r.state <> 'failed' LIMIT 1)
END
