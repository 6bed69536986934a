"""Status of the stream: lag, rates, audit. For the commands and the console."""
