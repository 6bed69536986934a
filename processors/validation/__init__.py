"""From bytes to an event, or to a rejection that names the field. Pure."""
