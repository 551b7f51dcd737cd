"""Wiring: flags, TLS, the one port, the service tree."""
