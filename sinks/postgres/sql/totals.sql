-- Exact totals. Open dead letters are read from their partial index, oldest first, up to a limit.
SELECT t.delivered, t.duplicate, t.stale, t.ignored, t.failed, o.dead_letters, o.oldest, r.replayed, r.skipped, r.failed,
       ARRAY(SELECT DISTINCT topic FROM stream_offsets ORDER BY topic) AS topics
FROM event_totals t,
     (SELECT count(*) AS dead_letters, min(last_failed_at) AS oldest
      FROM (SELECT last_failed_at FROM dead_letters WHERE state = 'open'
            ORDER BY last_failed_at LIMIT %(limit)s) AS oldest_first) o,
     (SELECT coalesce(sum(replayed), 0)::bigint AS replayed, coalesce(sum(skipped), 0)::bigint AS skipped,
             coalesce(sum(failed), 0)::bigint AS failed FROM replays) r
