"""Which dead letters go out again, and as what."""
