-- The newest open dead letters, read from their partial index.
SELECT last_failed_at, step, verdict, reason, topic || '-' || partition || '-' || "offset", event_id, message
FROM dead_letters WHERE state = 'open' ORDER BY last_failed_at DESC LIMIT %(limit)s
