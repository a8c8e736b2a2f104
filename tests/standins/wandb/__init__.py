"""A local server that stands for Weights & Biases: see `server.WandbStandIn`."""
