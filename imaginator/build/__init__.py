"""How one image is made: sources, steps, tests, packing. Knows nothing of the queue, the web or RPC."""
