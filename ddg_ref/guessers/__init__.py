"""What stands between a module and its right neighbour and guesses its error gradient."""
