-- Published dead letters of some events that failed before a given one, newest first.
SELECT topic, partition, "offset", last_failed_at, place FROM dead_letters
WHERE event_id = ANY (%(event_ids)s) AND (%(resolved_too)s OR state = ANY (%(unresolved)s))
  AND starts_with(place, %(dlq_topic)s || '-')
  AND (last_failed_at, topic, partition, "offset") < (%(failed_at)s, %(topic)s, %(partition)s, %(offset)s)
ORDER BY last_failed_at DESC, topic DESC, partition DESC, "offset" DESC LIMIT %(limit)s
