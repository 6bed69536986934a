-- Of these letters, those that are not this pass's to work: it has seen them, or they are resolved, or another replay
-- was ended while it held them. What an earlier pass of this very replay did is looked at again.
-- A letter that others wrote has no row in dead_letters: what earlier replays did with it decides.
WITH letters AS (
    SELECT * FROM json_to_recordset(%(letters)s::json) AS x(id text, topic text, partition integer, "offset" bigint)
), held AS (
    SELECT unnest(planned) AS id FROM replays WHERE id <> %(replay_id)s AND planned <> '{}'
)
SELECT l.id
FROM letters l
LEFT JOIN replay_letters mine ON (mine.letter_id, mine.replay_id) = (l.id, %(replay_id)s)
LEFT JOIN dead_letters d ON (d.topic, d.partition, d."offset") = (l.topic, l.partition, l."offset")
LEFT JOIN held ON held.id = l.id
WHERE CASE
    WHEN mine.letter_id IS NOT NULL THEN mine.seen_in_pass = %(pass)s
    WHEN held.id IS NOT NULL THEN true
    WHEN %(resolved_too)s THEN false
    WHEN d.topic IS NOT NULL THEN d.state <> 'open'
    ELSE EXISTS (SELECT FROM replay_letters r WHERE r.letter_id = l.id AND r.state <> 'failed')
END
