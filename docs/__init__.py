"""Pictures of the README, drawn by the project itself."""
