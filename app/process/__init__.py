"""Worker processes: launch, supervision, exit, garbage collection."""
