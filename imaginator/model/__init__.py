"""Values and rules: frozen, without input or output, without Twisted."""
