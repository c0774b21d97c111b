"""Pretrained networks: their weights, their stages, and what they say about images. Only this package knows timm."""
