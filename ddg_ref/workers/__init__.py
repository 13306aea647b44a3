"""The running system: one worker per module, the same loop for all, whatever carries the messages."""
