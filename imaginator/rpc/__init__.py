"""The operations for programs."""
