"""Finds, shows and replays dead letters, for the commands and the console."""
