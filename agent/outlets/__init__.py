"""Outlets: where events go."""
