"""The operations for people: pages, build logs to follow, images to download, figures for Prometheus."""
