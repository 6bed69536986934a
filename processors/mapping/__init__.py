"""Where in a record of another shape the parts of an event are, compiled once from the settings. Pure."""
