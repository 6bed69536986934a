-- From when an event was due to when its row was committed, both by this machine's clock. The ramp is left out.
WITH at AS (
    SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 AS committed,
           right(event_id, 12)::bigint / %(rate)s::float8 AS due_s
    FROM events
    WHERE right(event_id, 12)::bigint < %(count)s
)
SELECT percentile_disc(ARRAY[0.5, 0.99, 0.999]) WITHIN GROUP (ORDER BY 1000 * (committed - %(began)s - due_s)) AS ms,
       max(1000 * (committed - %(began)s - due_s)) AS worst_ms,
       count(*) AS events
FROM at WHERE due_s >= %(ramp_s)s
