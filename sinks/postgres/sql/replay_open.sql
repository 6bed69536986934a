-- Of these letters, those that are resolved, unless this very replay is working on them.
SELECT l.id
FROM jsonb_to_recordset(%(letters)s::jsonb) AS l(id text, topic text, partition integer, "offset" bigint)
JOIN dead_letters d ON (d.topic, d.partition, d."offset") = (l.topic, l.partition, l."offset")
WHERE d.state <> 'open'
  AND NOT EXISTS (SELECT FROM replay_letters r WHERE r.replay_id = %(replay_id)s AND r.letter_id = l.id)
