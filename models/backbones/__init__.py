"""Pretrained backbones without their classifier, and their weights."""
