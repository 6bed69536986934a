SELECT event_id, created_at FROM events WHERE event_id = ANY (%(event_ids)s) AND status = 'delivered'
