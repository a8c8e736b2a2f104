"""Distributed training: the cluster, its rendezvous and its strategy."""
