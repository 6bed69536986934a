-- Which letters of some events died before one, newest first.
SELECT topic, partition, "offset", last_failed_at, place FROM dead_letters
WHERE event_id = ANY (%(event_ids)s) AND (%(resolved_too)s OR state = ANY (%(unresolved)s))
  AND (last_failed_at, topic, partition, "offset") < (%(died)s, %(topic)s, %(partition)s, %(offset)s)
ORDER BY last_failed_at DESC, topic DESC, partition DESC, "offset" DESC LIMIT %(limit)s
