"""Training in several processes: the cluster, its strategy and its end."""
