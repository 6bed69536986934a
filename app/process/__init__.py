"""Worker processes: launch, supervision, exit."""
