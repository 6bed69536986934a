"""One suite per port, against the fake and the real part alike; and what Faust does by itself (the traps)."""
