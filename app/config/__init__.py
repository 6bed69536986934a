"""The settings and their checks. Imports no client library and nothing of the other packages."""
