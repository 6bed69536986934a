-- Which letters of some kinds died before one, newest first: each distinct kind is one step in the index, and so is the
-- newest letter of each.
WITH RECURSIVE kinds AS (
    (SELECT reason, step, verdict, coalesce(sqlstate, '') AS sqlstate, state FROM dead_letters
     ORDER BY reason, step, verdict, coalesce(sqlstate, ''), state LIMIT 1)
    UNION ALL
    SELECT following.* FROM kinds k CROSS JOIN LATERAL (
        SELECT d.reason, d.step, d.verdict, coalesce(d.sqlstate, ''), d.state FROM dead_letters d
        WHERE (d.reason, d.step, d.verdict, coalesce(d.sqlstate, ''), d.state)
              > (k.reason, k.step, k.verdict, k.sqlstate, k.state)
        ORDER BY d.reason, d.step, d.verdict, coalesce(d.sqlstate, ''), d.state LIMIT 1
    ) following
)
SELECT newest.* FROM kinds k CROSS JOIN LATERAL (
    SELECT topic, partition, "offset", last_failed_at, place FROM dead_letters d
    WHERE (d.reason, d.step, d.verdict, coalesce(d.sqlstate, ''), d.state)
          = (k.reason, k.step, k.verdict, k.sqlstate, k.state)
      AND (%(since)s::timestamptz IS NULL OR last_failed_at >= %(since)s)
      AND (%(until)s::timestamptz IS NULL OR last_failed_at < %(until)s)
      AND last_failed_at <= %(died)s
      AND (last_failed_at, topic, partition, "offset") < (%(died)s, %(topic)s, %(partition)s, %(offset)s)
    ORDER BY last_failed_at DESC, topic DESC, partition DESC, "offset" DESC LIMIT %(limit)s
) newest
WHERE (%(resolved_too)s OR k.state = ANY (%(unresolved)s))
  AND (cardinality(%(steps)s::text[]) = 0 OR k.step = ANY (%(steps)s))
  AND (cardinality(%(reasons)s::text[]) = 0 OR k.reason = ANY (%(reasons)s))
  AND (cardinality(%(verdicts)s::text[]) = 0 OR k.verdict = ANY (%(verdicts)s))
  AND (cardinality(%(sqlstates)s::text[]) = 0 OR k.sqlstate = ANY (%(sqlstates)s))
ORDER BY last_failed_at DESC, topic DESC, partition DESC, "offset" DESC LIMIT %(limit)s
