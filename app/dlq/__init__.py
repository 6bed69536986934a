"""What an operator does with dead letters: find, look at, replay. For the commands and the console alike."""
