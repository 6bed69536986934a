(k.created_at < e.created_at AND e.status <> 'failed')
