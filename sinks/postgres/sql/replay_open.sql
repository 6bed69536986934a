-- Of these letters, those that are resolved or in another replay's hands, unless this very replay works on them.
-- A letter that others wrote has no row in dead_letters: what earlier replays did with it decides.
SELECT l.id
FROM jsonb_to_recordset(%(letters)s::jsonb) AS l(id text, topic text, partition integer, "offset" bigint)
LEFT JOIN dead_letters d ON (d.topic, d.partition, d."offset") = (l.topic, l.partition, l."offset")
WHERE NOT EXISTS (SELECT FROM replay_letters r WHERE r.replay_id = %(replay_id)s AND r.letter_id = l.id)
  AND CASE WHEN d.topic IS NULL
           THEN EXISTS (SELECT FROM replay_letters r WHERE r.letter_id = l.id AND r.state <> 'failed')
           ELSE d.state <> 'open' END
