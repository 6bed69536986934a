"""A worker as an operating system process: launched, supervised, ended."""
