"""Pretrained networks without their classifier, and how their weights are found and read."""
