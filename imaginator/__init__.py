"""imaginator: a daemon that builds operating-system images from manifests kept in Git."""

__version__ = "0.1.0"
