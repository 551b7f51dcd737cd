"""The only room that starts processes, touches namespaces and mounts, and opens a path of an image's tree."""
