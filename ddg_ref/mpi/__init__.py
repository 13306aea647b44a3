"""One module per MPI rank: launching, messages, and what happens when a rank stops, leaves or fails."""
