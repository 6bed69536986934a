-- These will be produced or wait already. Where the topics end now; of what waits already, the earlier ends stay.
UPDATE replays
SET planned = ARRAY(SELECT json_array_elements_text(%(planned)s::json)),
    target_ends = CASE WHEN planned = '{}' THEN %(ends)s::jsonb ELSE %(ends)s::jsonb || target_ends END
WHERE id = %(replay_id)s
RETURNING id
