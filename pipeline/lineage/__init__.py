"""What ML Metadata recorded: as a graph, as a page, and as Weights & Biases artifacts."""
