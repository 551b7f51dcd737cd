"""Where bytes live: objects, images, layers, build history, the log archive."""
