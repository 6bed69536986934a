-- From the first commit to the last, by the clock of the server. What the first commit brought was done before it.
WITH written AS (
    SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 AS s, xmin AS transaction FROM events
), at AS (
    SELECT s, transaction FROM written WHERE s >= %(since)s
), ends AS (
    SELECT min(s) AS first, max(s) AS last, percentile_disc(0.5) WITHIN GROUP (ORDER BY s) AS middle FROM at
), commits AS (
    SELECT count(*) AS rows FROM at GROUP BY transaction
)
SELECT (SELECT count(*) FROM at)::int AS rows,
       (SELECT count(*) FROM at, ends WHERE s > first) / nullif(last - first, 0) AS events_per_s,
       (SELECT count(*) FROM at, ends WHERE s > middle) / nullif(last - middle, 0) AS second_half_per_s,
       last AS last_commit,
       (SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY rows) FROM commits)::int AS rows_per_commit,
       (SELECT max(rows) FROM commits)::int AS most_rows_per_commit
FROM ends
