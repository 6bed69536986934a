"""What an operator asks about the stream: lag, rates, the audit. For the commands and the console alike."""
