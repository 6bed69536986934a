-- The row of an event that was neither inserted nor replaced, as it is committed now.
SELECT xmin::text FROM events WHERE event_id = %(event_id)s
