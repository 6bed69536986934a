-- Stores what will be produced and where the topics end now. Ends stored before stay: records in flight are behind them.
UPDATE replays
SET planned = ARRAY(SELECT json_array_elements_text(%(planned)s::json)),
    target_ends = CASE WHEN planned = '{}' THEN %(ends)s::jsonb ELSE %(ends)s::jsonb || target_ends END
WHERE id = %(replay_id)s
RETURNING id
