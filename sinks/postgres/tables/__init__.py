"""Tables of the user's own, filled by a trigger on `events` that is generated from the settings and the catalogue."""
