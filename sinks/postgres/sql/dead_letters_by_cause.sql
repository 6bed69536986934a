-- Published dead letters of some causes that failed before a given one, newest first. Each distinct cause is one step in the
-- index, and so is the newest dead letter of each.
WITH RECURSIVE causes AS (
    (SELECT reason, step, verdict, coalesce(sqlstate, '') AS sqlstate, state FROM dead_letters
     ORDER BY reason, step, verdict, coalesce(sqlstate, ''), state LIMIT 1)
    UNION ALL
    SELECT following.* FROM causes c CROSS JOIN LATERAL (
        SELECT d.reason, d.step, d.verdict, coalesce(d.sqlstate, ''), d.state FROM dead_letters d
        WHERE (d.reason, d.step, d.verdict, coalesce(d.sqlstate, ''), d.state)
              > (c.reason, c.step, c.verdict, c.sqlstate, c.state)
        ORDER BY d.reason, d.step, d.verdict, coalesce(d.sqlstate, ''), d.state LIMIT 1
    ) following
)
SELECT newest.* FROM causes c CROSS JOIN LATERAL (
    SELECT topic, partition, "offset", last_failed_at, place FROM dead_letters d
    WHERE (d.reason, d.step, d.verdict, coalesce(d.sqlstate, ''), d.state)
          = (c.reason, c.step, c.verdict, c.sqlstate, c.state)
      AND starts_with(place, %(dlq_topic)s || '-')
      AND (cardinality(%(origins)s::text[]) = 0 OR split_part(topic, '~', 1) = ANY (%(origins)s))
      AND (%(since)s::timestamptz IS NULL OR last_failed_at >= %(since)s)
      AND (%(until)s::timestamptz IS NULL OR last_failed_at < %(until)s)
      AND last_failed_at <= %(failed_at)s
      AND (last_failed_at, topic, partition, "offset") < (%(failed_at)s, %(topic)s, %(partition)s, %(offset)s)
    ORDER BY last_failed_at DESC, topic DESC, partition DESC, "offset" DESC LIMIT %(limit)s
) newest
WHERE (%(resolved_too)s OR c.state = ANY (%(unresolved)s))
  AND (cardinality(%(steps)s::text[]) = 0 OR c.step = ANY (%(steps)s))
  AND (cardinality(%(reasons)s::text[]) = 0 OR c.reason = ANY (%(reasons)s))
  AND (cardinality(%(verdicts)s::text[]) = 0 OR c.verdict = ANY (%(verdicts)s))
  AND (cardinality(%(sqlstates)s::text[]) = 0 OR c.sqlstate = ANY (%(sqlstates)s))
ORDER BY last_failed_at DESC, topic DESC, partition DESC, "offset" DESC LIMIT %(limit)s
