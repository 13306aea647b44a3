"""What knows nothing of training: files, locks, processes, the terminal."""
