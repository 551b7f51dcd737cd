"""How one image is made; knows nothing of the queue, the web or RPC."""
